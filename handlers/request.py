"""A request and a response as the data plane sees them, whatever protocol carried them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from handlers.formats import Buffer
from torchkeep.envelope import Origin
from torchkeep.ids import new_id, valid_id
from torchkeep.schema import Operation

Carrier = Literal["rest", "grpc"]

MAX_SEGMENTS_BYTES = 8192
MAX_SEGMENT_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one caller sent; ids and segments are as given, nothing is believed yet.

    `body` is None if the request had none where one is looked for; `segments` is JSON text.
    """

    body: Buffer | None
    protocol: Carrier
    content_type: str = ""
    operation: Operation = Operation.PREDICT
    request_id: str | None = None
    correlation_id: str | None = None
    session_id: str | None = None
    segments: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The answer to one request."""

    body: bytes
    content_type: str
    http_status: int
    request_id: str


def origin_of(
    request: Request, about: Mapping[str, Any], items: int, allowed: Collection[str]
) -> Origin:
    """Return who asks, for a request that comes without a gateway.

    `about` is what its JSON body says; headers win over it. An id that is none is ignored (the
    request id is replaced), and so are segments that are not allow-listed short texts.
    """
    said = Origin(
        request_id=valid_id(request.request_id) or _told_id(about, "request_id") or new_id(),
        items=items,
        correlation_id=valid_id(request.correlation_id),
        session_id=valid_id(request.session_id),
        traceparent=request.traceparent,
        segments=allowed_segments(_parse_segments(request.segments), allowed),
    )
    return completed(said, about, items, allowed)


def completed(
    origin: Origin, about: Mapping[str, Any], items: int, allowed: Collection[str]
) -> Origin:
    """Return an origin of that many items; what it does not say is taken from `about`."""
    return replace(
        origin,
        items=items,
        correlation_id=origin.correlation_id or _told_id(about, "correlation_id"),
        session_id=origin.session_id or _told_id(about, "session_id"),
        segments=origin.segments or allowed_segments(about.get("segments"), allowed),
    )


def _told_id(about: Mapping[str, Any], name: str) -> str | None:
    told = about.get(name)
    return valid_id(told) if isinstance(told, str) else None


def allowed_segments(segments: object, allowed: Collection[str]) -> dict[str, str]:
    """Return the allow-listed attributes whose values are short texts."""
    if not isinstance(segments, Mapping):
        return {}
    return {
        name: value
        for name, value in segments.items()
        if name in allowed and isinstance(value, str) and len(value) <= MAX_SEGMENT_LENGTH
    }


def _parse_segments(text: str) -> object:
    if not text or len(text) > MAX_SEGMENTS_BYTES:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
