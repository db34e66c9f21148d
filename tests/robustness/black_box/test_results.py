"""Results survive any tear at their end, and no damage before it goes unseen."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.black_box.results import (
    ImageResult,
    Outcome,
    Row,
    Spent,
    open_results,
    parse_rows,
)
from torchkeep.errors import DataError, SettingsError

HELD = settings(deadline=None, max_examples=200, derandomize=True)
ROWS: list[Row] = [
    ImageResult(index=0, label=3, outcome=Outcome.FOOLED, queries=7, predicted=5, accepted=True),
    Spent(queries=2),
    ImageResult(index=1, label=4, outcome=Outcome.HELD, queries=50),
]
LINES = [msgspec.json.encode(row) + b"\n" for row in ROWS]


@HELD
@given(st.integers(0, sum(map(len, LINES))))
def test_a_tear_costs_only_the_torn_line(cut: int) -> None:
    content = b"".join(LINES)[:cut]
    assert parse_rows(content) == ROWS[: content.count(b"\n")]


@HELD
@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(DataError):
        assert len(parse_rows(content)) == content.count(b"\n")


def test_what_is_appended_does_not_join_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(LINES[0] + LINES[1][:-4])
    with open_results(path) as results:
        results.add(ROWS[2])
    with open_results(path) as again:
        assert again.rows == [ROWS[0], ROWS[2]]
        assert again.queries == 57
    with open_results(path, fresh=True) as empty:
        assert empty.rows == []


@pytest.mark.parametrize("content", [LINES[0] * 2, b'{"type":"spent","queries":-1}\n', b"\n"])
def test_damage_is_told(content: bytes) -> None:
    with pytest.raises(DataError):
        parse_rows(content)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        open_results(tmp_path / "r"),
        pytest.raises(SettingsError, match="already"),
        open_results(tmp_path / "r"),
    ):
        pass
