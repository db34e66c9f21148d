"""Which item of a window each label belongs to, and why some belong to none.

A label names a request and an item, and maybe the client. A request id is the caller's own word,
so several requests may bear the same: then nobody can say which one was labelled, and the label is
counted and left out. Of several records of one request, those of other versions (a canary, a
shadow) get the label too; of those of one version (a retry) only the last does.

    N items of the window, F features, L labels
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.clock import CLOCK_TOLERANCE_NS
from monitoring.features import MODEL_FEATURES
from monitoring.labels import Labels
from monitoring.window import NOT_PREDICTED, Window

NOT_LABELLED = -1
_ONE_REQUEST_NS = 3600 * 1_000_000_000
"""Records of one id that are further apart are of several requests."""
_REQUEST = ["request_id", "item", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCounts:
    """What became of the labels; all but `used` and `early` were left out."""

    labels: int
    """Keys with a label."""
    used: int
    """Labels that belong to an item of the window."""
    ambiguous: int
    """Labels whose request id several requests used."""
    unknown_class: int
    """Labels that are no class of the model."""
    not_predicted: int
    """Labels of items that have no prediction, such as rejected ones."""
    elsewhere: int
    """Labels of requests outside the window; with no log to ask, unknown ones too."""
    unknown_request: int
    """Labels of requests that are in no record at all; 0 if there was no log to ask."""
    early: int
    """Labels whose time is before their request's: a clock is wrong, the label is used."""
    revised: int
    """Items whose label was another one before, or that two labels name: the later one counts."""
    conflicting: int
    """Items with two different labels of the same time, beside `labels`: neither counts."""
    unreadable_files: int

    @property
    def left_out(self) -> int:
        """How many keys have a label that does not count."""
        return self.labels - self.used + self.conflicting


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A window with the truth beside it."""

    window: Window
    truth: NDArray[np.int64]  # N, class index, or NOT_LABELLED
    delay_s: NDArray[np.float64]  # N, seconds from record to label; NaN where there is none
    counts: LabelCounts

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """N, whether an item has both a prediction and a label."""
        both = (self.truth != NOT_LABELLED) & (self.window.predicted != NOT_PREDICTED)
        return cast("NDArray[np.bool_]", both)


def join_labels(
    window: Window, labels: Labels, *, connection: duckdb.DuckDBPyConnection | None = None
) -> Joined:
    """Return the window with the labels that belong to its items.

    With a `connection` to the log store the whole log is asked: labels of requests outside the
    window are told from those of requests that are nowhere, and an id that a request outside the
    window bears too makes its labels ambiguous.
    """
    rows = _rows(window)
    frame = _labels(labels, window.classes)
    pairs = _pairs(rows, frame)
    ambiguous_in_log, nowhere = _in_log(frame, window.model, connection)
    frame["found"] = frame.index.isin(pairs["label"])
    frame["nowhere"] = frame.index.isin(nowhere) & ~frame["found"]
    ambiguous = _ambiguous(pairs, window).union(ambiguous_in_log)
    frame["ambiguous"] = frame.index.isin(ambiguous) & frame["found"]
    fits = ~frame["ambiguous"] & (frame["truth"] != NOT_LABELLED)
    pairs = pairs[pairs["label"].isin(frame.index[fits])]
    frame["predicted"] = frame.index.isin(pairs.loc[pairs["predicted"], "label"])
    given = (
        pairs[pairs["predicted"]]
        .sort_values(["time", "specific"], kind="stable")
        .drop_duplicates("row", keep="last")
    )
    given = given.drop_duplicates([*_REQUEST, "version"], keep="last")
    frame["used"] = frame.index.isin(given["label"])

    truth = np.full(len(window), NOT_LABELLED, dtype=np.int64)
    delay = np.full(len(window), np.nan)
    at = given["row"].to_numpy(dtype=np.int64)
    truth[at] = frame["truth"].to_numpy()[given["label"].to_numpy(dtype=np.int64)]
    delay[at] = (given["time"].to_numpy() - given["logged"].to_numpy()) / 1e9
    return Joined(
        window=window,
        truth=truth,
        delay_s=delay,
        counts=_counts(frame, labels, delay),
    )


def _rows(window: Window) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "request_id": window.request_id,
            "item": window.item,
            "client": window.client,
            "version": window.version,
            "logged": window.timestamp_ns,
            "predicted": window.predicted != NOT_PREDICTED,
            "row": np.arange(len(window)),
        }
    )


def _labels(labels: Labels, classes: tuple[str, ...]) -> pd.DataFrame:
    index = {name: number for number, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "request_id": labels.request_id,
            "item": labels.item,
            "client": labels.client,
            "time": labels.labelled_at_ns,
            "label": np.arange(len(labels)),
            "truth": np.array([index.get(name, NOT_LABELLED) for name in labels.label], np.int64),
        }
    )


def _pairs(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Each row with each label that names it; a label that names the client is `specific`."""
    columns = [*_REQUEST, "time", "label"]
    any_client = labels.loc[labels["client"] == "", columns].drop(columns="client")
    one_client = labels.loc[labels["client"] != "", columns]
    return pd.concat(
        [
            rows.merge(any_client, on=["request_id", "item"]).assign(specific=False),
            rows.merge(one_client, on=_REQUEST).assign(specific=True),
        ],
        ignore_index=True,
    ).sort_values("row", kind="stable")


