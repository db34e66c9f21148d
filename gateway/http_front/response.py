"""What is answered: status, headers, body; and how a refusal is worded."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.refusal import Code, Refusal

Header = tuple[bytes, bytes]

CLOSE: Final = (b"connection", b"close")
JSON: Final = b"application/json"
BINARY: Final = b"application/octet-stream"
WORTH_COMPRESSING: Final = 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; `content-length` and `x-request-id` are added when it is sent."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()


def json_response(value: Any, status: int = 200, headers: tuple[Header, ...] = ()) -> Response:
    """Return a JSON answer; arrays of NumPy may be in it."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(status, body, headers=headers)


def refusal_response(
    refusal: Refusal, *, as_torchserve: bool = False, headers: tuple[Header, ...] = ()
) -> Response:
    """Return the protocol's error object; TorchServe's own fields are added for its interface."""
    code = refusal.code
    body: dict[str, Any] = {"error": refusal.message}
    if as_torchserve:
        body |= {"code": code.http, "type": code.name, "message": refusal.message}
    if code in (Code.BUSY, Code.UNAVAILABLE):
        seconds = max(1, math.ceil(refusal.retry_after_s or 1))
        headers = (*headers, (b"retry-after", str(seconds).encode()))
    if code is Code.UNAUTHENTICATED:
        headers = (*headers, (b"www-authenticate", b'Bearer realm="torchkeep"'))
    return json_response(body, code.http, headers)


def compressed(response: Response) -> Response:
    """Return the answer compressed, for a caller that takes gzip."""
    if len(response.body) < WORTH_COMPRESSING or response.content_type != JSON:
        return response
    headers = (*response.headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
    body = gzip.compress(response.body, compresslevel=1, mtime=0)
    return Response(response.status, body, response.content_type, headers)


def written(response: Response, request_id: str, headers: Iterable[Header], head: bool) -> bytes:
    """Return an answer as HTTP/1.1, without its body where only the head was asked for.

    Names and values of headers are all our own, so nothing of them is checked.
    """
    parts = [STATUS_LINE[response.status], b"content-type: ", response.content_type]
    parts += (b"\r\ncontent-length: %d" % len(response.body), b"\r\nx-request-id: ")
    parts.append(request_id.encode())
    for name, value in (*response.headers, *headers):
        parts += (b"\r\n", name, b": ", value)
    parts.append(b"\r\n\r\n")
    if not head:
        parts.append(response.body)
    return b"".join(parts)


async def give(cycle: RequestResponseCycle, response: Response, request_id: str) -> None:
    """Answer a request with one write: uvicorn's `send` takes two, and checks what is ours.

    Nothing is written for a caller that has gone away.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()  # the answers before this one are not read yet
    if cycle.disconnected or cycle.transport.is_closing():
        cycle.disconnected = True  # or uvicorn would miss an answer, log so and send one
        return
    if cycle.waiting_for_100_continue:  # whether the body follows is not known
        cycle.keep_alive = False
    headers = [*cycle.default_headers]
    if not cycle.keep_alive:
        headers.append(CLOSE)
    only_head = cycle.scope["method"] == "HEAD"
    cycle.transport.write(written(response, request_id, headers, only_head))
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
