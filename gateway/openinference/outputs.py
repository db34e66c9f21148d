"""From an outcome to the tensors and parameters of an answer.

Shapes: N items, K classes, C H W an image.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.openinference.tensors import BYTES, OutputTensor
from gateway.outcome import Outcome
from gateway.refusal import Code, Refusal
from torchkeep.schema import Disclose, ItemStatus, Operation

Parameter = bool | int | float | str

OUTPUTS: Final[Mapping[str, str]] = {
    "item_status": BYTES,
    "label": BYTES,
    "class_index": "INT32",
    "probability": "FP32",
    "probabilities": "FP32",
    "verdict": BYTES,
    "score": "FP32",
    "p_value": "FP32",
    "message": BYTES,
    "attribution": "FP32",
}
"""Every output there may be, with its datatype, in the order of an answer."""

_ALWAYS: Final = ("item_status", "label", "class_index", "probability")


def check_requested(requested: Collection[str], operation: Operation) -> None:
    """Raise `Refusal` unless all of these outputs can be asked of that operation."""
    for name in requested:
        if name not in OUTPUTS or (name == "attribution" and operation is not Operation.EXPLAIN):
            known = [known for known in OUTPUTS if known != "attribution"]
            if operation is Operation.EXPLAIN:
                known = list(OUTPUTS)
            raise Refusal(
                Code.INVALID, f"there is no output {name[:40]!r}; there are {', '.join(known)}"
            )


def outputs_of(outcome: Outcome, requested: Collection[str] | None) -> list[OutputTensor]:
    """Return the outputs of an answer: those requested, in that order, else all that say anything.

    One that is requested but has nothing to say (a verdict that is not disclosed, a message where
    nothing failed) holds empty texts or NaN. Raises `Refusal` on an unknown name.
    """
    if requested is None:
        names = _telling(outcome)
    else:
        check_requested(requested, Operation.EXPLAIN)
        names = list(dict.fromkeys(requested))
    return [_MAKERS[name](outcome) for name in names]


def parameters_of(outcome: Outcome) -> dict[str, Parameter]:
    """Return what an answer says of the whole request."""
    parameters: dict[str, Parameter] = {
        "request_id": outcome.request_id,
        "items_failed": len(outcome) - outcome.statuses.count(ItemStatus.OK),
    }
    if outcome.threshold is not None and outcome.disclose is Disclose.FULL:
        parameters["threshold"] = outcome.threshold
    if outcome.attribution_method:
        parameters["attribution_method"] = outcome.attribution_method
    return parameters


def _telling(outcome: Outcome) -> list[str]:
    names = list(_ALWAYS)
    if outcome.probabilities.shape[1]:
        names.append("probabilities")
    if outcome.disclose is not Disclose.NONE:
        names.append("verdict")
    if outcome.disclose is Disclose.FULL:
        names += ("score", "p_value")
    if outcome.messages:
        names.append("message")
    if outcome.attributions:
        names.append("attribution")
    return names


def _item_status(outcome: Outcome) -> OutputTensor:
    return OutputTensor("item_status", BYTES, (len(outcome.statuses),), outcome.statuses)


def _label(outcome: Outcome) -> OutputTensor:
    return OutputTensor("label", BYTES, (len(outcome.statuses),), outcome.labels)


def _class_index(outcome: Outcome) -> OutputTensor:
    return OutputTensor("class_index", "INT32", (len(outcome.statuses),), outcome.class_index)


def _probability(outcome: Outcome) -> OutputTensor:
    return OutputTensor("probability", "FP32", (len(outcome.statuses),), outcome.probability)


def _probabilities(outcome: Outcome) -> OutputTensor:
    shape = outcome.probabilities.shape
    return OutputTensor("probabilities", "FP32", shape, outcome.probabilities)


def _verdict(outcome: Outcome) -> OutputTensor:
    verdicts = [verdict or "" for verdict in outcome.verdicts]
    return OutputTensor("verdict", BYTES, (len(outcome.statuses),), verdicts)


def _score(outcome: Outcome) -> OutputTensor:
    return _column("score", outcome.score, len(outcome))


def _p_value(outcome: Outcome) -> OutputTensor:
    return _column("p_value", outcome.p_value, len(outcome))


def _message(outcome: Outcome) -> OutputTensor:
    messages = [outcome.messages.get(item, "") for item in range(len(outcome))]
    return OutputTensor("message", BYTES, (len(outcome.statuses),), messages)


def _attribution(outcome: Outcome) -> OutputTensor:
    """Return N C H W, NaN for an item without an attribution; all sides are 0 if none has one."""
    first = next(iter(outcome.attributions.values()), None)
    image = (0, 0, 0) if first is None else first.shape
    values: NDArray[np.float32] = np.full((len(outcome), *image), np.nan, dtype=np.float32)
    for item, attribution in outcome.attributions.items():
        values[item] = attribution
    return OutputTensor("attribution", "FP32", values.shape, values)


def _column(name: str, values: Sequence[float] | None, count: int) -> OutputTensor:
    return OutputTensor(name, "FP32", (count,), [nan] * count if values is None else values)


_MAKERS: Final[Mapping[str, Callable[[Outcome], OutputTensor]]] = {
    "item_status": _item_status,
    "label": _label,
    "class_index": _class_index,
    "probability": _probability,
    "probabilities": _probabilities,
    "verdict": _verdict,
    "score": _score,
    "p_value": _p_value,
    "message": _message,
    "attribution": _attribution,
}
