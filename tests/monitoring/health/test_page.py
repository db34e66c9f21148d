"""The page: whole, static, escaped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitoring.examination import Keeping
from monitoring.health import Missing, Span
from monitoring.page.health_page import health_html
from monitoring.page.text import time_axis
from tests.monitoring.health.made_up import SECOND_NS, log_of, look, records, seen


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    dark = seen(150, seed=3, brightness=0.6)
    log_of(folder / "log", records(dark, "<script>alert(1)</script>"))
    return health_html(look(folder, keeping=Keeping(path=True)))


def test_every_part_has_its_section(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[0] == "Is anything wrong?"
    assert {
        "Drift",
        "What kind of change?",
        "Features",
        "Shares of the classes",
        "The alarm over the stream",
        "Novel requests",
        "Accuracy",
        "Traffic",
        "Latency",
        "Objectives",
        "Alerts",
        "The log",
    } <= set(titles)
    assert page.count("<svg") >= 3


def test_the_page_runs_nothing_and_points_nowhere(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    addresses = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\((?!#)", page)


def test_a_page_of_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    page = health_html(look(tmp_path, of=Missing("there is no <reference>"), span=Span()))
    assert "Not known: there is no &lt;reference&gt;." in page


@pytest.mark.parametrize(
    ("seconds", "unit"), [(0, "seconds"), (100, "seconds"), (600, "minutes"), (90_000, "hours")]
)
def test_the_axis_has_a_unit_that_suits(seconds: int, unit: str) -> None:
    axis = time_axis([SECOND_NS, (1 + seconds) * SECOND_NS])
    assert axis.label == f"{unit} after 1970-01-01 00:00:01 UTC"
    scale = {"seconds": 1, "minutes": 60, "hours": 3600}[unit]
    assert axis.values == [0, seconds / scale]