def _ambiguous(pairs: pd.DataFrame, window: Window) -> pd.Index:
    """The labels whose request may be any of several: of several clients, or other images."""
    several = pairs.groupby("label")["client"].nunique() > 1
    images = _image_hash(window, pairs["row"].to_numpy(dtype=np.int64))
    reused = (
        images.set_axis(pairs.index).groupby(pairs["label"]).nunique() > 1
    )  # what was not decoded counts as no image
    return several.index[several | reused]


def _image_hash(window: Window, rows: NDArray[np.int64]) -> pd.Series:
    """A hash of what was logged of each row's image; missing where nothing was."""
    of_image = [name not in MODEL_FEATURES for name in window.feature_names]
    features = window.features[rows][:, of_image]
    hashes = pd.util.hash_pandas_object(pd.DataFrame(features), index=False)
    return hashes.where(pd.Series(np.isfinite(features).any(axis=1)))


_IN_LOG = """
    SELECT
        asked.label, count(record.request_id) AS records,
        count(DISTINCT coalesce(record.client, '')) FILTER (record.model = $model) AS clients,
        max(record.timestamp_ns) FILTER (record.model = $model)
            - min(record.timestamp_ns) FILTER (record.model = $model) AS spread_ns
    FROM _asked_labels AS asked LEFT JOIN inference AS record
        ON record.request_id = asked.request_id AND record.item = asked.item
        AND (asked.client = '' OR record.client = asked.client)
    GROUP BY asked.label
"""


def _in_log(
    labels: pd.DataFrame, model: str, connection: duckdb.DuckDBPyConnection | None
) -> tuple[pd.Index, pd.Index]:
    """The labels that the whole log shows to be ambiguous, and those of requests in no record."""
    if connection is None or labels.empty:
        return pd.Index([]), pd.Index([])
    connection.register("_asked_labels", labels[[*_REQUEST, "label"]])
    try:
        found = connection.execute(_IN_LOG, {"model": model}).df().set_index("label")
    finally:
        connection.unregister("_asked_labels")
    several = (found["clients"] > 1) | (found["spread_ns"] > _ONE_REQUEST_NS)
    return found.index[several], found.index[found["records"] == 0]


def _counts(frame: pd.DataFrame, labels: Labels, delay_s: NDArray[np.float64]) -> LabelCounts:
    found, ambiguous = frame["found"], frame["ambiguous"]
    known = frame["truth"] != NOT_LABELLED
    overruled = frame["predicted"] & ~frame["used"]
    return LabelCounts(
        labels=len(labels),
        used=int(frame["used"].sum()),
        ambiguous=int(ambiguous.sum()),
        unknown_class=int((found & ~ambiguous & ~known).sum()),
        not_predicted=int((found & ~ambiguous & known & ~frame["predicted"]).sum()),
        elsewhere=int((~found & ~frame["nowhere"]).sum()),
        unknown_request=int(frame["nowhere"].sum()),
        early=int((delay_s * 1e9 < -CLOCK_TOLERANCE_NS).sum()),
        revised=labels.revised + int(overruled.sum()),
        conflicting=labels.conflicting,
        unreadable_files=len(labels.unreadable),
    )
