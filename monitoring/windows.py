"""Reading a window from the log: SQL selects the items, whole columns become arrays.

Of the items that were served, a window holds those that were predicted for a caller: no shadow or
canary, no explanation (it repeats a prediction), and of an item that was tried again the last
attempt. What is left out and what is lacking is counted in a `WindowReport`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring.sessions import DEFAULT_GAP_S, SessionReport, session_report, thin_sessions
from monitoring.window import Window
from monitoring.window_query import LeftOut, WindowQuery

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = [
    "DEFAULT_GAP_S",
    "SessionReport",
    "WindowReport",
    "read_window",
    "read_window_with_report",
    "session_report",
    "thin_sessions",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """What was found in the log for a window: counts of items.

    `found` = `in_window` + `other_role` + `explained` + `superseded` + `not_last`; the further
    counts are of items in the window that lack something.
    """

    found: int
    in_window: int
    other_role: int  # canary or shadow
    explained: int  # an explanation was asked for, so it repeats a prediction
    superseded: int  # a later attempt of the same item is there
    not_last: int  # older than the `last` ones
    not_predicted: int  # refused, failed or expired: no prediction was logged
    unknown_labels: int  # a predicted label is no class of the model
    damaged_predictions: int  # labels and probabilities do not belong together
    no_summary: int  # never decoded
    other_channels: int  # summary of another number of channels than the features are of
    no_embedding: int
    damaged_embeddings: int  # no base64 of 32 finite float16


def read_window(
    connection: duckdb.DuckDBPyConnection,
    *,
    model: str,
    classes: Sequence[str],
    feature_names: Sequence[str],
    start_ns: int | None = None,
    end_ns: int | None = None,
    version: str | None = None,
    correlation_id: str | None = None,
    last: int | None = None,
) -> Window:
    """Return the items of `model` logged from `start_ns` until before `end_ns`, oldest first.

    `connection` has the view `inference`; `classes` and `feature_names` are those of the reference;
    `version` and `correlation_id` choose items by what they say, `last` the newest so many. The
    session of an item is its session id, or else its correlation id unless one was chosen by.

    Probabilities stand in class order. Of more than 100 classes the ten largest are logged: what
    they leave of 1 is spread evenly over the others. An item with a label that is no class has
    probabilities of NaN and is not predicted. Raises `ValueError` if there is no feature of a name.
    """
    return read_window_with_report(
        connection,
        model=model,
        classes=classes,
        feature_names=feature_names,
        start_ns=start_ns,
        end_ns=end_ns,
        version=version,
        correlation_id=correlation_id,
        last=last,
    )[0]


def read_window_with_report(
    connection: duckdb.DuckDBPyConnection,
    *,
    model: str,
    classes: Sequence[str],
    feature_names: Sequence[str],
    start_ns: int | None = None,
    end_ns: int | None = None,
    version: str | None = None,
    correlation_id: str | None = None,
    last: int | None = None,
) -> tuple[Window, WindowReport]:
    """Return what `read_window` does, and what it left out or found lacking."""
    query = WindowQuery(
        model=model,
        start_ns=start_ns,
        end_ns=end_ns,
        version=version,
        correlation_id=correlation_id,
        last=last,
    )
    counts = query.counts(connection)
    return _window(query.rows(connection), counts, model, tuple(classes), tuple(feature_names))


def _window(
    rows: pa.Table,
    counts: LeftOut,
    model: str,
    classes: tuple[str, ...],
    feature_names: tuple[str, ...],
) -> tuple[Window, WindowReport]:
    # here, because pyarrow takes a while to import and a caller may want thinning alone
    from monitoring.arrow_arrays import floats, integers, texts
    from monitoring.window_columns import embeddings_of, features_of, predictions_of

    score = floats(rows["score"])
    predictions = predictions_of(rows, classes)
    embeddings = embeddings_of(rows)
    features = features_of(rows, feature_names, predictions.probabilities, score)
    window = Window(
        model=model,
        classes=classes,
        feature_names=feature_names,
        timestamp_ns=integers(rows["timestamp_ns"]),
        version=texts(rows["version"]),
        request_id=texts(rows["request_id"]),
        item=integers(rows["item"]),
        client=texts(rows["client"]),
        session=texts(rows["session"]),
        status=texts(rows["status"]),
        verdict=texts(rows["verdict"]),
        code_version=texts(rows["code_version"]),
        input_format=texts(rows["input_format"]),
        score=score,
        features=features.values,
        embedding=embeddings.values,
        probabilities=predictions.probabilities,
        predicted=predictions.predicted,
    )
    # the log may have grown between counting and reading
    left_out = sum(counts[1:])
    not_last = max(0, counts.found - left_out - len(window))
    report = WindowReport(
        **counts._asdict() | {"found": left_out + len(window) + not_last},
        in_window=len(window),
        not_last=not_last,
        not_predicted=int(predictions.missing.sum()),
        unknown_labels=int(predictions.unknown.sum()),
        damaged_predictions=int(predictions.damaged.sum()),
        no_summary=int(features.missing.sum()),
        other_channels=int(features.other_channels.sum()),
        no_embedding=int(embeddings.missing.sum()),
        damaged_embeddings=int(embeddings.damaged.sum()),
    )
    return window, report
