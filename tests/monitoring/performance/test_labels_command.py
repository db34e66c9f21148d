from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from monitoring.labels import LabelStore
from torchkeep.cli.labels import labels
from torchkeep.errors import DataError, SettingsError
from torchkeep.paths import Home

CSV = "request_id,item,label,labelled_at\nr1,0,7,2026-01-01\nr1,0,8,2026-01-02\nr2,x,7,\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path / "home"))
    path = tmp_path / "labels.csv"
    path.write_text(CSV)
    return path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(labels, [str(each) for each in arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_labels_are_added_and_what_is_left_out_is_told(file: Path) -> None:
    lines = run("add", file).stdout.splitlines()
    assert lines[0] == f"2 labels added to {Home.default().root / 'labels'}"
    assert lines[1:] == ["left out, bad item: 1", "  row 3: bad item: 'x'"]
    assert len(LabelStore.default(Home.default()).read()) == 1


def test_the_same_as_json(file: Path, tmp_path: Path) -> None:
    found = json.loads(run("add", file, "--table", tmp_path / "t", "--json").stdout)
    assert found == {
        "table": str(tmp_path / "t"),
        "added": 2,
        "left_out": {"bad item": 1},
        "examples": ["row 3: bad item: 'x'"],
        "ignored_columns": [],
    }
    shown = json.loads(run("show", "--table", tmp_path / "t", "--json").stdout)
    assert (shown["items"], shown["rows"], shown["revised"]) == (1, 2, 1)
    assert shown["labels"] == {"8": 1}


def test_what_was_known_at_a_time_can_be_asked(file: Path) -> None:
    run("add", file)
    then = json.loads(run("show", "--as-of", "2026-01-01T12:00", "--json").stdout)
    assert (then["labels"], then["later"]) == ({"7": 1}, 1)
    assert "7: 1" in run("show", "--as-of", "2026-01-01T13:00+01:00").stdout
    assert json.loads(run("show", "--as-of", "1h", "--json").stdout)["labels"] == {"8": 1}
    with pytest.raises(SettingsError, match="--as-of 'yesterday' is no time"):
        run("show", "--as-of", "yesterday")


def test_a_column_cannot_steer_the_terminal(file: Path) -> None:
    file.write_text("request_id,label,\x1b[31mred\nr1,\x1b]0;title,x\n")
    shown = run("add", file).stdout + run("show").stdout
    assert "\N{REPLACEMENT CHARACTER}[31mred" in shown
    assert "\x1b" not in shown


def test_strict_adds_all_or_nothing(file: Path) -> None:
    with pytest.raises(DataError, match="1 rows cannot be used, the first: row 3: bad item"):
        run("add", file, "--strict")
    assert LabelStore.default(Home.default()).read().rows == 0


def test_a_file_without_a_usable_row_is_an_error(file: Path) -> None:
    file.write_text("request_id,label\n,7\n")
    with pytest.raises(DataError, match="bad request_id"):
        run("add", file)


def test_an_empty_table_is_shown_as_empty(file: Path) -> None:
    assert run("show").stdout.startswith("0 items have a label, from 0 rows")
