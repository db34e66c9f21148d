"""Every form of a report tells all of it, runs nothing, and survives hostile names and gaps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.evaluation.report import RobustnessReport, Share
from robustness.evaluation.summary import share_text
from robustness.report.html import html
from robustness.report.markdown import markdown
from robustness.report.model_card import model_card
from robustness.report.write import write_report
from tests.render.markup import Seen
from tests.robustness.report.sample import ATTACKS, HOSTILE, LONG, checks, full, manifest
from torchkeep.errors import DataError
from torchkeep.render.plain import plain

NAMES = f"{HOSTILE} {LONG}"
WITHHELD = Share(count=90, n=100, share=None, low=0.0, high=0.95)


class Alts(HTMLParser):
    """The alternative texts of pictures, None where one is missing."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.found.append(dict(attrs).get("alt"))


@pytest.fixture(scope="module")
def hostile() -> RobustnessReport:
    return full(NAMES, ("linf 0.3",))


@pytest.fixture(scope="module")
def hostile_page(hostile: RobustnessReport) -> str:
    return html(hostile)


def shares(value: object) -> Iterator[Share]:
    """Yield every share in the tree."""
    if isinstance(value, Share):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from shares(part)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from shares(getattr(value, name))


def test_a_hostile_name_runs_nothing_and_asks_nobody(hostile_page: str) -> None:
    seen = Seen(hostile_page)
    assert seen.faults == []
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(seen.tags)
    assert plain(NAMES) in " ".join(seen.texts)


def test_the_page_tells_every_figure_check_and_attack(
    hostile: RobustnessReport, hostile_page: str
) -> None:
    text = " ".join(Seen(hostile_page).texts)
    bare = replace(hostile, corruptions=(), attacks=())
    told = [share_text(share) for share in shares(bare)]
    told += [share_text(attack.accuracy) for attack in hostile.attacks]
    told += [f"{result.accuracy.share:.1%} of 1000" for result in hostile.corruptions]
    told += [attack.source for attack in hostile.attacks]
    told += [*ATTACKS, "steps 100, restarts 5, rho 0.75, seed 7", hostile.circumstances.command]
    for check in hostile.checks:
        told += [check.name, check.seen, check.source]
    assert [part for part in told if part not in text] == []


def test_pictures_come_in_threes_and_say_what_they_are(hostile_page: str) -> None:
    alts = Alts(hostile_page).found
    assert len(alts) == 3 * 24
    assert all(alt and "taken for 3" in alt for alt in alts)


def test_a_full_report_is_small() -> None:
    assert len(html(full()).encode()) <= 2_000_000


def test_markdown_tables_have_a_cell_a_column(hostile: RobustnessReport) -> None:
    text = markdown(hostile)
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text)
    assert len(tables) > 10
    for table in tables:
        rows = [row.replace(r"\\", "").replace(r"\|", "") for row in table.splitlines()]
        assert len({row.count("|") for row in rows}) == 1
        assert set(rows[1]) == set("| -")
    assert re.search(r"(?<!\\)<", text) is None


def test_attacks_that_know_the_detectors_stand_beside_the_detector_off() -> None:
    text = markdown(full())
    part = text.split("## Attacks that know the detectors")[1].split("\n## ")[0].replace("\\", "")
    row = next(line for line in part.splitlines() if line.startswith("| Joint | linf 0.3"))
    assert "85 of 1000" in row
    assert "42 of 1000" in row


def test_the_card_has_all_its_sections_and_invents_nothing() -> None:
    card = model_card(full(), manifest())
    sections = re.findall(r"(?m)^## (.*)$", card)
    assert sections == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats",
    ]  # fmt: skip
    assert card.count("Not recorded") == 3


def test_four_files_are_written_and_read_again(tmp_path: Path) -> None:
    report = full()
    paths = write_report(tmp_path / "new", report, manifest())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        ["report.json", "report.html", "report.md", "model-card.md"]
    )
    assert RobustnessReport.from_json(paths["json"].read_bytes(), paths["json"]) == report


def test_nothing_is_written_of_a_report_that_cannot_be_shown(tmp_path: Path) -> None:
    report = full()
    broken = replace(report, examples=(replace(report.examples[0], after="bm8gcGljdHVyZQ=="),))
    with pytest.raises(DataError, match="PNG"):
        write_report(tmp_path, broken, manifest())
    assert list(tmp_path.iterdir()) == []


def test_withheld_figures_say_why_and_are_not_told() -> None:
    report = full()
    threats = tuple(
        replace(t, robust_accuracy=WITHHELD, with_detection=None) for t in report.threats
    )
    text = " ".join(
        Seen(html(replace(report, threats=threats, checks=checks(fatal_failure=True)))).texts
    )
    assert "withheld (n = 100)" in text
    assert "FAILED: more steps do not help (robust accuracies are withheld)" in text
    assert "90.00%" not in text.split("Threat models")[0]


EMPTY = ("attacks", "threats", "checks", "security_curves", "corruptions", "preprocessing",
         "certification", "examples", "roc", "densities")  # fmt: skip


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    empty=st.sets(st.sampled_from(EMPTY)),
    robust=st.sampled_from((WITHHELD, Share.of(0, 0), Share.of(3, 3))),
    detection=st.sampled_from((None, WITHHELD, Share.of(0, 9))),
    flagged=st.none() | st.just(Share.of(1, 9)),
)
def test_a_report_with_gaps_is_shown(
    empty: set[str], robust: Share, detection: Share | None, flagged: Share | None
) -> None:
    report = full("mnist", ("linf 0.3",))
    threats = tuple(
        replace(t, robust_accuracy=robust, with_detection=detection) for t in report.threats
    )
    gaps = replace(report, threats=threats, clean_flagged=flagged, roc=(), densities=())
    gaps = replace(gaps, **dict.fromkeys(empty, ()))
    assert Seen(html(gaps)).faults == []
    assert "## Verdict" in markdown(gaps)
    assert "## Caveats" in model_card(gaps, manifest())
