"""What the bytes of a body are: their first bytes decide, the declared type breaks ties."""

from __future__ import annotations

import re
from enum import StrEnum

from torchkeep import envelope

RAW_TYPE = "application/octet-stream"

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_WEBP = re.compile(rb"RIFF....WEBP", re.DOTALL)
_NPY = b"\x93NUMPY"
_JSON = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*["}]')

Buffer = bytes | bytearray | memoryview


class Format(StrEnum):
    """How an item was encoded, as the request log names it."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    NPY = "npy"
    JSON = "json"
    RAW = "raw"


IMAGES = frozenset({Format.PNG, Format.JPEG, Format.WEBP})


def is_envelope(data: Buffer) -> bool:
    """Tell whether a body is a gateway's binary envelope."""
    return bytes(data[: len(envelope.MAGIC)]) == envelope.MAGIC


def sniff(data: Buffer) -> Format | None:
    """Return the format that the first bytes show beyond doubt, else None."""
    start = bytes(data[:12])
    if start.startswith(_PNG):
        return Format.PNG
    if start.startswith(_JPEG):
        return Format.JPEG
    if _WEBP.match(start):
        return Format.WEBP
    if start.startswith(_NPY):
        return Format.NPY
    return None


def body_format(data: Buffer, content_type: str) -> Format:
    """Return the format of a whole body; what nothing else fits is taken for raw pixels.

    Pixels can look like the start of JSON, so a body declared as raw is never taken for JSON.
    """
    known = sniff(data)
    if known:
        return known
    kind = media_type(content_type)
    if kind == RAW_TYPE:
        return Format.RAW
    declared_json = kind == "application/json" or kind.endswith("+json")
    return Format.JSON if declared_json or _JSON.match(data) else Format.RAW


def media_type(content_type: str) -> str:
    """Return a content type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()
