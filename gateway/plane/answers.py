"""From the columns of a call's answer to the outcome of each question, told as it may be told.

Shapes: N items, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gateway.outcome import Outcome
from gateway.plane.pending import Pending
from torchkeep.envelope import ResponseEnvelope
from torchkeep.schema import Disclose, ItemStatus, Verdict

WITHHELD = "the item was not accepted"


class Columns:
    """The answer of one call, ready to be cut: its columns as lists, made once for all."""

    def __init__(self, answer: ResponseEnvelope) -> None:
        self._answer = answer
        names = answer.labels
        self._classes: list[int] = answer.class_index.tolist()
        self._labels = [names.get(index, "") for index in self._classes]
        self._probability: list[float] = answer.probability.tolist()
        self._full = answer.disclose is Disclose.FULL
        self._score: list[float] = answer.score.tolist() if self._full else []
        self._p_value: list[float] = answer.p_value.tolist() if self._full else []

    def __len__(self) -> int:
        return len(self._classes)

    def known(self, start: int, count: int) -> tuple[Sequence[ItemStatus], Sequence[Any]]:
        """Return statuses and verdicts as they are, for the gateway's own records."""
        end = start + count
        return self._answer.statuses[start:end], self._answer.verdicts[start:end]

    def cut(self, start: int, count: int, request_id: str) -> Outcome:
        """Return the outcome of `count` items from place `start` of the call on."""
        answer, end = self._answer, start + count
        hidden = answer.disclose is Disclose.NONE
        verdicts: Sequence[Verdict | None] = answer.verdicts[start:end]
        return Outcome(
            request_id=request_id,
            model=answer.model,
            version=answer.model_version,
            statuses=answer.statuses[start:end],
            labels=self._labels[start:end],
            class_index=self._classes[start:end],
            probability=self._probability[start:end],
            probabilities=answer.probabilities[start:end],
            disclose=answer.disclose,
            verdicts=[None] * count if hidden else verdicts,
            score=self._score[start:end] if self._full else None,
            p_value=self._p_value[start:end] if self._full else None,
            threshold=answer.threshold if self._full else None,
            messages=self._messages(start, end, hidden) if answer.messages else {},
            attribution_method=answer.attribution_method if answer.attributions else "",
            attributions={
                place - start: values
                for place, values in answer.attributions.items()
                if start <= place < end
            },
        )

    def _messages(self, start: int, end: int, hidden: bool) -> dict[int, str]:
        statuses = self._answer.statuses
        return {
            place - start: WITHHELD if hidden and statuses[place] is ItemStatus.REJECTED else text
            for place, text in self._answer.messages.items()
            if start <= place < end
        }


def whole(pending: Pending) -> Outcome:
    """Join the parts of a question that travelled in several calls, in the order of its items."""
    parts = sorted(pending.parts, key=lambda part: part[0])
    if len(parts) == 1:
        return parts[0][1]
    outcomes = [outcome for _, outcome in parts]
    first = outcomes[0]
    full = all(outcome.score is not None for outcome in outcomes)
    return Outcome(
        request_id=first.request_id,
        model=first.model,
        version=first.version,
        statuses=[one for outcome in outcomes for one in outcome.statuses],
        labels=[one for outcome in outcomes for one in outcome.labels],
        class_index=[one for outcome in outcomes for one in outcome.class_index],
        probability=[one for outcome in outcomes for one in outcome.probability],
        probabilities=_table(outcomes),
        disclose=first.disclose,
        verdicts=[one for outcome in outcomes for one in outcome.verdicts],
        score=[one for outcome in outcomes for one in outcome.score or ()] if full else None,
        p_value=[one for outcome in outcomes for one in outcome.p_value or ()] if full else None,
        threshold=first.threshold,
        messages={
            start + place: text for start, part in parts for place, text in part.messages.items()
        },
        attribution_method=next((o.attribution_method for o in outcomes if o.attributions), ""),
        attributions={
            start + place: values
            for start, part in parts
            for place, values in part.attributions.items()
        },
    )


def _table(outcomes: Sequence[Outcome]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Join probabilities; a part in which nothing was predicted has no columns, and gets NaN."""
    classes = max(outcome.probabilities.shape[1] for outcome in outcomes)
    tables = [
        outcome.probabilities
        if outcome.probabilities.shape[1] == classes
        else np.full((len(outcome), classes), np.nan, dtype=np.float32)
        for outcome in outcomes
    ]
    return np.concatenate(tables)
