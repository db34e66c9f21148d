"""What the README promises of the default model, on all of MNIST, through the running server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.project import Project

pytestmark = [pytest.mark.long, pytest.mark.torchserve, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def up(project: Project) -> dict[str, Any]:
    return project.json("up", seconds=1200)


@pytest.fixture(scope="module")
def report(project: Project, up: dict[str, Any]) -> dict[str, Any]:
    return project.json("screen-report", seconds=600)


def test_accuracy_on_clean_and_on_attacked_images(report: dict[str, Any]) -> None:
    assert report["clean_images"] == 10_000
    assert report["clean_accuracy"] >= 0.98
    assert report["attacked"]["images"] == 1000
    assert report["attacked_accuracy"] >= 0.85


def test_false_positives_and_detection(report: dict[str, Any]) -> None:
    assert report["fpr"] <= 0.015
    assert report["attacked"]["auroc"] >= 0.90
    assert report["successful"]["auroc"] >= 0.90


def test_the_memory_of_a_worker(project: Project, report: dict[str, Any]) -> None:
    assert max(project.json("status")["memory_bytes"]["workers"]) <= 1.5 * 1024**3
