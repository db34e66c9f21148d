"""REST: `POST /predictions/{model}[/{version}]` and `/explanations/…`, `GET /ping`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import httpcore

from torchkeep import __version__
from torchkeep.client import failures, retry_after
from torchkeep.client.answer import MAX_ANSWER_BYTES, is_answer, parse_health
from torchkeep.client.deadline import DeadlineBackend
from torchkeep.client.endpoint import Endpoint
from torchkeep.client.question import Question
from torchkeep.client.results import Health
from torchkeep.client.trust import ssl_context
from torchkeep.schema import Operation

PATHS: Final = {Operation.PREDICT: "predictions", Operation.EXPLAIN: "explanations"}
HEADERS: Final = {
    "request_id": "x-request-id",
    "correlation_id": "x-correlation-id",
    "session_id": "x-session-id",
    "segments": "x-segments",
}


class Reply(NamedTuple):
    """What came back; `retry_after_s` is how long the server asks to be left alone."""

    status: int
    body: bytes
    retry_after_s: float | None


class RestTransport:
    """Carries questions over HTTP/1.1 and keeps connections alive; safe to share between threads.

    Proxies that the environment names are not used: a token goes to the server and nobody else.
    """

    def __init__(self, endpoint: Endpoint, ca_file: Path | None) -> None:
        self._endpoint = endpoint
        self._backend = DeadlineBackend()
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context(ca_file) if endpoint.tls else None,
            max_connections=None,
            network_backend=self._backend,
        )

    def ask(self, question: Question, token: str | None, timeout: float) -> bytes:
        """Return the body of an answer; raise `RequestError` or `ServerError` if there is none."""
        headers, content = headers_of(question, token), question.body.content
        request = self._request("POST", path_of(question), headers, content)
        reply = self._exchange(request, timeout, question.request_id)
        return answer_of(reply.status, reply.body, question.request_id, reply.retry_after_s)

    def health(self, token: str | None, timeout: float) -> Health:
        """Return what the server says of itself."""
        request = self._request("GET", "/ping", _authorization(token), b"")
        reply = self._exchange(request, timeout, None)
        if reply.status not in (200, 500):  # 500 is how TorchServe says "Unhealthy"
            raise failures.of_http(reply.status, reply.body, None, reply.retry_after_s)
        return parse_health(reply.body)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _request(
        self, method: str, path: str, headers: dict[str, str], content: bytes
    ) -> httpcore.Request:
        url = httpcore.URL(
            scheme=self._endpoint.scheme.encode(),
            host=self._endpoint.host.encode(),
            port=self._endpoint.port,
            target=f"{self._endpoint.prefix}{path}".encode(),
        )
        always = {
            "host": self._endpoint.authority,
            "user-agent": f"torchkeep/{__version__}",
            "content-length": str(len(content)),
        }
        return httpcore.Request(
            method, url, headers=list((always | headers).items()), content=content
        )

    def _exchange(self, request: httpcore.Request, timeout: float, request_id: str | None) -> Reply:
        """Send a request; return what came back."""
        try:
            with (
                self._backend.within(timeout),
                closing(self._pool.handle_request(request)) as reply,
            ):
                return Reply(reply.status, _read(reply, request_id), _retry_after(reply))
        except httpcore.TimeoutException as error:
            raise failures.late(timeout, request_id) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise failures.unreachable(self._endpoint, error) from error


def path_of(question: Question) -> str:
    """Return the path that a question is posted to, below the server's address."""
    parts = [PATHS[question.operation], quote(question.model, safe="")]
    if question.version:
        parts.append(quote(question.version, safe=""))
    return "/" + "/".join(parts)


def headers_of(question: Question, token: str | None) -> dict[str, str]:
    """Return the headers of a question: its content type, ids and segments, and the token."""
    tags = {HEADERS[name]: value for name, value in question.tags().items()}
    return {"content-type": question.body.content_type, **tags, **_authorization(token)}


def answer_of(
    status: int, body: bytes, request_id: str | None, retry_after_s: float | None = None
) -> bytes:
    """Return the body if it is an answer, whatever its status; raise the failure that it is else.

    The status of a request with one item says what became of the item, and so does the answer.
    """
    if status != 200 and not is_answer(body):
        raise failures.of_http(status, body, request_id, retry_after_s)
    return body


def _authorization(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _read(reply: httpcore.Response, request_id: str | None) -> bytes:
    body = bytearray()
    for part in reply.iter_stream():
        body += part
        if len(body) > MAX_ANSWER_BYTES:
            raise failures.oversized(MAX_ANSWER_BYTES, request_id)
    return bytes(body)


def _retry_after(reply: httpcore.Response) -> float | None:
    wanted = retry_after.HEADER.encode()
    for name, value in reply.headers:
        if name.lower() == wanted:
            return retry_after.of_header(value.decode("latin-1"))
    return None
