"""`torchkeep predict` asks a server from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from tests.client.protocol_servers import SHAPE, TOKEN, Servers
from torchkeep.cli.predict import heat_map, predict
from torchkeep.errors import DataError, RequestError, ServerError

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the verb on a machine where no server runs, with the images made below."""
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TORCHKEEP_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "broken", "screened"):
        Path(f"{name}.png").write_bytes(name.encode())
    np.save("three.npy", np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2), allow_pickle=False)
    app = typer.Typer()
    app.command()(predict)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return invoke


def as_json(result: Result) -> Any:
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.mark.parametrize("explain", [(), ("--explain",)], ids=["predict", "explain"])
def test_an_image_is_answered(run: Run, url: str, servers: Servers, explain: tuple[str]) -> None:
    options = ("--url", url, "--token", TOKEN, "--model", "digits", "--model-version", "2.0")
    result = run("one.png", *options, *explain, "--json")
    assert result.exit_code == 0
    answer = as_json(result)
    (item,) = answer["items"]
    assert (answer["model"], answer["model_version"]) == ("digits", "2.0")
    assert (item["image"], item["status"]) == ("one.png", "ok")
    assert item["label"] == f"class {item['class_index']}"
    assert len(item["probabilities"]) == 10
    assert answer["request_id"] == servers.model.asked[0].tags["request_id"]
    assert servers.model.asked[0].data == b"one"
    if explain:
        assert np.shape(item["attribution"]["values"]) == SHAPE


def test_people_get_a_table(run: Run, url: str) -> None:
    result = run("one.png", "two.png", "--url", url, "--token", TOKEN)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.split()[0] for line in lines[:3]] == ["image", "one.png", "two.png"]
    assert all("clean" in line and "%" in line for line in lines[1:3])
    assert lines[-1].startswith("mnist 1.0, request ")


def test_an_attribution_is_drawn(run: Run, url: str) -> None:
    result = run("one.png", "--explain", "--url", url, "--token", TOKEN)
    assert "what spoke for class" in result.stdout
    assert "██" in result.stdout


def test_an_image_that_is_not_predicted_is_told_by_the_exit_code(run: Run, url: str) -> None:
    result = run("one.png", "broken.png", "screened.png", "--url", url, "--token", TOKEN)
    assert result.exit_code == 2
    _, _, broken, screened, *_ = result.stdout.splitlines()
    assert "bad_input" in broken
    assert "not an image" in broken
    assert "rejected" in screened
    assert "suspicious" in screened


def test_a_batch_in_one_file_gets_a_row_an_item(run: Run, url: str) -> None:
    answer = as_json(run("three.npy", "--url", url, "--token", TOKEN, "--json"))
    names = [item["image"] for item in answer["items"]]
    assert names == ["three.npy[0]", "three.npy[1]", "three.npy[2]"]


def test_the_token_may_come_from_the_environment(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHKEEP_TOKEN", TOKEN)
    assert run("one.png", "--url", url).exit_code == 0


def test_the_server_that_runs_here_is_asked_with_its_token(
    run: Run, url: str, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from release.status import ServerStatus

    here = ServerStatus(running=True, rest=servers.rest, grpc=servers.grpc, model="digits")
    monkeypatch.setattr("release.status.status", lambda home: here)
    monkeypatch.setattr("release.asking.local_key", lambda home: TOKEN)
    for options in ((), ("--url", url)):
        assert as_json(run("one.png", *options, "--json"))["model"] == "digits"


def test_what_fails_raises_an_error_for_the_user(run: Run, url: str) -> None:
    cases: list[tuple[type[Exception], str, tuple[str, ...]]] = [
        (ServerError, "no server is running here", ("one.png",)),
        (RequestError, "the server refused the token", ("one.png", "--url", url)),
        (DataError, "missing.png: cannot be read", ("missing.png", "--url", url)),
    ]
    for error, message, arguments in cases:
        result = run(*arguments)
        assert type(result.exception) is error
        assert str(result.exception).startswith(message)


def test_a_heat_map_shows_where_the_attribution_is_strong() -> None:
    values = np.zeros((3, 4, 2), dtype=np.float32)
    values[:, 0, 1] = -1
    values[0, 3, 0] = 1.5
    assert heat_map(values) == ["  ██", "    ", "    ", "▒▒  "]


@pytest.mark.parametrize("side", [1, 28, 29, 100])
def test_a_heat_map_fits_on_a_screen(side: int) -> None:
    values = np.zeros((1, side, side + 5), dtype=np.float32)
    values[0, 0, 0] = np.nan
    drawn = heat_map(values)
    assert len(drawn) <= 28
    assert {len(line) for line in drawn} <= set(range(2, 57))
    assert set("".join(drawn)) == {" "}
