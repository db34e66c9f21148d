"""The answer as columns, for a gateway that joined the items of many callers.

Shapes: N items, K classes (0 beyond 100 classes, or if nothing was predicted).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handlers.explain import METHOD
from handlers.item import Item, Judgement
from handlers.served_model import ServedModel
from handlers.telling import Telling
from torchkeep.envelope import NO_CLASS, ResponseEnvelope
from torchkeep.errors import ItemError
from torchkeep.schema import MAX_LOGGED_CLASSES, Disclose, ItemStatus

NAN = float("nan")


def gateway_answer(
    items: Sequence[Item], model: ServedModel, telling: Telling, *, disclose: Disclose
) -> ResponseEnvelope:
    """Return what is told to the gateway, and how much of it (`disclose`) it may pass on."""
    predicted = [telling.prediction_of(item) for item in items]
    scored = [telling.score_of(item) for item in items]
    return ResponseEnvelope(
        model=model.name,
        model_version=model.version,
        disclose=disclose,
        threshold=model.threshold if telling.disclose is Disclose.FULL else NAN,
        statuses=[item.status for item in items],
        verdicts=[told.verdict if told else None for told in map(telling.verdict_of, items)],
        class_index=np.array([j.class_index if j else NO_CLASS for j in predicted], np.int32),
        probability=np.array([j.probability if j else NAN for j in predicted], np.float32),
        score=np.array([j.score if j else NAN for j in scored], np.float32),
        p_value=np.array([j.p_value if j else NAN for j in scored], np.float32),
        probabilities=_table(predicted),
        labels={j.class_index: j.labels[0] for j in predicted if j},
        messages={
            place: telling.message_of(item)
            for place, item in enumerate(items)
            if item.status is not ItemStatus.OK
        },
        attribution_method=METHOD,
        attributions={
            place: item.attribution
            for place, item in enumerate(items)
            if item.attribution is not None
        },
    )


def gateway_refusal(
    fault: ItemError, model: ServedModel, *, disclose: Disclose
) -> ResponseEnvelope:
    """Return the answer to a body that could not be opened: one item, and why there is none."""
    unknown = np.full(1, NAN, dtype=np.float32)
    return ResponseEnvelope(
        model=model.name,
        model_version=model.version,
        disclose=disclose,
        threshold=NAN,
        statuses=[fault.status],
        verdicts=[None],
        class_index=np.array([NO_CLASS], dtype=np.int32),
        probability=unknown,
        score=unknown,
        p_value=unknown,
        probabilities=np.empty((1, 0), dtype=np.float32),
        labels={},
        messages={0: fault.message},
    )


def _table(predicted: Sequence[Judgement | None]) -> NDArray[np.float32]:
    """Return N K probabilities, NaN where there is no prediction."""
    classes = next((len(j.probabilities) for j in predicted if j), 0)
    if classes > MAX_LOGGED_CLASSES:
        classes = 0
    table = np.full((len(predicted), classes), NAN, dtype=np.float32)
    for row, judgement in zip(table, predicted, strict=True):
        if judgement:
            row[:] = judgement.probabilities[:classes]
    return table
