"""What bad inputs are made of: encoded images, bombs, strange texts and numbers, and mutations.

Shapes: N C H W of the digits model: 1 8 8.
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

MIB = 1024 * 1024
SIDES = (0, 1, 2, 7, 8, 9, -1, -8, 255, 10_000, 10_001, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 1.5)
LENGTHS = (-1, 0, 1, 63, 64, 65, 2**31, 2**63, 2**64, "x", "", "0x40", "64 ", "+64", "1e2")
IDS = ("x-request-id", "x-correlation-id", "x-session-id", "x-segments", "traceparent")
TEXTS = (
    "",
    "a",
    "a" * 129,
    "a b",
    "\x7e" * 10,
    "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    "00-" + "0" * 32 + "-" + "b" * 16 + "-01",
    '{"plan": "pro"}',
    '{"plan": ' + "[" * 500,
    "../../etc/passwd",
    "%00%0a",
)


@cache
def pictures() -> tuple[bytes, ...]:
    """Sound encoded images of every format that is read."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    found = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        found.append(file.getvalue())
    for array in (pixels, pixels[None], pixels[None, None] / 255, pixels.astype(np.float32)):
        file = io.BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    return (*found, _png_of(50_000, 50_000), _png_of(2**31 - 1, 1), b"")


def _png_of(width: int, height: int) -> bytes:
    """Return a PNG that says it is so large: a bomb, if anybody believes it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(MIB)))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


@cache
def bombs() -> tuple[tuple[str, bytes], ...]:
    """Bodies that are much larger once they are inflated, each with its coding."""
    huge = bytes(80 * MIB)
    engine = zlib.compressobj(wbits=31)
    packed = engine.compress(huge) + engine.flush()
    return (
        ("gzip", packed),
        ("deflate", zlib.compress(huge)),
        ("gzip", gzip.compress(packed)),
        ("gzip", packed + packed),
    )


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with a few of them changed, cut out, doubled or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        place = rng.randrange(len(changed) + 1)
        how = rng.randrange(5)
        if how == 0 and place < len(changed):
            changed[place] = rng.randrange(256)
        elif how == 1:
            del changed[place : place + rng.choice((1, 4, 30))]
        elif how == 2:
            changed[place:place] = changed[place : place + rng.choice((1, 8, 40))]
        elif how == 3:
            changed[place:place] = rng.randbytes(rng.choice((1, 4, 9)))
        else:
            del changed[place:]
    return bytes(changed)


def pixels(rng: random.Random) -> tuple[str, bytes]:
    """Return a datatype and the raw values of one image, with NaN and infinities among floats."""
    datatype = rng.choice(("UINT8", "FP32", "FP16", "BF16"))
    if datatype == "UINT8":
        return datatype, rng.randbytes(64)
    values = np.array([rng.uniform(-0.5, 1.5) for _ in range(64)], dtype=np.float32)
    values[rng.randrange(64)] = rng.choice((np.nan, np.inf, -np.inf, 1e30, 0.5))
    if datatype == "FP16":
        with np.errstate(over="ignore"):
            return datatype, values.astype("<f2").tobytes()
    if datatype == "BF16":
        return datatype, (values.view("<u4") >> 16).astype("<u2").tobytes()
    return datatype, values.astype("<f4").tobytes()
