"""From handler to gateway: what became of N items, a column a field."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from torchkeep.envelope.wire import (
    RESPONSE,
    Buffer,
    EnvelopeError,
    Reader,
    member,
    pack_text,
    seal,
    unseal,
)
from torchkeep.schema import Disclose, ItemStatus, Verdict

NO_CLASS: Final = -1

# The code of a member is its position: append only.
_DISCLOSES: Final = (Disclose.NONE, Disclose.VERDICT, Disclose.FULL)
_VERDICTS: Final = (None, Verdict.CLEAN, Verdict.SUSPICIOUS, Verdict.FAILED)
_STATUSES: Final = (
    ItemStatus.OK,
    ItemStatus.REJECTED,
    ItemStatus.BAD_INPUT,
    ItemStatus.UNSUPPORTED,
    ItemStatus.TOO_LARGE,
    ItemStatus.EXPIRED,
    ItemStatus.ERROR,
)

_COUNTS = struct.Struct("<BIIf")  # disclose, items, classes, threshold
_NUMBER = struct.Struct("<I")
_IMAGE = struct.Struct("<III")  # channels, height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseEnvelope:
    """N items in the order of the request; `labels` names the classes that were predicted.

    No prediction: `class_index` is `NO_CLASS` and `probability` NaN. Not told: the verdict is
    None, `score` and `p_value` are NaN. `messages` and `attributions` are by item.
    """

    model: str
    model_version: str
    disclose: Disclose
    threshold: float
    statuses: Sequence[ItemStatus]  # N
    verdicts: Sequence[Verdict | None]  # N
    class_index: NDArray[np.int32]  # N
    probability: NDArray[np.float32]  # N
    score: NDArray[np.float32]  # N
    p_value: NDArray[np.float32]  # N
    probabilities: NDArray[np.float32]  # N K
    labels: Mapping[int, str]
    messages: Mapping[int, str] = field(default_factory=dict)
    attribution_method: str = ""
    attributions: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)  # C H W
    authentic: bool = False


def encode_response(envelope: ResponseEnvelope, key: bytes | None) -> bytes:
    """Return the bytes of a response envelope, signed with `key`."""
    disclose = _DISCLOSES.index(envelope.disclose)
    floats = (envelope.probability, envelope.score, envelope.p_value, envelope.probabilities)
    parts = [
        _COUNTS.pack(disclose, *envelope.probabilities.shape, envelope.threshold),
        pack_text(envelope.model),
        pack_text(envelope.model_version),
        bytes(map(_STATUSES.index, envelope.statuses)),
        bytes(map(_VERDICTS.index, envelope.verdicts)),
        envelope.class_index.astype("<i4").tobytes(),
        *(column.astype("<f4").tobytes() for column in floats),
        _pack_texts(envelope.labels),
        _pack_texts(envelope.messages),
        pack_text(envelope.attribution_method),
        _pack_attributions(envelope.attributions),
    ]
    return seal(RESPONSE, parts, key)


def decode_response(data: Buffer, key: bytes | None) -> ResponseEnvelope:
    """Read a response envelope; its arrays look into `data`. Raises `EnvelopeError`."""
    reader, authentic = unseal(data, RESPONSE, key)
    disclose, items, classes, threshold = reader.unpack(_COUNTS, "counts")
    if items == 0:
        raise EnvelopeError("the envelope holds no items")
    envelope = ResponseEnvelope(  # the arguments read on, in this order
        disclose=member(_DISCLOSES, disclose, "disclose"),
        threshold=threshold,
        model=reader.text("model"),
        model_version=reader.text("version"),
        statuses=[member(_STATUSES, code, "status") for code in reader.take(items, "statuses")],
        verdicts=[member(_VERDICTS, code, "verdict") for code in reader.take(items, "verdicts")],
        class_index=reader.column("<i4", (items,), "classes"),
        probability=reader.column("<f4", (items,), "probability"),
        score=reader.column("<f4", (items,), "score"),
        p_value=reader.column("<f4", (items,), "p-value"),
        probabilities=reader.column("<f4", (items, classes), "probabilities"),
        labels=_read_texts(reader, "labels"),
        messages=_read_texts(reader, "messages"),
        attribution_method=reader.text("attribution method"),
        attributions=_read_attributions(reader),
        authentic=authentic,
    )
    reader.finish()
    return envelope


def _pack_texts(texts: Mapping[int, str]) -> bytes:
    pairs = [_NUMBER.pack(number) + pack_text(text) for number, text in texts.items()]
    return _NUMBER.pack(len(pairs)) + b"".join(pairs)


def _read_texts(reader: Reader, what: str) -> dict[int, str]:
    (count,) = reader.unpack(_NUMBER, what)
    return {reader.unpack(_NUMBER, what)[0]: reader.text(what) for _ in range(count)}


def _pack_attributions(attributions: Mapping[int, NDArray[np.float32]]) -> bytes:
    parts = [_NUMBER.pack(len(attributions))]
    for item, values in attributions.items():
        parts += [_NUMBER.pack(item), _IMAGE.pack(*values.shape), values.astype("<f4").tobytes()]
    return b"".join(parts)


def _read_attributions(reader: Reader) -> dict[int, NDArray[np.float32]]:
    (count,) = reader.unpack(_NUMBER, "attributions")
    attributions = {}
    for _ in range(count):
        (item,) = reader.unpack(_NUMBER, "attributions")
        image = reader.unpack(_IMAGE, "attributions")
        if prod(image) == 0:
            raise EnvelopeError("an attribution of the envelope is empty")
        attributions[item] = reader.column("<f4", image, "attributions")
    return attributions
