"""A made-up model of 8 × 8 pixels: its reference, and logs of traffic that it might have had.

N images, K classes, E embedding dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.alerts.config import AlertsConfig
from monitoring.array_fields import encode_embeddings
from monitoring.drift_analysis import DriftConfig
from monitoring.examination import Keeping, Methods, Source, Subject, examine
from monitoring.features import feature_names, features_of_images, model_features
from monitoring.health import Health, Missing, Span
from monitoring.input_summary import summarise
from monitoring.labels import LabelStore
from monitoring.novelty import NoveltyConfig
from monitoring.quantile_sketch import sketch
from monitoring.reference import Reference
from monitoring.request_log import Record, RequestLog, RequestLogConfig
from monitoring.scope import Scope, narrow
from monitoring.sequential import SequentialConfig
from monitoring.slo import SloConfig
from monitoring.store import LogStore
from tests.monitoring.records import a_record, an_access_record
from torchkeep.schema import EMBEDDING_DIMS

CLASSES = ("0", "1", "2")
NAMES = feature_names(1)
NOW_NS = 1_769_860_800 * 1_000_000_000
"""2026-01-31 12:00:00 UTC; traffic comes just before it."""
SECOND_NS = 1_000_000_000
DIGEST = "d1"
EVERYTHING = Span()
NOTHING_KEPT = Keeping()


@dataclass(frozen=True, slots=True)
class Seen:
    """N images, and what the model made of them."""

    images: NDArray[np.uint8]  # N 1 8 8
    labels: NDArray[np.int64]  # N, the truth
    probabilities: NDArray[np.float32]  # N K
    embedding: NDArray[np.float16]  # N E
    score: NDArray[np.float64]  # N


def seen(count: int, *, seed: int, brightness: float = 1.0) -> Seen:
    """Return images of three classes, told apart by their brightness, as the model sees them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASSES), count)
    levels = 60 + 60 * labels[:, None, None, None]
    pixels = random.normal(levels, 25, (count, 1, 8, 8)) * brightness
    images = pixels.clip(0, 255).astype(np.uint8)
    grey = images.mean(axis=(1, 2, 3))
    logits = -np.abs(grey[:, None] - np.array([60, 120, 180])) / 6
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    plane = np.random.default_rng(0).normal(size=(64, EMBEDDING_DIMS)) / 255
    return Seen(
        images=images,
        labels=labels,
        probabilities=(odds / odds.sum(axis=1, keepdims=True)).astype(np.float32),
        embedding=(images.reshape(count, -1) @ plane).astype(np.float16),
        score=random.exponential(1, count),
    )


@cache
def reference(count: int = 1200, seed: int = 1) -> Reference:
    """Return the reference of that model."""
    held_out = seen(count, seed=seed)
    features = np.concatenate(
        [
            features_of_images(held_out.images),
            model_features(held_out.probabilities, held_out.score),
        ],
        axis=1,
    )
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(confusion, (held_out.probabilities.argmax(axis=1), held_out.labels), 1)
    return Reference(
        model="digits",
        version="1.0",
        artifact_digest=DIGEST,
        classes=CLASSES,
        images=count,
        feature_names=NAMES,
        quantiles=sketch(features),
        class_counts=np.bincount(held_out.labels, minlength=len(CLASSES)),
        confusion=confusion,
        features=features,
        embedding=held_out.embedding.astype(np.float32),
        probabilities=held_out.probabilities,
        labels=held_out.labels,
        score=held_out.score,
    )


def records(
    of: Seen, name: str, *, seconds_ago: float = 600, lasting: float = 200, **changes: Any
) -> list[Record]:
    """Return an inference and an access record of each image, one a request, in order of time.

    The first comes `seconds_ago`, the last not quite `lasting` seconds later.
    """
    made: list[Record] = []
    order = (-of.probabilities).argsort(axis=1, kind="stable")
    summaries = summarise(of.images, [64] * len(of.images))
    embeddings = encode_embeddings(of.embedding)
    step = int(lasting * SECOND_NS / max(1, len(of.images)))
    for row, indices in enumerate(order):
        said: dict[str, Any] = {
            "timestamp_ns": NOW_NS - int(seconds_ago * SECOND_NS) + row * step,
            "client": "c1",
        } | changes
        screening: dict[str, Any] = dict(a_record()["screening"] or {})
        made.append(
            a_record(
                f"{name}-{row}",
                prediction=[CLASSES[index] for index in indices],
                probability=of.probabilities[row, indices],
                input_data_summary=summaries[row],
                embedding=embeddings[row],
                screening=screening | {"score": float(of.score[row])},
                artifact_digest=DIGEST,
                **said,
            )
        )
        made.append(an_access_record(f"{name}-{row}", items=1, items_ok=1, **said))
    return made


def log_of(directory: Path, *batches: Sequence[Record]) -> Path:
    """Write each batch as a segment of a real log."""
    for batch in batches:
        with RequestLog(RequestLogConfig(), directory=directory) as log:
            log.write(batch)
    return directory


METHODS = Methods(
    drift=DriftConfig(),
    sequential=SequentialConfig(average_run_length=10_000),
    novelty=NoveltyConfig(),
    slo=SloConfig(),
    alerts=AlertsConfig(),
    most_items=10_000,
)


def look(
    folder: Path,
    *,
    of: Reference | Missing | None = None,
    span: Span = EVERYTHING,
    methods: Methods = METHODS,
    keeping: Keeping = NOTHING_KEPT,
    own_clients: tuple[str, ...] = (),
    labels: LabelStore | None = None,
    now_ns: int = NOW_NS,
) -> Health:
    """Look at the log in `folder/log`, compacted into `folder/store` as far as it was."""
    subject = Subject(
        model="digits",
        version="1.0",
        artifact_digest=DIGEST,
        classes=CLASSES,
        feature_names=NAMES,
        reference=reference() if of is None else of,
    )
    store = LogStore(folder / "store", folder / "log")
    scope = Scope(correlation_id=span.correlation_id or None, own_clients=own_clients)
    with store.connect() as connection:
        source = Source(
            connection=connection,
            labels=labels,
            own_traffic=narrow(connection, scope),
            quarantined={},
        )
        return examine(source, subject, span, methods, keeping, now_ns=now_ns)
