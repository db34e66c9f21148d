"""Who is asked about an image: the served model, a defence before it, or a running server.

Shapes: C H W an image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from robustness.playground.target import Endpoint
from robustness.screened_model import ScreenedModel
from torchkeep.client.results import Item
from torchkeep.errors import SettingsError
from torchkeep.schema import ItemStatus, Policy, Verdict

SHOWN_CLASSES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said of one image: labels, most probable first (none: refused), the screening.

    `verdict` and `p_value` are None where nobody screened, or where it is not told.
    """

    labels: tuple[tuple[str, float], ...]
    verdict: Verdict | None = None
    p_value: float | None = None
    answer: str = ""


def ask_served(model: ScreenedModel, image: NDArray[np.float32], policy: Policy) -> Said:
    """Ask the model as it is served. Raises `SettingsError` if its output is not finite."""
    batch = model.screen(image[None])
    labels = _ranked(batch.probabilities[0], model.classes)
    if model.fusion is None:
        return Said(labels=labels, answer=f"“{labels[0][0]}”")
    verdict = Verdict.SUSPICIOUS if batch.suspicious[0] else Verdict.CLEAN
    p_value: float | None = float(batch.p_value[0])
    if batch.failed[0]:
        verdict, p_value = Verdict.FAILED, None
    answer = told(labels[0][0], verdict, policy)
    return Said(labels=labels, verdict=verdict, p_value=p_value, answer=answer)


def ask_defended(network: nn.Module, model: ScreenedModel, image: NDArray[np.float32]) -> Said:
    """Ask the classifier behind a defence that the detectors were not calibrated with."""
    with torch.no_grad():
        logits = network(torch.from_numpy(image[None]).to(model.device))
    labels = _ranked(logits.softmax(1)[0].cpu().numpy(), model.classes)
    return Said(labels=labels, answer=f"“{labels[0][0]}”")


def ask_server(endpoint: Endpoint, image: NDArray[np.float32], classes: Sequence[str]) -> Said:
    """Ask the server; what it says is its own, its policy included.

    Raises `UserError` if it does not answer, or could not judge the image at all.
    """
    item = endpoint.predict(image)
    screening = item.screening
    verdict = None if screening is None else screening.verdict
    if not item.ok:
        if item.status is not ItemStatus.REJECTED:
            raise SettingsError(
                f"the server refused the image: {item.error}",
                remedy="Is it the same model? Choose the artifact that it serves.",
            )
        return Said(labels=(), verdict=verdict, answer=f"no prediction: {item.error}")
    said = "no verdict is told" if verdict is None else f"verdict {verdict}"
    return Said(
        labels=_told_labels(item, classes),
        verdict=verdict,
        p_value=None if screening is None else screening.p_value,
        answer=f"“{item.label}”, {said}",
    )


def told(label: str, verdict: Verdict, policy: Policy) -> str:
    """Say what a caller is told under a policy."""
    if policy is Policy.OBSERVE:
        return f"“{label}”; the verdict goes to the log alone"
    if policy is Policy.REJECT and verdict is not Verdict.CLEAN:
        return "rejected: no prediction is given"
    return f"“{label}”, verdict {verdict}"


def _ranked(
    probabilities: NDArray[np.float32], classes: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    if not np.isfinite(probabilities).all():
        raise SettingsError(
            "the model's output for this image is not finite", remedy="Try another image."
        )
    order = (-probabilities).argsort(kind="stable")[:SHOWN_CLASSES]
    return tuple((classes[index], float(probabilities[index])) for index in order)


def _told_labels(item: Item, classes: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return the server's most probable labels, or the one it names if it tells no more."""
    probabilities = item.probabilities
    if probabilities is None or len(probabilities) != len(classes):
        return ((str(item.label), float(item.probability or 0)),)
    return _ranked(probabilities.astype(np.float32), classes)
