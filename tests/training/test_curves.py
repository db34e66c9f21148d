"""The curves of a training show every accuracy and the loss, and what is missing as a gap."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from torchkeep.render.chart import COLOURS
from training.curves import training_curves

EPOCHS: list[dict[str, float | None]] = [
    {"number": 1, "loss": 2.0, "pgd_accuracy": 0.2, "one_step_accuracy": 0.4, "attack_steps": 2},
    {"number": 2, "loss": 1.0, "pgd_accuracy": 0.5, "one_step_accuracy": 0.6, "attack_steps": 2},
    {"number": 3, "loss": 0.5, "pgd_accuracy": 0.6, "one_step_accuracy": 0.7, "attack_steps": 2},
]


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)  # noqa: S314 - what our own charts wrote
    return [text for node in root.iter() if node.tag.endswith("}text") for text in node.itertext()]


def segments(svg: str, colour: str) -> int:
    """Count the segments of the first line of that colour: in the upper panel."""
    found = re.search(rf'<path d="([^"]*)"[^>]*?stroke: {colour}', svg)
    assert found
    return found[1].count("L")


def test_accuracies_stand_above_the_loss() -> None:
    svg = training_curves(EPOCHS)
    told = texts(svg)
    assert told.index("Accuracy") < told.index("Loss")
    assert {"PGD", "one attack step", "training loss", "epoch"} <= set(told)
    assert "attack steps" not in told
    assert segments(svg, COLOURS[0]) == 2


def test_epochs_are_whole_numbers() -> None:
    assert "1.5" not in texts(training_curves(EPOCHS[:2]))


def test_what_an_epoch_lacks_is_a_gap() -> None:
    more: dict[str, float | None] = {"number": 5, "loss": 0.3, "pgd_accuracy": None}
    svg = training_curves([*EPOCHS, {"number": 4, "loss": 0.4}, more])
    assert segments(svg, COLOURS[0]) == 2


def test_a_training_that_measures_nothing_but_loss_has_one_panel() -> None:
    told = texts(training_curves([{"number": 1, "loss": 1.0}]))
    assert "Accuracy" not in told
    assert "Loss" in told


def test_the_same_epochs_give_the_same_bytes() -> None:
    assert training_curves(EPOCHS) == training_curves(EPOCHS)


def test_no_epochs_are_told() -> None:
    with pytest.raises(ValueError, match="without epochs"):
        training_curves([])
