"""gRPC: TorchServe's `InferenceAPIsService`, the body under the input key `data`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.empty_pb2 import Empty

from torchkeep.client import failures, retry_info
from torchkeep.client.answer import MAX_ANSWER_BYTES, parse_health
from torchkeep.client.endpoint import Endpoint
from torchkeep.client.question import Question
from torchkeep.client.results import Health
from torchkeep.client.stubs.inference_pb2 import PredictionsRequest
from torchkeep.client.stubs.inference_pb2_grpc import InferenceAPIsServiceStub
from torchkeep.client.trust import root_certificates
from torchkeep.schema import Operation

OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.enable_http_proxy", 0),  # as over REST: a token goes to the server and nobody else
    ("grpc.initial_reconnect_backoff_ms", 100),  # a server that restarts is found again at once
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class GrpcTransport:
    """Carries questions over one gRPC channel; safe to share between threads."""

    def __init__(self, endpoint: Endpoint, ca_file: Path | None) -> None:
        self._endpoint = endpoint
        self._channel = _channel(endpoint, ca_file)
        self._stub = InferenceAPIsServiceStub(self._channel)

    def ask(self, question: Question, token: str | None, timeout: float) -> bytes:
        """Return the body of an answer; raise `RequestError` or `ServerError` if there is none."""
        with self._failures(timeout, question.request_id):
            reply = self._stub.Predictions(
                request_of(question), timeout=timeout, metadata=_authorization(token)
            )
        return reply.prediction

    def health(self, token: str | None, timeout: float) -> Health:
        """Return what the server says of itself."""
        with self._failures(timeout, None):
            reply = self._stub.Ping(Empty(), timeout=timeout, metadata=_authorization(token))
        return parse_health(reply.health)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    @contextmanager
    def _failures(self, timeout: float, request_id: str | None) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise failures.late(timeout, request_id) from error
            details = error.details() or ""
            told = [(one.key, one.value) for one in error.trailing_metadata() or ()]
            wait = retry_info.of_metadata(told)
            raise failures.of_rpc(code.name, details, self._endpoint, request_id, wait) from error


def request_of(question: Question) -> PredictionsRequest:
    """Return the message that carries a question."""
    tags = {name: value.encode() for name, value in question.tags().items()}
    body = question.body
    values = {"data": body.content, "content_type": body.content_type.encode(), **tags}
    if question.operation is not Operation.PREDICT:
        values["operation"] = question.operation.encode()
    return PredictionsRequest(
        model_name=question.model, model_version=question.version, input=values
    )


def _authorization(token: str | None) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


def _channel(endpoint: Endpoint, ca_file: Path | None) -> grpc.Channel:
    target = f"dns:///{endpoint.authority}"  # without the scheme, a host may pass for one
    if not endpoint.tls:
        return grpc.insecure_channel(target, OPTIONS)
    credentials = grpc.ssl_channel_credentials(root_certificates(ca_file))
    return grpc.secure_channel(target, credentials, OPTIONS)
