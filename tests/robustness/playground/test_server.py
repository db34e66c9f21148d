"""Trials on a running server: what it says, what is asked of it, and what if it is gone."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from handlers.config import ScreeningConfig
from robustness.playground.answering import ask_server
from robustness.playground.commands import command_for
from robustness.playground.lab import Lab
from robustness.playground.menu import QUERIES
from robustness.playground.trial import Place, Trial
from tests.robustness.playground.conftest import asked_at, listening_page
from tests.robustness.playground.served import Running, serving
from torchkeep.artifact import ModelArtifact
from torchkeep.cli.playground import RunningServer
from torchkeep.data import Splits
from torchkeep.errors import RequestError, ServerError, SettingsError
from torchkeep.schema import Disclose, Policy, Verdict

CPU = torch.device("cpu")


def on_server(**fields: object) -> Trial:
    return Trial(place=Place.SERVER, **fields)  # type: ignore[arg-type]


def test_the_server_says_of_both_images_what_the_artifact_does(
    lab: Lab, lab_with_server: Lab, running: Running
) -> None:
    before = running.asked
    there = lab_with_server.try_out(on_server(index=3, size=0.5))
    here = lab.try_out(Trial(index=3, size=0.5))
    assert running.asked == before + 2
    assert there.queries is None
    assert there.pictures == here.pictures
    assert there.fooled
    for one, other in ((there.before, here.before), (there.after, here.after)):
        assert [label for label, _ in one.labels] == [label for label, _ in other.labels]
        assert one.labels[0][1] == pytest.approx(other.labels[0][1], abs=1e-5)
        assert one.verdict is other.verdict
    assert "asks no server" in there.command_note


def test_square_asks_the_server_and_counts(lab_with_server: Lab, running: Running) -> None:
    before = running.asked
    outcome = lab_with_server.try_out(on_server(index=3, attack="square", size=0.05))
    assert outcome.queries is not None
    assert 2 <= outcome.queries <= QUERIES + 1
    assert running.asked == before + outcome.queries + 2
    assert outcome.budget["queries"] == QUERIES


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://example.org/tk"])
def test_the_command_line_is_one_that_attack_reads(
    url: str, digits_artifact: ModelArtifact
) -> None:
    import typer

    from torchkeep.cli.attack import attack

    trial = on_server(attack="square", size=0.05, seed=3)
    with asked_at(url, same=None) as endpoint:
        command, _ = command_for(trial, digits_artifact, endpoint, served=True)
    app = typer.Typer(add_completion=False)
    app.command(name="attack")(attack)
    words = shlex.split(command)
    assert words[:2] == ["torchkeep", "attack"]
    read = typer.main.get_command(app).make_context("attack", words[2:]).params
    wanted = {"url": url, "attack": "square", "queries": QUERIES, "images": 1, "seed": 3}
    wanted |= {"threat": "linf:0.05", "data": "digits", "own": "example" in url}
    assert {name: read[name] for name in wanted} == wanted


def test_square_by_queries_fools_the_server(lab_with_server: Lab) -> None:
    outcome = lab_with_server.try_out(on_server(index=3, attack="square", size=0.6))
    assert outcome.fooled
    assert outcome.after.labels[0][0] != outcome.before.labels[0][0]


def test_an_upload_flees_from_what_the_server_says(lab_with_server: Lab) -> None:
    from tests.robustness.playground.test_application import png

    outcome = lab_with_server.try_out(on_server(upload=png(8, 8), attack="none"))
    assert outcome.before.labels[0][0] in outcome.summary


def test_a_server_that_rejects_gives_no_prediction(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path, lab: Lab
) -> None:
    index = next(
        index
        for index in range(50)
        if lab.try_out(Trial(index=index, size=0.5)).after.verdict is Verdict.SUSPICIOUS
    )
    screening = ScreeningConfig(policy=Policy.REJECT)
    with (
        serving(digits_artifact, tmp_path, screening) as running,
        asked_at(running.url) as endpoint,
    ):
        strict = Lab(digits_artifact, digits.test, CPU, endpoint)
        outcome = strict.try_out(on_server(index=index, size=0.5))
        square = strict.try_out(on_server(index=index, attack="square", size=0.5))
    assert outcome.after.labels == ()
    assert not outcome.fooled
    assert "gives no prediction" in outcome.summary
    assert "rejected" in outcome.after.answer
    assert square.queries is not None
    assert square.queries > 0


def test_a_server_that_tells_no_verdict(
    digits_artifact: ModelArtifact, digits: Splits, tmp_path: Path
) -> None:
    silent = ScreeningConfig(disclose=Disclose.NONE)
    with (
        serving(digits_artifact, tmp_path, silent) as running,
        asked_at(running.url, same=False) as endpoint,
    ):
        outcome = Lab(digits_artifact, digits.test, CPU, endpoint).try_out(on_server(index=3))
    assert outcome.before.verdict is None
    assert "no verdict is told" in outcome.before.answer
    assert any("another artifact" in note for note in outcome.notes)


def test_a_server_that_is_gone_is_told_in_one_line(
    digits_artifact: ModelArtifact, digits: Splits
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with asked_at(f"http://127.0.0.1:{port}") as endpoint:
        lab = Lab(digits_artifact, digits.test, CPU, endpoint)
        with pytest.raises(ServerError, match="no answer"):
            lab.try_out(on_server())
        with listening_page(lab) as address:
            answer = httpx.post(f"{address}api/trial", json={"place": "server"}, trust_env=False)
    assert answer.status_code == 502
    assert "torchkeep up" in answer.json()["remedy"]


def test_without_a_server_none_is_asked(lab: Lab) -> None:
    with pytest.raises(SettingsError, match="without a server"):
        lab.try_out(on_server())


def test_a_server_keeps_its_own_defence(lab_with_server: Lab) -> None:
    with pytest.raises(SettingsError, match="cannot be put before"):
        lab_with_server.try_out(on_server(defence="jpeg:75"))


def test_a_server_of_other_images_is_told(endpoint: RunningServer) -> None:
    with pytest.raises(RequestError, match="shape 3 × 9 × 9"):
        ask_server(endpoint, np.zeros((3, 9, 9), dtype=np.float32), ("a", "b"))
