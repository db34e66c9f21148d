"""The gate reads only what it says it reads."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.evaluation.report import Share
from robustness.report.gate import Requirement, failures, parse_requirement
from robustness.report.markdown import escaped
from robustness.report.threat_catalogue import FILE, Catalogue, catalogue, references
from tests.robustness.report.sample import HOSTILE, checks, full
from torchkeep.errors import SettingsError


@pytest.mark.parametrize(
    "text", ["0.85", "robust[linf 0.3]>=0.85", "fpr<=0.01", "auroc[APGD-CE]>=0.99", "clean>=0.97"]
)
def test_what_is_read_is_written_so_that_it_is_read_again(text: str) -> None:
    read = parse_requirement(text)
    assert parse_requirement(str(read)) == read


@pytest.mark.parametrize(
    "text", ["", "robust", "robust>0.8", "clean[x]>=0.9", "fpr>=0.1", "auroc>=0.9", "robust>=1.5",
             "robust>=nan", "robust[]>=0.5", "robust[linf]>=0.5"]
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_requirement(text)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.text())
def test_no_text_breaks_the_parser_or_a_table(text: str) -> None:
    with contextlib.suppress(SettingsError):
        parse_requirement(text)
    told = escaped(text)
    assert "\n" not in told
    assert "|" not in told.replace(r"\\", "").replace(r"\|", "")


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.floats(0, 1))
def test_every_limit_is_written_so_that_it_is_read_again(limit: float) -> None:
    wanted = Requirement(figure="robust", of="linf 0.3", limit=limit)
    assert parse_requirement(str(wanted)) == wanted


MET = (
    "0.9", "clean>=0.984", "fpr<=0.009", "robust[l2 2]>=0.78", "with-detection>=0.93",
    "auroc[APGD-CE]>=0.99", "certified[linf 0.1]>=0.7", "certified[linf 0.07]>=0.7",
)  # fmt: skip
UNMET = {
    "0.91": "90.10% [88.08, 91.88], 901 of 1000",
    "clean>=0.99": "984 of 1000",
    "fpr<=0.008": "9 of 1000",
    "robust[l2 2]>=0.79": "781 of 1000",
    "robust[l2 1]>=0.1": "l2 1 was not attacked",
    "with-detection>=0.94": "938 of 1000",
    "auroc[APGD-CE]>=0.992": "0.9910, n = 1000",
    "auroc[PGD]>=0": "no AUROC of the fused score for PGD",
    "certified[linf 0.1]>=0.72": "142 of 200, linear bounds",
    "certified[linf 0.2]>=0": "nothing is certified at linf 0.2",
    "certified[l2 0.1]>=0": "nothing is certified at l2 0.1",
}


def test_what_is_met_is_no_failure() -> None:
    assert failures(full(), [parse_requirement(text) for text in MET]) == ()


@pytest.mark.parametrize("text", UNMET)
def test_what_is_not_met_tells_what_was_found(text: str) -> None:
    (failure,) = failures(full(), [parse_requirement(text)])
    assert UNMET[text] in failure.found
    assert str(failure).startswith(str(parse_requirement(text)))


def test_a_withheld_figure_fails_whatever_is_required() -> None:
    threat = full().threats[0]
    hidden = replace(threat.robust_accuracy, share=None)
    report = replace(
        full(),
        threats=(replace(threat, robust_accuracy=hidden),),
        checks=checks(fatal_failure=True),
    )
    (failure,) = failures(report, [parse_requirement("robust>=0")])
    assert "withheld: more steps do not help" in failure.found


def test_without_detectors_or_images_nothing_passes() -> None:
    report = replace(full(), clean_flagged=None, clean_accuracy=Share.of(0, 0))
    found = failures(report, [parse_requirement("fpr<=1"), parse_requirement("clean>=0")])
    assert [failure.found for failure in found] == [
        "the report has no detectors", "withheld: no image",
    ]  # fmt: skip


def test_a_failure_is_one_line_whatever_a_report_says() -> None:
    threat = replace(full().threats[0], threat=HOSTILE)
    report = replace(full(), threats=(threat,) * 20)
    (failure,) = failures(report, [parse_requirement("0.5")])
    assert "\n" not in str(failure)
    assert "\x1b" not in str(failure)
    assert len(failure.found) <= 400


def test_a_catalogue_that_dangles_or_repeats_is_refused() -> None:
    raw = json.loads(FILE.read_bytes())
    for part in ({"default": ["AML.T9999"]}, {"sources": raw["sources"] * 2}):
        with pytest.raises(SettingsError, match="catalogue"):
            msgspec.convert(raw | part, Catalogue)


def test_an_attacker_who_knows_something_else_has_the_default() -> None:
    assert references("the weather") == "NISTAML.022, AML.T0015, AML.T0043"


def test_the_catalogue_covers_all_that_an_attacker_knows() -> None:
    assert set(catalogue().by_knowledge) == {
        "network", "network and detectors", "answers", "another network"
    }  # fmt: skip


def test_each_source_says_against_what_it_was_checked() -> None:
    for source in catalogue().sources:
        assert source.checked
        assert source.checked_at.startswith("https://")


def test_an_id_has_the_form_of_its_source() -> None:
    forms = {"nist": r"NISTAML\.0\d{2}", "atlas": r"AML\.T\d{4}(\.\d{3})?"}
    for technique in catalogue().techniques:
        assert re.fullmatch(forms[technique.source], technique.id)
