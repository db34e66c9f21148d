"""Two records of the same pixels, step by step: what was said then, and what is said now.

The steps are in the order of the forward pass, so the first that differs is where to look.

    K classes, E embedding dimensions
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from monitoring.array_fields import decode_embedding, decode_input

Record = Mapping[str, Any]

NOISE = 1e-3
"""Differences up to this are those of floating point and of batches, not of the model."""
ABSENT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the forward pass: both values as text, and how far apart they are.

    `distance` is None where there is no number for it: texts, or a value that one side lacks.
    `counts` is False for what differs between any two networks and so says nothing of a fault.
    """

    name: str
    before: str
    after: str
    distance: float | None
    same: bool
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The steps of one item, logged and replayed."""

    request_id: str
    item: int
    before_version: str
    after_version: str
    same_artifact: bool
    steps: tuple[Step, ...]

    @property
    def first_difference(self) -> Step | None:
        """The first step that differs and counts; None if all are the same."""
        return next((step for step in self.steps if step.counts and not step.same), None)

    @property
    def same_answer(self) -> bool:
        """Whether label and verdict are as they were."""
        return all(step.same for step in self.steps if step.name in ("label", "verdict"))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        first = self.first_difference
        return asdict(self) | {
            "first_difference": None if first is None else first.name,
            "same_answer": self.same_answer,
        }


def replayable(records: Sequence[Record], item: int | None) -> list[Record]:
    """Return the last attempt at each item that has its pixels, in order of the items.

    With `item`, that one alone. A request id that was used again counts by its last use.
    """
    last: dict[int, Record] = {}
    for record in records:
        if isinstance(record.get("input"), Mapping) and item in (None, record.get("item")):
            last[int(record["item"])] = record
    return [last[index] for index in sorted(last)]


def compare(before: Record, after: Record) -> Comparison:
    """Compare two inference records of the same pixels.

    What a record lacks is shown as absent; two that lack it are the same in it. Raises `ValueError`
    if a logged input or embedding is damaged.
    """
    same_artifact = before.get("artifact_digest") == after.get("artifact_digest")
    return Comparison(
        request_id=str(before.get("request_id")),
        item=int(before.get("item") or 0),
        before_version=str(before.get("model_version")),
        after_version=str(after.get("model_version")),
        same_artifact=same_artifact,
        steps=tuple(_steps(before, after, same_artifact)),
    )


def _steps(before: Record, after: Record, same_artifact: bool) -> Iterator[Step]:
    yield from _pixels(before, after)
    yield _embedding(before, after, same_artifact)
    yield _probabilities(before, after)
    yield _texts("label", _label(before), _label(after))
    theirs, ours = _screening(before), _screening(after)
    heads, now = theirs.get("heads") or {}, ours.get("heads") or {}
    for name in sorted({*heads, *now}):
        yield _numbers(f"p-value, {name} head", heads.get(name), now.get(name))
    for name in ("score", "threshold"):
        yield _numbers(name, theirs.get(name), ours.get(name))
    yield _texts("verdict", theirs.get("verdict"), ours.get("verdict"))
    yield _texts("status", before.get("status"), after.get("status"))


def _pixels(before: Record, after: Record) -> Iterator[Step]:
    """The pixels themselves if both sides logged them, then what was measured on them."""
    theirs, ours = before.get("input"), after.get("input")
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        then, now = decode_input(theirs), decode_input(ours)
        fits = then.shape == now.shape and then.dtype == now.dtype
        gap = float(np.abs(then.astype(np.float64) - now).max(initial=0)) if fits else None
        shapes = [f"{image.dtype.name} {list(image.shape)}" for image in (then, now)]
        yield Step(
            name="pixels", before=shapes[0], after=shapes[1], distance=gap, same=fits and gap == 0
        )
    summaries = (before.get("input_data_summary") or {}, after.get("input_data_summary") or {})
    for name in ("mean", "std"):
        yield _vectors(f"{name} of the pixels", *(summary.get(name) for summary in summaries))
    yield _numbers("sharpness", *(summary.get("sharpness") for summary in summaries))


def _embedding(before: Record, after: Record, same_artifact: bool) -> Step:
    """Embeddings of two networks lie in two spaces: their distance is shown and does not count."""
    sides = [
        decode_embedding(text).astype(np.float64) if isinstance(text, str) else None
        for text in (before.get("embedding"), after.get("embedding"))
    ]
    lengths = [None if side is None else float(np.linalg.norm(side)) for side in sides]
    shown = [ABSENT if length is None else f"length {length:.4g}" for length in lengths]
    then, now = sides
    distance = None
    if then is not None and now is not None and then.shape == now.shape:
        distance = float(np.linalg.norm(then - now))
    scale = max((length for length in lengths if length is not None), default=0.0)
    same = (
        then is None and now is None if distance is None else distance <= 10 * NOISE * max(scale, 1)
    )
    return Step(
        name="embedding",
        before=shown[0],
        after=shown[1],
        distance=distance,
        same=same,
        counts=same_artifact and distance is not None,
    )


def _probabilities(before: Record, after: Record) -> Step:
    """The class that changed most, of those that both sides told; if none did, the likeliest."""
    then, now = _by_label(before), _by_label(after)
    common = sorted(then.keys() & now.keys())
    if not common:
        shown = [_best(side) for side in (then, now)]
        return Step(
            name="probabilities",
            before=shown[0],
            after=shown[1],
            distance=None,
            same=shown[0] == shown[1],
        )
    gaps = {name: abs(now[name] - then[name]) for name in common}
    widest = max(common, key=lambda name: gaps[name])
    if gaps[widest] <= NOISE:
        widest = max(common, key=lambda name: then[name])
    gap = gaps[widest]
    return Step(
        name="probabilities",
        before=f"{widest} {then[widest]:.1%}",
        after=f"{widest} {now[widest]:.1%}",
        distance=gap,
        same=gap <= NOISE,
    )


def _best(probabilities: Mapping[str, float]) -> str:
    if not probabilities:
        return ABSENT
    best = max(probabilities, key=lambda name: probabilities[name])
    return f"{best} {probabilities[best]:.1%}"


def _by_label(record: Record) -> dict[str, float]:
    labels, values = record.get("prediction") or (), record.get("probability")
    values = () if values is None else values
    return {
        str(name): float(value)
        for name, value in zip(labels, values, strict=False)
        if value is not None
    }


def _label(record: Record) -> str | None:
    return next((str(name) for name in record.get("prediction") or ()), None)


def _screening(record: Record) -> Record:
    screening = record.get("screening")
    return screening if isinstance(screening, Mapping) else {}


def _texts(name: str, before: object, after: object) -> Step:
    then, now = (ABSENT if value is None else str(value) for value in (before, after))
    return Step(name=name, before=then, after=now, distance=None, same=then == now)


def _numbers(name: str, before: float | None, after: float | None) -> Step:
    then, now = (ABSENT if value is None else f"{value:.4g}" for value in (before, after))
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return Step(name=name, before=then, after=now, distance=None, same=then == now)
    distance = abs(float(before) - float(after))
    same = distance <= NOISE * max(1.0, abs(before), abs(after))
    return Step(name=name, before=then, after=now, distance=distance, same=same)


def _vectors(name: str, before: Sequence[float] | None, after: Sequence[float] | None) -> Step:
    """A number for each channel; their distance is that of the channel that differs most."""
    shown = [
        ABSENT if values is None else " ".join(f"{value:.4g}" for value in values)
        for values in (before, after)
    ]
    distance = None
    if before is not None and after is not None and len(before) == len(after):
        distance = max(
            (abs(float(a) - float(b)) for a, b in zip(before, after, strict=True)), default=0.0
        )
    same = shown[0] == shown[1] if distance is None else distance <= NOISE
    return Step(name=name, before=shown[0], after=shown[1], distance=distance, same=same)
