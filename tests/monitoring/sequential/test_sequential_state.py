"""The state on disk: whole, of one artifact, for one process; damage is named."""

from __future__ import annotations

import base64
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.sequential import SequentialAlarm, SequentialConfig, followed, load, state_path
from tests.monitoring.sequential.streams import NOW_NS, a_reference, a_window
from torchkeep.errors import DataError, UserError

CONFIG = SequentialConfig(average_run_length=1000, block=32, memory=64)
REFERENCE = a_reference()


def a_state() -> dict[str, Any]:
    detector = SequentialAlarm.start(REFERENCE, CONFIG)
    detector.update(a_window(100, 1), now_ns=NOW_NS)
    state: dict[str, Any] = orjson.loads(orjson.dumps(detector.to_json()))
    return state


def test_what_was_followed_goes_on_and_a_new_artifact_or_config_starts_anew(
    tmp_path: Path,
) -> None:
    with followed(tmp_path / "new", REFERENCE, CONFIG) as detector:
        detector.update(a_window(100, 1), now_ns=NOW_NS)
        state = detector.to_json()
    with followed(tmp_path / "new", REFERENCE, CONFIG) as detector:
        assert detector.to_json() == state
    other = replace(REFERENCE, artifact_digest="cd" * 32)
    with followed(tmp_path / "new", other, CONFIG) as detector:
        assert detector.counts.judged == 0
    with followed(tmp_path / "new", REFERENCE, replace(CONFIG, block=16)) as detector:
        assert detector.counts.judged == 0
    path = state_path(tmp_path / "new", REFERENCE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_kept_of_a_block_that_failed(tmp_path: Path) -> None:
    wrong = a_window(3, 1, model="cars")
    with pytest.raises(ValueError, match="cars"), followed(tmp_path, REFERENCE, CONFIG) as detector:
        detector.update(wrong, now_ns=NOW_NS)
    assert not state_path(tmp_path, REFERENCE).exists()


def _try(directory: Path, answers: multiprocessing.Queue[str]) -> None:
    try:
        with followed(directory, REFERENCE, CONFIG):
            answers.put("had it")
    except UserError as error:
        answers.put(str(error))


def test_another_process_is_kept_out(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = context.Queue()
    with followed(tmp_path, REFERENCE, CONFIG):
        other = context.Process(target=_try, args=(tmp_path, answers))
        other.start()
        assert answers.get(timeout=60).startswith("another process follows pets 1.0")
        other.join()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


DAMAGE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Unsupported|<= 1|>= 1": lambda state: state | {"format": 2},
    "unknown field `more`": lambda state: state | {"more": 1},
    "missing required field": lambda state: {"format": 1},
    "its config": lambda state: state | {"config": {"block": 0}},
    "unexpected keyword": lambda state: state | {"config": {"colour": 0}},
    "it is of cars": lambda state: state | {"model": "cars"},
    "it is of pets": lambda state: state | {"artifact_digest": "cd" * 32},
    "`float` <= 1e.200 - at `..won": lambda state: state | {"won": [1e308] * len(state["won"])},
    "`float` <= 1e.200 - at `..cus": lambda state: state | {"cusum": [float("inf")]},
    "`float` >= 0.0 - at `..won": lambda state: state | {"won": [float("nan")] * 9},
    "`int` <= 9007199254740992": lambda state: state | {"judged": 2**63 - 1},
    "watermark": lambda state: state | {"watermark": [2**63, "r1", 0]},
    "bets": lambda state: state | {"since": state["since"][1:]},
    "row of scores is not whole": lambda state: state | {"recent": base64_of(b"12345")},
    "a score is not finite": lambda state: state | {"pending": base64_of(b"\0\0\xc0\x7f" * 7)},
    "bytes of classes": lambda state: state | {"recent_predicted": ""},
    "does not have": lambda state: state | {"recent_predicted": base64_of(b"\x63\0\0\0" * 64)},
    "hash is not whole": lambda state: state | {"recalled": base64_of(b"123")},
    "times of": lambda state: state | {"sessions_ns": [1]},
    "more items than it may": lambda state: (
        state | {"pending": base64_of(bytes(28 * 32)), "pending_predicted": base64_of(bytes(128))}
    ),
    "judged": lambda state: state | {"judged": -1},
    "base64": lambda state: state | {"recent": "%"},
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_damage_is_named(fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        SequentialAlarm.from_json(DAMAGE[fault](a_state()), REFERENCE)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"format": 1', b"\xff\xfe"])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = state_path(tmp_path, REFERENCE)
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match=f"{path}.*Delete it to start anew"),
        followed(tmp_path, REFERENCE, CONFIG),
    ):
        raise AssertionError
    with pytest.raises(DataError):
        load(path, REFERENCE)


def test_a_state_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    state_path(tmp_path, REFERENCE).mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        load(state_path(tmp_path, REFERENCE), REFERENCE)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lock = state_path(tmp_path, REFERENCE).with_suffix(".lock")
    lock.symlink_to(tmp_path / "elsewhere")
    for folder in (tmp_path / "file", tmp_path):
        with (
            pytest.raises(UserError, match="cannot be locked"),
            followed(folder, REFERENCE, CONFIG),
        ):
            raise AssertionError
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    path = state_path(tmp_path, REFERENCE)
    with pytest.raises(UserError, match="cannot be written"), followed(tmp_path, REFERENCE, CONFIG):
        path.mkdir()  # stands for whatever keeps a file from being replaced
    with pytest.raises(DataError, match="cannot be read"), followed(tmp_path, REFERENCE, CONFIG):
        raise AssertionError


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
STATE = a_state()


@settings(deadline=None, max_examples=150, derandomize=True)
@given(field=st.sampled_from(sorted(STATE)), value=anything)
def test_a_state_with_anything_in_it_is_read_or_refused(field: str, value: object) -> None:
    try:
        detector = SequentialAlarm.from_json(STATE | {field: value}, REFERENCE)
    except DataError:
        return
    detector.update(a_window(40, 2, first_ns=10**6), now_ns=NOW_NS)
    assert detector.counts.judged >= 0
