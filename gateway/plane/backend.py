"""The way to TorchServe: one gRPC channel on loopback, envelopes there and back.

A worker that dies fails the call it held, TorchServe itself failing fails all; both are a
`BackendError` that says whether trying again may help.

No call is given a deadline or broken off: TorchServe 0.12 loses a worker when it sends an answer
that nobody waits for any more (`GRPCJob.response`, "Stream was terminated by error"). Its own
`response_timeout_s` bounds every call; questions expire by themselves meanwhile.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import orjson
from grpc import aio

from gateway.upstream import ServedVersion, Upstream
from torchkeep import envelope
from torchkeep.client.stubs import inference_pb2 as pb
from torchkeep.errors import TorchkeepError
from torchkeep.keys import read_key

METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.enable_http_proxy", 0),
)
_REFUSED_TOKEN = grpc.StatusCode.PERMISSION_DENIED
_HOPELESS = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
_NOT_YET = frozenset({grpc.StatusCode.UNAVAILABLE, _REFUSED_TOKEN})
"""TorchServe is not there, or listens already and has not written its new token yet."""
_WORKER_DIED = "Worker died."
"""How TorchServe says it, with a code that also stands for messages that are too large."""


class BackendError(TorchkeepError):
    """A call that failed as a whole; `again` says whether another try may succeed."""

    def __init__(self, message: str, *, again: bool, code: grpc.StatusCode | None = None) -> None:
        self.again = again
        self.unreachable = code in _NOT_YET
        self.too_large = code is grpc.StatusCode.RESOURCE_EXHAUSTED and not again
        super().__init__(message)


class Backend:
    """Asks TorchServe; one for all models."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._key = read_key(Path(upstream.envelope_key))
        self._token = ""
        self._channel = aio.insecure_channel(upstream.grpc_address, options=_OPTIONS)
        self._predict = self._channel.unary_unary(
            METHOD,
            request_serializer=pb.PredictionsRequest.SerializeToString,
            response_deserializer=pb.PredictionResponse.FromString,
        )

    @property
    def connected(self) -> bool:
        """Whether TorchServe listens, as far as is known; an idle channel is woken."""
        state = self._channel.get_state(try_to_connect=True)
        return state is grpc.ChannelConnectivity.READY

    async def until_connected(self, timeout_s: float) -> bool:
        """Wait until TorchServe listens, at most so long; return whether it does."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def ask(
        self, served: ServedVersion, request: envelope.RequestEnvelope
    ) -> envelope.ResponseEnvelope:
        """Have an envelope answered. Raises `BackendError`."""
        sent = pb.PredictionsRequest(
            model_name=served.name,
            model_version=served.version,
            input={
                "data": envelope.encode_request(request, self._key),
                "content_type": envelope.CONTENT_TYPE.encode(),
            },
        )
        try:
            return self._read(await self._send(sent))
        except aio.AioRpcError as error:
            raise _failure(error) from error

    async def _send(self, sent: pb.PredictionsRequest) -> bytes:
        """Send with the token we know; one that was renewed meanwhile is read again."""
        if not self._token:
            self._token = self._read_token()
        try:
            return await self._once(sent)
        except aio.AioRpcError as error:
            token = self._read_token()
            if error.code() is not _REFUSED_TOKEN or token == self._token:
                raise
            self._token = token
            return await self._once(sent)

    async def _once(self, sent: pb.PredictionsRequest) -> bytes:
        metadata = (("authorization", f"Bearer {self._token}"),)
        reply = await self._predict(sent, metadata=metadata)
        return bytes(reply.prediction)

    def _read_token(self) -> str:
        try:
            content = orjson.loads(Path(self._upstream.token_file).read_bytes())
            return str(content["inference"]["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return self._token  # TorchServe is writing it, or is not there

    def _read(self, body: bytes) -> envelope.ResponseEnvelope:
        try:
            answer = envelope.decode_response(body, self._key)
        except envelope.EnvelopeError as error:
            raise BackendError(
                _message(body) or f"the answer is none: {error}", again=False
            ) from error
        if not answer.authentic:
            raise BackendError("the answer is not signed by our handler", again=False)
        return answer

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(None)


def _failure(error: aio.AioRpcError) -> BackendError:
    code, details = error.code(), error.details() or ""
    return BackendError(
        f"{code.name}: {' '.join(details.split())[:200]}",
        again=code not in _HOPELESS or details.startswith(_WORKER_DIED),
        code=code,
    )


def _message(body: bytes) -> str:
    """Return what a refusal in JSON says; the handler writes one for an envelope it cannot open."""
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
