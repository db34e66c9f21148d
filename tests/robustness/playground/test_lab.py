"""Trials without any web: attacks, defences, and artifacts with and without detectors."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.attacks.catalogue import ATTACKS
from robustness.playground.lab import NO_DETECTORS, NOT_CALIBRATED, Lab
from robustness.playground.menu import DEFENCES, NO_DEFENCE, OFFERED, defences
from robustness.playground.target import SlowError
from robustness.playground.trial import LARGEST, SMALLEST, Trial
from robustness.preprocessing import parse
from torchkeep.artifact import MODEL, ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import SettingsError, UserError
from torchkeep.schema import Verdict

SIZES = {"linf": 0.3, "l2": 2.0, "l1": 8.0, "patch": 0.2}
PAIRS = [(name, kind) for name in OFFERED for kind in sorted(ATTACKS[name].threats)]


@pytest.mark.parametrize(("attack", "threat"), PAIRS)
def test_every_attack_offered_runs_and_says_its_budget(
    lab: Lab, digits: Splits, attack: str, threat: Any
) -> None:
    trial = Trial(index=3, attack=attack, threat=threat, size=SIZES[threat])
    outcome = lab.try_out(trial)
    assert outcome.budget
    assert outcome.fooled == (outcome.after.labels[0][0] != str(digits.test.labels[3]))
    assert lab.try_out(trial) == outcome


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.sampled_from(PAIRS), st.floats(-6, 4), st.sampled_from((*DEFENCES, None)), st.data())
def test_any_strength_gives_an_outcome_that_is_json_or_an_error_of_the_users(
    lab: Lab, pair: tuple[str, Any], exponent: float, defence: str | None, data: st.DataObject
) -> None:
    attack, threat = pair
    seed = data.draw(st.integers(0, 2**32 - 1))
    size = min(max(10**exponent, SMALLEST), LARGEST[threat])
    trial = Trial(index=3, attack=attack, threat=threat, size=size, defence=defence, seed=seed)
    with suppress(UserError):
        json.dumps(asdict(lab.try_out(trial)), allow_nan=False)


def test_what_an_attack_moved_is_within_its_threat(lab: Lab) -> None:
    for threat, size in SIZES.items():
        attack = "patch" if threat == "patch" else "apgd-ce"
        trial = Trial(index=3, attack=attack, threat=threat, size=size)  # type: ignore[arg-type]
        change = lab.try_out(trial).change
        if threat == "patch":
            assert 0 < float(change.split("%")[0]) <= 100 * size
        else:
            assert 0 < float(change.split()[-1]) <= size * 1.001


@pytest.mark.parametrize("attack", ["transfer", "../x", ""])
def test_an_attack_that_is_not_offered_is_refused(lab: Lab, attack: str) -> None:
    with pytest.raises(SettingsError, match="no attack"):
        lab.try_out(Trial(attack=attack))


def test_a_threat_that_the_attack_cannot_do_is_refused(lab: Lab) -> None:
    with pytest.raises(SettingsError, match="cannot do"):
        lab.try_out(Trial(attack="patch", threat="l2"))


def test_an_attack_that_takes_too_long_is_ended(
    digits_artifact: ModelArtifact, digits: Splits
) -> None:
    hasty = Lab(digits_artifact, digits.test, torch.device("cpu"), seconds=0.05)
    trial = Trial(index=3, attack="square", size=1e-6)
    with pytest.raises(SlowError, match=r"longer than 0\.05 s"):
        hasty.try_out(trial)
    assert hasty.try_out(Trial(index=3, attack="none")).before.labels


def test_a_trial_leaves_the_network_ready_to_serve(lab: Lab) -> None:
    for defence in ("none", "jpeg:75"):
        lab.try_out(Trial(index=3, defence=defence))
        assert not any(module.training for module in lab._model.modules())


@pytest.mark.parametrize("defence", DEFENCES)
def test_a_defence_is_attacked_through_and_has_no_verdict(lab: Lab, defence: str) -> None:
    outcome = lab.try_out(Trial(index=3, size=0.5, defence=defence))
    assert outcome.fooled  # BPDA: the gradient passes
    assert outcome.before.verdict is outcome.after.verdict is None
    assert NOT_CALIBRATED in outcome.notes
    assert outcome.command == ""


def test_a_defence_changes_what_is_predicted(lab: Lab) -> None:
    bare, squeezed = (
        lab.try_out(Trial(index=3, attack="none", defence=name)).before.labels
        for name in ("none", "median:3")
    )
    assert bare != squeezed


def test_a_defence_that_is_not_offered_is_refused(lab: Lab) -> None:
    with pytest.raises(SettingsError, match="no defence"):
        lab.try_out(Trial(defence="tv:0.1"))


def test_the_artifacts_own_defence_comes_first() -> None:
    assert next(iter(defences(None))) == NO_DEFENCE
    assert next(iter(defences(parse("bits:4")))) == "bits:4"
    own = parse("bits:3")
    offered = defences(own)
    assert next(iter(offered.values())) is own
    assert set(offered) == {"bits", NO_DEFENCE, *DEFENCES}


def test_without_detectors_there_is_no_verdict(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path
) -> None:
    bare = ModelArtifact.write(
        tmp_path / "bare",
        replace(digits_artifact.manifest, screening=None),
        {MODEL: digits_artifact.tensors(MODEL)},
    )
    lab = Lab(bare, digits.test, torch.device("cpu"))
    assert lab.about()["detectors"] is False
    outcome = lab.try_out(Trial(index=3, size=0.5))
    assert outcome.fooled
    assert outcome.after.verdict is None
    assert outcome.notes == (NO_DETECTORS,)


def test_with_detectors_there_is_one(lab: Lab) -> None:
    outcome = lab.try_out(Trial(index=3, size=0.5))
    assert outcome.before.verdict in (Verdict.CLEAN, Verdict.SUSPICIOUS)
    assert outcome.notes == ()


@pytest.mark.parametrize(("attack", "threat"), PAIRS)
def test_the_command_line_is_one_that_evaluate_reads(lab: Lab, attack: str, threat: Any) -> None:
    import typer

    from torchkeep.cli.evaluate import evaluate

    app = typer.Typer(add_completion=False)
    app.command(name="evaluate")(evaluate)
    trial = Trial(index=2, attack=attack, threat=threat, size=SIZES[threat], seed=7)
    words = shlex.split(lab.try_out(trial).command)
    assert words[:2] == ["torchkeep", "evaluate"]
    read = typer.main.get_command(app).make_context("evaluate", words[2:]).params
    assert (read["first"], read["images"], read["seed"], read["quick"]) == (2, 1, 7, True)
    assert read["attack"] == [attack]
    assert read["threat"][-1] == f"{threat}:{SIZES[threat]:g}"


def test_what_there_is_to_choose_is_plain_json_with_every_attack(lab: Lab) -> None:
    about = json.loads(json.dumps(lab.about()))
    assert [one["name"] for one in about["attacks"]] == list(OFFERED)
    assert all(one["budget"] and one["threats"] for one in about["attacks"])
    assert about["server"] is None
    assert all(one["size"] <= one["largest"] for one in about["threats"].values())
