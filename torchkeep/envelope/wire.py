"""What both directions share: head, seal, and a cursor that checks lengths before it reads."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from torchkeep.errors import TorchkeepError

MAGIC: Final = b"TKEP"
VERSION: Final = 2
REQUEST: Final = 1
RESPONSE: Final = 2
CONTENT_TYPE: Final = "application/x-torchkeep-envelope"
MAC_BYTES: Final = 32
MAX_TEXT_BYTES: Final = 0xFFFF

_HEAD = struct.Struct("<4sBB")
_TEXT = struct.Struct("<H")

Buffer = bytes | bytearray | memoryview
Member = TypeVar("Member")


class EnvelopeError(TorchkeepError):
    """Bytes that are no envelope, or one that breaks its own rules; the message is one line."""


def seal(kind: int, parts: Iterable[Buffer], key: bytes | None) -> bytes:
    """Join the parts of an envelope and sign them; without a key the signature is zeros."""
    body = b"".join([_HEAD.pack(MAGIC, VERSION, kind), *parts])
    return body + (hmac.digest(key, body, hashlib.sha256) if key else bytes(MAC_BYTES))


def unseal(data: Buffer, kind: int, key: bytes | None) -> tuple[Reader, bool]:
    """Return a reader that stands behind the head, and whether the signature is valid.

    Raises `EnvelopeError` if this is no envelope of that kind and of our version.
    """
    view = memoryview(data)
    if len(view) < _HEAD.size + MAC_BYTES:
        raise EnvelopeError(f"{len(view)} bytes are too few for an envelope")
    body, mac = view[:-MAC_BYTES], view[-MAC_BYTES:]
    reader = Reader(body)
    magic, version, found = reader.unpack(_HEAD, "head")
    if magic != MAGIC:
        raise EnvelopeError("the bytes are no envelope")
    if version != VERSION:
        raise EnvelopeError(f"the envelope has version {version}; expected {VERSION}")
    if found != kind:
        raise EnvelopeError(f"the envelope is of kind {found}; expected {kind}")
    if not key:
        return reader, False
    return reader, hmac.compare_digest(mac, hmac.digest(key, body, hashlib.sha256))


class Reader:
    """A cursor over untrusted bytes; it copies neither arrays nor blobs."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._offset = 0

    def take(self, size: int, what: str) -> memoryview:
        """Return the next `size` bytes. Raises `EnvelopeError` if there are fewer."""
        end = self._offset + size
        if end > len(self._data):
            raise EnvelopeError(f"the envelope ends inside its {what}")
        start, self._offset = self._offset, end
        return self._data[start:end]

    def unpack(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        """Return the fields of a fixed layout."""
        return layout.unpack(self.take(layout.size, what))

    def text(self, what: str) -> str:
        """Return a text."""
        return self.texts(self.unpack(_TEXT, what), what)[0]

    def texts(self, lengths: Sequence[int], what: str) -> list[str]:
        """Return texts that stand one behind the other, of known lengths in bytes."""
        block = bytes(self.take(sum(lengths), what))
        plain = block.decode() if block.isascii() else None  # characters are bytes: cut after
        texts, start = [], 0
        try:
            for length in lengths:
                end = start + length
                texts.append(block[start:end].decode() if plain is None else plain[start:end])
                start = end
        except UnicodeDecodeError as error:
            raise EnvelopeError(f"the {what} of the envelope is not UTF-8") from error
        return texts

    def column(self, dtype: str, shape: tuple[int, ...], what: str) -> NDArray[Any]:
        """Return an array that looks into the envelope."""
        kind = np.dtype(dtype)
        block = self.take(prod(shape) * kind.itemsize, what)
        return np.frombuffer(block, dtype=kind).reshape(shape)

    def finish(self) -> None:
        """Raise `EnvelopeError` unless everything was read."""
        left = len(self._data) - self._offset
        if left:
            raise EnvelopeError(f"the envelope has {left} bytes too many")


def pack_text(text: str) -> bytes:
    """Return what `Reader.text` reads. Raises `EnvelopeError` beyond 65,535 bytes."""
    encoded = text.encode("utf-8")
    if len(encoded) > MAX_TEXT_BYTES:
        raise EnvelopeError(f"a text of {len(encoded)} bytes does not fit an envelope")
    return _TEXT.pack(len(encoded)) + encoded


def member(members: tuple[Member, ...], code: int, what: str) -> Member:
    """Return the member that a code stands for. Raises `EnvelopeError` if there is none."""
    if code >= len(members):
        raise EnvelopeError(f"the envelope has {what} {code}; expected 0 to {len(members) - 1}")
    return members[code]
