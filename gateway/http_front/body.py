"""The body of a request: read, and inflated, within limits.

Sources: RFC 9110 section 8.4 (Content-Encoding), RFC 1950 to 1952.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from gateway.config import MIB, GatewayConfig
from gateway.http_front.marks import BROKEN, LATE
from gateway.http_front.request import Request
from gateway.refusal import Code, Refusal

STEP: Final = MIB  # what is inflated before others have their turn
RETRY_S: Final = 1.0
_DIGITS = re.compile(rb"[0-9]{1,18}")
_WINDOWS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


class BodyBudget:
    """Bytes of bodies that all requests together may hold: a limit on memory.

    A client may hold as much as is still free, so that there is always room for another, as for
    items in `gateway/plane/admission.py`. Half of it takes one body compressed and inflated.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self.most = max(config.max_queued_mib, 4 * config.max_body_mib) * MIB
        self.held = 0
        self._of_client: defaultdict[str, int] = defaultdict(int)

    def take(self, request: Request, size: int) -> None:
        """Hold so many bytes more. Raises `Refusal` if there is no room."""
        client = request.asker().client
        free = self.most - self.held
        if size > free or self._of_client.get(client, 0) + size > free:
            whose = "of this client " if size <= free else ""
            raise Refusal(
                Code.BUSY,
                f"too many bodies {whose}are being read; try again in {RETRY_S:.0f} s",
                retry_after_s=RETRY_S,
            )
        self.held += size
        self._of_client[client] += size
        request.held += size

    def release(self, request: Request) -> None:
        """Give back what a request holds."""
        if not request.held:
            return
        client = request.asker().client
        self.held -= request.held
        self._of_client[client] -= request.held
        request.held = 0
        if not self._of_client[client]:
            del self._of_client[client]


async def read_body(request: Request, budget: BodyBudget, most: int) -> bytes:
    """Return the body, inflated. Raises `Refusal` if it is too large, late, broken or missing."""
    body = await _read(request, budget, most)
    encoding = request.headers.get(b"content-encoding")
    if encoding is None or encoding.lower() == b"identity":
        return body
    return await _inflate(body, encoding.strip().lower(), request, budget, most)


async def _read(request: Request, budget: BodyBudget, most: int) -> bytes:
    declared = _declared(request.headers)
    if declared is not None and declared > most:
        raise _too_large(most)
    event = await request.receive()
    body = event.get("body", b"")
    request.arrival.bytes_in = len(body)
    budget.take(request, len(body))
    if event.get("more_body") or event["type"] != "http.request":
        body = await _read_on(event, request, budget, most)
    if len(body) > most:
        raise _too_large(most)
    if declared is not None and declared != len(body):  # the parser saw an upgrade
        raise Refusal(Code.INVALID, "the request asks for another protocol than HTTP/1.1")
    return bytes(body)


async def _read_on(
    event: Mapping[str, object], request: Request, budget: BodyBudget, most: int
) -> bytearray:
    """Return the whole body, the first part of which came with `event`."""
    whole = bytearray()
    while True:
        _check(event, request)
        whole += event["body"]  # type: ignore[arg-type]
        if len(whole) > most:
            raise _too_large(most)
        if not event["more_body"]:
            return whole
        event = await request.receive()
        size = len(event.get("body", b""))  # type: ignore[arg-type]
        request.arrival.bytes_in += size
        budget.take(request, size)


def _check(event: Mapping[str, object], request: Request) -> None:
    """Raise `Refusal` if nothing more will come."""
    if event["type"] != "http.request":
        raise Refusal(Code.CANCELLED, "the caller went away before the body was there")
    if BROKEN in request.state:
        raise Refusal(Code.INVALID, "the chunks of the body are malformed")
    if LATE in request.state:
        raise Refusal(Code.SLOW, "the body was not there in time; send it faster, or less of it")


def _declared(headers: Mapping[bytes, bytes]) -> int | None:
    raw = headers.get(b"content-length")
    return int(raw) if raw is not None and _DIGITS.fullmatch(raw) else None


async def _inflate(
    body: bytes, encoding: bytes, request: Request, budget: BodyBudget, most: int
) -> bytes:
    """Return what a body holds; at most `STEP` bytes are made without a pause."""
    window = _WINDOWS.get(encoding)
    if window is None:
        name = encoding[:40].decode("latin-1")
        raise Refusal(
            Code.MEDIA_TYPE, f"content-encoding {name!r} is not read; gzip and deflate are"
        )
    if window == 15 and not _has_zlib_head(body):
        window = -15  # some senders leave the frame of RFC 1950 out
    engine, whole, rest = zlib.decompressobj(window), bytearray(), body
    try:
        while not engine.eof:
            piece = engine.decompress(rest, STEP)
            rest = engine.unconsumed_tail
            budget.take(request, len(piece))
            whole += piece
            if len(whole) > most:
                raise _too_large(most)
            if not piece and not rest:
                break
            if rest:
                await asyncio.sleep(0)
    except zlib.error:
        raise Refusal(Code.INVALID, f"the body is no {encoding.decode()}") from None
    if not engine.eof or engine.unused_data:
        raise Refusal(Code.INVALID, f"the body is not exactly one {encoding.decode()} stream")
    return bytes(whole)


def _has_zlib_head(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _too_large(most: int) -> Refusal:
    return Refusal(Code.TOO_LARGE, f"the body has more than {most} bytes; send it in parts")
