from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from monitoring.record_check import check_record
from monitoring.request_log import RequestLog, RequestLogConfig
from monitoring.segment import segments_in
from tests.monitoring.records import a_record, an_access_record
from torchkeep.cli.log import log
from torchkeep.errors import UserError

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(log)
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "60"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with RequestLog(RequestLogConfig()) as requests:
        for number in range(30):
            requests.write([a_record(f"r{number}")])
    return tmp_path


def test_it_shows_the_last_records_one_a_line(home: Path) -> None:
    rows = run("--last", "3").stdout.splitlines()
    assert [row.split()[2] for row in rows[1:]] == ["r27", "r28", "r29"]
    assert "clean" in rows[1]
    assert "0.750" in rows[1]
    assert len(run().stdout.splitlines()) == 21


def test_json_is_one_object(home: Path) -> None:
    shown = json.loads(run("--last", "2", "--json").stdout)
    assert shown["directory"] == str(home / "request-log")
    assert [record["request_id"] for record in shown["records"]] == ["r28", "r29"]
    assert check_record(shown["records"][0]) == []


def test_all_of_one_request_is_shown(home: Path) -> None:
    text = run("--request-id", "r7").stdout
    assert '"calibration_id": "c1"' in text
    shown = json.loads(run("--request-id", "r7", "--json").stdout)
    assert [record["request_id"] for record in shown["records"]] == ["r7"]


def test_an_unknown_request_is_a_clear_error(home: Path) -> None:
    with pytest.raises(UserError, match=r"no record of request 'nobody' in .*`torchkeep log`"):
        run("--request-id", "nobody")


def test_damage_is_told_on_stderr(home: Path) -> None:
    [segment] = segments_in(home / "request-log")
    with segment.open("ab") as file:
        file.write(b"half a li")
    result = run("--request-id", "r7", "--json")
    assert json.loads(result.stdout)["records"]
    assert "1 damaged" in result.stderr
    assert "unfinished last line" in result.stderr


def test_an_empty_log_is_no_error(tmp_path: Path) -> None:
    result = run("--directory", str(tmp_path / "none"))
    assert result.stdout == f"no records in {tmp_path / 'none'}\n"
    shown = json.loads(run("--directory", str(tmp_path / "none"), "--json").stdout)
    assert shown["records"] == []


def test_a_directory_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        run("--directory", str(tmp_path / "file"))


def test_following_one_request_makes_no_sense(home: Path) -> None:
    with pytest.raises(UserError, match="exclude each other"):
        run("--follow", "--request-id", "r1")


def test_requests_have_columns_of_their_own(home: Path) -> None:
    refused = {"code": "RESOURCE_EXHAUSTED", "http_status": 429, "verdict": "", "model": "digits"}
    with RequestLog(RequestLogConfig()) as gateway:
        gateway.write([an_access_record("g1"), an_access_record("g2", **refused)])
    rows = run("--kind", "access").stdout.splitlines()
    assert [row.split()[2] for row in rows[1:]] == ["g1", "g2"]
    shown = " ".join(rows[1].split()[3:])
    assert shown == "2 OK 200 clean 0.50 3.50 4.25 ModelInfer digits 1.0"
    assert rows[2].split()[4:7] == ["RESOURCE_EXHAUSTED", "429", "-"]
    assert "g1" not in run().stdout
    both = run("--kind", "all", "--last", "3").stdout.splitlines()
    assert [row.split()[2] for row in both[1:]] == ["r29", "g1", "g2"]
    assert "(request)" in both[2]
    assert "RESOURCE_EXHAUSTED" in both[3]


def test_a_refused_request_is_found_when_asked_for_all(home: Path) -> None:
    with RequestLog(RequestLogConfig()) as gateway:
        gateway.write([an_access_record("refused", code="UNAUTHENTICATED")])
    with pytest.raises(UserError, match="--kind all"):
        run("--request-id", "refused")
    shown = json.loads(run("--request-id", "refused", "--kind", "all", "--json").stdout)
    assert [record["code"] for record in shown["records"]] == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\u202e", "[red]x[/red]", "a\nb"])
def test_what_callers_wrote_does_not_steer_the_terminal(tmp_path: Path, text: str) -> None:
    with RequestLog(RequestLogConfig(), directory=tmp_path) as requests:
        requests.write([a_record(text, model=text, prediction=[text], session_id=text)])
    with RequestLog(RequestLogConfig(), directory=tmp_path) as gateway:
        gateway.write([an_access_record(text, model=text, route=text, code=text)])
    shown = run("--directory", str(tmp_path)).stdout
    shown += run("--directory", str(tmp_path), "--request-id", text).stdout
    shown += run("--directory", str(tmp_path), "--kind", "access").stdout
    shown += run("--directory", str(tmp_path), "--kind", "all").stdout
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert len(run("--directory", str(tmp_path)).stdout.splitlines()) == 2
    if text.isprintable():
        assert text in shown


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"timestamp_ns": 1e999}',
        b'{"timestamp_ns": 9223372036854775807}',
        b'{"screening": 3, "prediction": {}, "probability": ["x"], "runtime_ms": null}',
        b'{"kind":"access"}',
        b'{"kind":"access","verdict":[1],"queue_ms":"x","timestamp_ns":-1}',
        b'{"kind":["access"]}',
    ],
)
def test_strange_records_are_shown_as_far_as_they_go(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "host-1-1-000000.jsonl").write_bytes(line + b"\n")
    for kind in ("inference", "access", "all"):
        assert run("--directory", str(tmp_path), "--kind", kind).exit_code == 0


@pytest.mark.parametrize("as_json", [True, False])
def test_following_shows_new_records_until_interrupted(tmp_path: Path, as_json: bool) -> None:
    command = "import sys, typer; from torchkeep.cli.log import log; typer.run(log)"
    arguments = ["--follow", "--last", "1", "--directory", str(tmp_path)]
    with RequestLog(RequestLogConfig(), directory=tmp_path) as requests:
        requests.write([a_record("old"), a_record("before")])
        with subprocess.Popen(
            [sys.executable, "-c", command, *arguments, *(["--json"] if as_json else [])],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"COLUMNS": "80"},
            text=True,
        ) as follower:
            assert follower.stdout is not None
            assert follower.stderr is not None
            if not as_json:
                assert "request id" in follower.stdout.readline()
            assert "before" in follower.stdout.readline()
            started = time.monotonic()
            requests.write([a_record("new", 0), a_record("new", 1)])
            new = [follower.stdout.readline() for _ in range(2)]
            assert time.monotonic() - started < PATIENCE_S
            follower.send_signal(signal.SIGINT)
            assert follower.wait(PATIENCE_S) == 0
            assert follower.stderr.read() == ""
    if as_json:
        assert [json.loads(line)["item"] for line in new] == [0, 1]
    else:
        assert all(" new " in line for line in new)
