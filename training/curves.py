"""The curves of one training: accuracies above, loss below, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torchkeep.render.chart import Panel, Series, line_charts

ACCURACY = "_accuracy"
NAMES = {"pgd": "PGD", "one_step": "one attack step"}
"""How a metric is named where its key does not say it well."""


def training_curves(epochs: Sequence[Mapping[str, float | None]]) -> str:
    """Return the curves of the epochs' records as one `<svg>` element.

    A record has "number", "loss" and metrics; those that end in "_accuracy" are drawn, and what an
    epoch lacks is a gap. Raises `ValueError` if there are no epochs.
    """
    if not epochs:
        raise ValueError("a training without epochs has no curves")
    numbers = _values(epochs, "number")
    metrics = {key: None for epoch in epochs for key in epoch if key.endswith(ACCURACY)}
    accuracies = [Series(_name(key), numbers, _values(epochs, key)) for key in metrics]
    loss = [Series("training loss", numbers, _values(epochs, "loss"))]
    panels = [Panel(title="Loss", x_label="epoch", y_label="loss (nats)", series=loss)]
    if accuracies:
        shares = "share of images"
        panels.insert(
            0, Panel(title="Accuracy", x_label="epoch", y_label=shares, series=accuracies)
        )
    return line_charts(panels)


def _values(epochs: Sequence[Mapping[str, float | None]], key: str) -> list[float]:
    values = (epoch.get(key) for epoch in epochs)
    return [math.nan if value is None else value for value in values]


def _name(key: str) -> str:
    metric = key.removesuffix(ACCURACY)
    return NAMES.get(metric, metric.replace("_", " "))
