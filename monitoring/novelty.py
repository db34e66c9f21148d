"""Which requests are unlike anything the model saw on held-out images: a model-based detector.

The model is the reference itself: an item's score is its distance to the nearest rows, in features
and embedding, and its p-value the share of held-out images that lie as far. Nothing is stored; it
is fitted anew at each use, which takes a tenth of a second.

    N items, F features
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.novelty_model import Columns, NoveltyModel, columns_of
from monitoring.proportion import IntervalMethod, proportion
from monitoring.reference import Reference
from monitoring.window import Window
from torchkeep.errors import SettingsError

_STANDS_OUT = 3.0  # deviations
_NAMED = 3  # features of an item


@dataclass(frozen=True, slots=True, kw_only=True)
class NoveltyConfig:
    """Raises `SettingsError` for values that cannot work."""

    level: float = 0.01
    """An item whose p-value is at most this is novel: so many of the reference's kind are, too."""
    neighbours: int = 10
    """The distance to so many reference rows, averaged, is the score."""
    listed: int = 20
    """So many of the most novel requests are listed."""
    seed: int = 0
    """Of the division of the reference into rows to compare with and rows to calibrate on."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise SettingsError(
                f"novelty level is {self.level!r}", remedy="Give one between 0 and 1."
            )
        limits = {"neighbours": (1, 100), "listed": (0, 10_000), "seed": (0, 2**32 - 1)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(
                    f"novelty {name} is {getattr(self, name)!r}", remedy=f"Give {low} to {high}."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingOut:
    """A feature of an item that is far from the reference's."""

    feature: str
    value: float
    usual: float
    """The reference's median."""
    deviations: float
    """So many of the reference's standard deviations lie between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NovelRequest:
    """One item and how unlike the reference it is."""

    request_id: str
    item: int
    timestamp_ns: int
    predicted: str
    """The class' name, or "" if nothing was predicted."""
    score: float
    p_value: float
    standing_out: tuple[StandingOut, ...]
    """Up to three features that stand out most; none if it is the combination or the embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoveltyReport:
    """How much of a window is novel. Arrays have a row for each of its items, in its order."""

    model: str
    version: str
    level: float
    items: int
    judged: int
    lacking: int
    """Items with a value that is NaN or infinite: their score and p-value are NaN."""
    novel: int
    share: float
    """Of the judged items; NaN if there are none. About `level` if nothing is new."""
    share_low: float
    share_high: float
    """95 % Clopper-Pearson interval of the share."""
    columns: int
    """Features and embedding dimensions that were used."""
    left_out: Mapping[str, str]
    """Features, or `embedding`, that could not be used, and why."""
    note: str
    """"" or why nothing was judged: such as `no items`."""
    most_novel: tuple[NovelRequest, ...]
    """The novel ones only, the most novel first."""
    score: NDArray[np.float64]  # N
    p_value: NDArray[np.float64]  # N

    def to_json(self) -> dict[str, Any]:
        """Return all but the arrays as what JSON can hold; NaN becomes None."""
        plain = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if not isinstance(getattr(self, field.name), np.ndarray)
        }
        shares = ("share", "share_low", "share_high")
        found = {name: None if math.isnan(plain[name]) else plain[name] for name in shares}
        listed = [asdict(request) for request in self.most_novel]
        return plain | found | {"left_out": dict(self.left_out), "most_novel": listed}


def novelty(
    reference: Reference, window: Window, config: NoveltyConfig | None = None
) -> NoveltyReport:
    """Compare each item of a window with the reference.

    Raises `ValueError` if the two are of different models, classes or features.
    """
    config = config or NoveltyConfig()
    _check(reference, window)
    columns = columns_of(reference, window)
    model = NoveltyModel.fit(
        reference,
        columns,
        level=config.level,
        neighbours=config.neighbours,
        seed=config.seed,
    )
    score = np.full(len(window), np.nan)
    p_value = score.copy()
    rows = columns.of(window)
    if model is not None:
        whole = np.isfinite(rows).all(axis=1)
        score[whole] = model.score(rows[whole])
        p_value[whole] = model.p_values(score[whole])
    listed = _listed(score, p_value, config)
    return NoveltyReport(
        model=reference.model,
        version=reference.version,
        level=config.level,
        items=len(window),
        **_shares(p_value, config.level),
        columns=rows.shape[1] if model is not None else 0,
        left_out=columns.left_out,
        note=_note(model, p_value),
        most_novel=tuple(
            _request(window, row, score, p_value, _standing_out(model, columns, window, row))
            for row in listed
            if model is not None
        ),
        score=score,
        p_value=p_value,
    )


def _check(reference: Reference, window: Window) -> None:
    if window.model != reference.model:
        raise ValueError(f"a window of {window.model}, a reference of {reference.model}")
    if (window.classes, window.feature_names) != (reference.classes, reference.feature_names):
        raise ValueError("the window has other classes or features than the reference")


def _note(model: NoveltyModel | None, p_value: NDArray[np.float64]) -> str:
    if model is None:
        return "too few whole rows in the reference for this level"
    if len(p_value) == 0:
        return "no items"
    return "every item lacks a value" if np.isnan(p_value).all() else ""


def _shares(p_value: NDArray[np.float64], level: float) -> dict[str, Any]:
    """Count the judged and the novel."""
    judged = int(np.isfinite(p_value).sum())
    novel = int((p_value <= level).sum())
    found = {"judged": judged, "lacking": len(p_value) - judged, "novel": novel}
    if judged == 0:
        return found | dict.fromkeys(("share", "share_low", "share_high"), math.nan)
    share = proportion(novel, judged, method=IntervalMethod.EXACT)
    return found | {"share": share.value, "share_low": share.low, "share_high": share.high}


def _listed(
    score: NDArray[np.float64], p_value: NDArray[np.float64], config: NoveltyConfig
) -> NDArray[np.int64]:
    """Return the indices of the most novel items; of equal scores, the earlier first."""
    novel = np.flatnonzero(p_value <= config.level)
    order = np.argsort(-score[novel], kind="stable")
    return np.asarray(novel[order[: config.listed]])


def _request(
    window: Window,
    row: np.int64,
    score: NDArray[np.float64],
    p_value: NDArray[np.float64],
    standing_out: tuple[StandingOut, ...],
) -> NovelRequest:
    predicted = int(window.predicted[row])
    return NovelRequest(
        request_id=str(window.request_id[row]),
        item=int(window.item[row]),
        timestamp_ns=int(window.timestamp_ns[row]),
        predicted=window.classes[predicted] if predicted >= 0 else "",
        score=float(score[row]),
        p_value=float(p_value[row]),
        standing_out=standing_out,
    )


def _standing_out(
    model: NoveltyModel, columns: Columns, window: Window, row: np.int64
) -> tuple[StandingOut, ...]:
    """Return the named features of an item that are farthest from the median."""
    values = columns.of(window.take(np.array([row])))
    deviations = model.deviations(values)[0, : len(columns.features)]
    farthest = np.argsort(-np.abs(deviations), kind="stable")[:_NAMED]
    return tuple(
        StandingOut(
            feature=window.feature_names[columns.features[at]],
            value=float(values[0, at]),
            usual=float(model.centre[at]),
            deviations=float(deviations[at]),
        )
        for at in farthest
        if abs(deviations[at]) >= _STANDS_OUT
    )
