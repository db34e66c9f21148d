"""Bodies to send, good and bad, made by the libraries that users have."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """Encode H W or H W C pixels."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode one grey image, 1 H W."""
    return encoded(image[0])


def npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values), allow_pickle=False)
    return stream.getvalue()


def npy_with_header(header: str, values: bytes = b"") -> bytes:
    """A version 1 npy whose header says whatever it likes."""
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + values


def instances(*items: Any, **fields: Any) -> bytes:
    return orjson.dumps({"instances": list(items), **fields}, option=orjson.OPT_SERIALIZE_NUMPY)


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims that size: a decompression bomb."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    scanlines = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", scanlines)
        + chunk(b"IEND", b"")
    )


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims that size."""
    data = bytearray(encoded(np.zeros((8, 8), dtype=np.uint8), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_claiming(width: int, height: int, kind: bytes) -> bytes:
    """A WebP of one of its three kinds whose header claims that size."""
    if kind == b"VP8X":
        content = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        content = b"\x2f" + ((height - 1) << 14 | (width - 1)).to_bytes(4, "little")
    else:
        content = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    content += bytes(64)
    chunk_ = kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunk_)) + b"WEBP" + chunk_
