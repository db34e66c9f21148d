from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.labels import SCHEMA, Labels, LabelStore
from torchkeep.errors import UserError

ROWS = pa.schema([field for field in SCHEMA if field.name != "added_at_ns"])


def table(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows of request id, label and time, and maybe item and client."""
    names = ("request_id", "label", "labelled_at_ns", "item", "client")
    defaults = {"item": 0, "client": None, "source": "test"}
    return pa.Table.from_pylist(
        [defaults | dict(zip(names, row, strict=False)) for row in rows], ROWS
    )


def held(labels: Labels) -> dict[tuple[str, int, str], str]:
    keys = zip(labels.request_id, labels.item, labels.client, strict=True)
    found = {
        (str(a), int(b), str(c)): str(d) for (a, b, c), d in zip(keys, labels.label, strict=True)
    }
    assert len(found) == len(labels)
    return found


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "labels")


def test_a_table_that_is_not_there_holds_nothing(store: LabelStore) -> None:
    assert len(store.read()) == 0
    assert store.add(table()) is None
    assert not store.location.exists()


def test_what_is_no_folder_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("request_id,label")
    with pytest.raises(UserError, match=r"labels cannot be read from .*: Not a directory"):
        LabelStore(tmp_path / "labels").read()


def test_the_latest_label_wins_whatever_was_added_last(store: LabelStore) -> None:
    store.add(table(("r1", "dog", 20), ("r2", "cat", 10)))
    store.add(table(("r1", "cat", 10)))
    labels = store.read()
    assert held(labels) == {("r1", 0, ""): "dog", ("r2", 0, ""): "cat"}
    assert (labels.rows, labels.revised, labels.conflicting) == (3, 1, 0)


def test_as_of_a_time_later_labels_are_not_known(store: LabelStore) -> None:
    store.add(table(("r1", "cat", 10), ("r1", "dog", 20), ("r2", "owl", 21)))
    then = store.read(as_of_ns=19)
    assert held(then) == {("r1", 0, ""): "cat"}
    assert (then.rows, then.later, then.revised) == (1, 2, 0)
    assert held(store.read(as_of_ns=20)) == {("r1", 0, ""): "dog"}
    assert len(store.read(as_of_ns=9)) == 0


def test_two_labels_of_one_time_are_a_conflict_until_a_later_one_settles_it(
    store: LabelStore,
) -> None:
    store.add(table(("r1", "cat", 10), ("r2", "owl", 10)))
    store.add(table(("r1", "dog", 10)))
    labels = store.read()
    assert held(labels) == {("r2", 0, ""): "owl"}
    assert (labels.conflicting, labels.revised) == (1, 0)
    store.add(table(("r1", "dog", 11)))
    labels = store.read()
    assert held(labels)["r1", 0, ""] == "dog"
    assert (labels.conflicting, labels.revised) == (0, 1)


def test_the_same_label_twice_is_neither_revised_nor_in_conflict(store: LabelStore) -> None:
    store.add(table(("r1", "cat", 10), ("r1", "cat", 10), ("r1", "cat", 20)))
    labels = store.read()
    assert (len(labels), labels.revised, labels.conflicting) == (1, 0, 0)
    assert labels.labelled_at_ns.tolist() == [20]


def test_one_long_label_does_not_make_all_long(store: LabelStore) -> None:
    store.add(table(*((f"r{number}", "cat", 1) for number in range(1000)), ("r", "x" * 1000, 1)))
    labels = store.read()
    assert len(labels) == 1001
    assert labels.label.nbytes + labels.request_id.nbytes < 100_000


def test_items_and_clients_are_told_apart(store: LabelStore) -> None:
    store.add(table(("r1", "cat", 1, 0, "a"), ("r1", "dog", 1, 0, "b"), ("r1", "owl", 1, 1)))
    assert held(store.read()) == {
        ("r1", 0, "a"): "cat",
        ("r1", 0, "b"): "dog",
        ("r1", 1, ""): "owl",
    }


def test_a_damaged_file_is_named_and_the_others_are_read(store: LabelStore) -> None:
    store.add(table(("r1", "cat", 10)))
    torn = store.add(table(("r2", "cat", 10)))
    assert torn is not None
    torn.write_bytes(torn.read_bytes()[:100])
    (store.location / "labels-foreign.parquet").write_text("no table")
    labels = store.read()
    assert held(labels) == {("r1", 0, ""): "cat"}
    assert labels.unreadable == tuple(sorted([torn.name, "labels-foreign.parquet"]))


def test_what_was_added_is_private_and_never_touched_again(store: LabelStore) -> None:
    first = store.add(table(("r1", "cat", 10)))
    assert first is not None
    before = first.read_bytes()
    second = store.add(table(("r1", "dog", 20)))
    assert first.read_bytes() == before
    assert sorted(store.location.iterdir()) == sorted([first, second])
    assert first.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="labels cannot be written"):
        LabelStore(tmp_path / "file" / "labels").add(table(("r1", "cat", 1)))


EVENTS = st.lists(
    st.tuples(st.sampled_from(["r1", "r2", "r3"]), st.sampled_from("ab"), st.integers(0, 3)),
    max_size=12,
)


@given(events=EVENTS, as_of=st.integers(-1, 4), cut=st.integers(0, 12))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_reading_as_of_a_time_is_what_a_simple_model_says(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[str, str, int]],
    as_of: int,
    cut: int,
) -> None:
    store = LabelStore(tmp_path_factory.mktemp("labels"))
    store.add(table(*events[:cut]))
    store.add(table(*events[cut:]))
    expected, conflicts = {}, 0
    for request in {event[0] for event in events}:
        known = [event for event in events if event[0] == request and event[2] <= as_of]
        latest = {label for _, label, time in known if time == max(each[2] for each in known)}
        conflicts += len(latest) > 1
        if len(latest) == 1:
            expected[request, 0, ""] = latest.pop()
    labels = store.read(as_of_ns=as_of)
    assert held(labels) == expected
    assert labels.conflicting == conflicts
    assert labels.rows + labels.later == len(events)
