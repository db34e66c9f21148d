"""The way to TorchServe: HTTP/1.1 on loopback, envelopes there and back.

A worker that dies fails the call it held, TorchServe itself failing fails all; both are a
`BackendError` that says whether trying again may help.

How TorchServe 0.12 refuses, as seen: 400 InvalidKeyException for a token that is not the present
one; 404 for a model it does not serve; 413, without a body, beyond `max_request_size`; 500 or 507
"Worker died." for a worker that was killed, hung, or answered more than `max_response_size`; 503
for a full queue and for a handler that raised. After each of them it closes the connection.

No call is given a deadline or broken off, since it would be computed all the same. TorchServe's
own `response_timeout_s` bounds every call; questions expire by themselves meanwhile.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from gateway.plane.connection import BrokenAnswerError, Reply
from gateway.plane.connections import Connections
from gateway.upstream import ServedVersion, Upstream
from torchkeep import envelope
from torchkeep.errors import TorchkeepError
from torchkeep.keys import read_key

_HEAD = (
    "POST /predictions/{name}/{version} HTTP/1.1\r\n"
    "Host: {address}\r\n"
    "Authorization: Bearer {token}\r\n"
    f"Content-Type: {envelope.CONTENT_TYPE}\r\n"
    "Content-Length: {size}\r\n\r\n"
)
_REFUSED_TOKEN = "InvalidKeyException"  # noqa: S105


class BackendError(TorchkeepError):
    """A call that failed as a whole; `again` says whether another try may succeed.

    `unreachable`: TorchServe is not there, or listens already and has not written its new token
    yet. `too_large`: the call is more than it takes.
    """

    def __init__(
        self, message: str, *, again: bool, unreachable: bool = False, too_large: bool = False
    ) -> None:
        self.again = again
        self.unreachable = unreachable
        self.too_large = too_large
        super().__init__(message)


class Backend:
    """Asks TorchServe; one for all models."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._key = read_key(Path(upstream.envelope_key))
        self._token = ""
        self._connections = Connections(upstream.http_address, upstream.max_response_bytes)

    @property
    def connected(self) -> bool:
        """Whether TorchServe listens, as far as `watch` knows."""
        return self._connections.up.is_set()

    async def watch(self) -> None:
        """See whether TorchServe listens, and connect to it whenever it does; never returns."""
        await self._connections.watch()

    async def until_connected(self, timeout_s: float) -> bool:
        """Wait until TorchServe listens, at most so long; return whether it does."""
        try:
            await asyncio.wait_for(self._connections.up.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def ask(
        self, served: ServedVersion, request: envelope.RequestEnvelope
    ) -> envelope.ResponseEnvelope:
        """Have an envelope answered. Raises `BackendError`."""
        sent = envelope.encode_request(request, self._key)
        try:
            reply = await self._send(served, sent)
        except BrokenAnswerError as error:
            raise BackendError(str(error), again=False) from error
        except OSError as error:
            said = f"TorchServe cannot be reached: {error}"
            raise BackendError(said, again=True, unreachable=True) from error
        if reply.status != HTTPStatus.OK:
            raise _refusal(reply)
        return self._read(reply.body)

    async def _send(self, served: ServedVersion, sent: bytes) -> Reply:
        """Send with the token we know; one that was renewed meanwhile is read again."""
        if not self._token:
            self._token = self._read_token()
        reply = await self._once(served, sent)
        if _token_refused(reply):
            token = self._read_token()
            if token != self._token:
                self._token = token
                return await self._once(served, sent)
        return reply

    async def _once(self, served: ServedVersion, sent: bytes) -> Reply:
        head = _HEAD.format(
            name=served.name,
            version=served.version,
            address=self._upstream.http_address,
            token=self._token,
            size=len(sent),
        )
        return await self._connections.ask((head.encode(), sent))

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
            raise BackendError(f"the answer is none: {error}", again=False) from error
        if not answer.authentic:
            raise BackendError("the answer is not signed by our handler", again=False)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        self._connections.close()


def _token_refused(reply: Reply) -> bool:
    return reply.status == HTTPStatus.BAD_REQUEST and _told(reply).get("type") == _REFUSED_TOKEN


def _refusal(reply: Reply) -> BackendError:
    """Return what it means that a call was not answered."""
    token_refused = _token_refused(reply)
    return BackendError(
        f"HTTP {reply.status}: {_message(reply)}",
        again=reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or token_refused,
        unreachable=token_refused,
        too_large=reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )


def _message(reply: Reply) -> str:
    """Return what a refusal says: TorchServe's, or the handler's of an envelope it cannot open."""
    told = _told(reply)
    error = told.get("error")
    message = (error if isinstance(error, dict) else told).get("message", "")
    return " ".join(str(message).split())[:200]


def _told(reply: Reply) -> dict[str, Any]:
    try:
        told = orjson.loads(reply.body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
