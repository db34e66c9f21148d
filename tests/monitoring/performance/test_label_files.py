from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.label_files import LabelFile, read_label_file
from monitoring.label_rows import LabelFault
from torchkeep.errors import DataError

NOW_NS = 1_800_000_000_000_000_000
NOON = "2026-11-01T12:00:00Z"
NOON_NS = 1_793_534_400_000_000_000


def read(path: Path, content: bytes | str) -> LabelFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_label_file(path, now_ns=NOW_NS)


def rows(found: LabelFile) -> list[tuple[Any, ...]]:
    return [tuple(row.values())[:5] for row in found.rows.to_pylist()]


EXPECTED = [
    ("r1", 0, None, "7", NOON_NS),
    ("r2", 3, "c", "cat", NOW_NS),
]


def test_csv(tmp_path: Path) -> None:
    text = f"\ufeffrequest_id,item,client,label,labelled_at\nr1,0,,7,{NOON}\n\nr2,3,c,cat,\n"
    found = read(tmp_path / "labels.csv", text)
    assert rows(found) == EXPECTED
    assert found.faults == {}
    assert found.rows["source"].to_pylist() == ["labels.csv"] * 2


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"request_id": "r1", "label": 7, "labelled_at": "2026-11-01T13:00:00+01:00"},
        {"request_id": "r2", "item": 3.0, "client": "c", "label": "cat", "more": [1]},
    ]
    found = read(tmp_path / "x.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert rows(found) == EXPECTED


def test_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "request_id": ["r1", "r2"],
            "item": pa.array([0, 3], pa.int8()),
            "client": [None, "c"],
            "label": ["7", "cat"],
            "labelled_at": pa.array([NOON_NS, None], pa.timestamp("ns", "UTC")),
            "annotator": ["a", "b"],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    found = read_label_file(tmp_path / "x.parquet", source="us", now_ns=NOW_NS)
    assert rows(found) == EXPECTED
    assert found.rows["source"].to_pylist() == ["us", "us"]
    assert found.ignored == ("annotator",)


def test_dates_and_times_without_a_zone_are_utc(tmp_path: Path) -> None:
    days = pa.array([date(2026, 11, 1)], pa.date32())
    pq.write_table(
        pa.table({"request_id": ["r1"], "label": ["7"], "labelled_at": days}),
        tmp_path / "x.parquet",
    )
    midnight = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 10**9
    assert rows(read_label_file(tmp_path / "x.parquet", now_ns=NOW_NS))[0][4] == midnight
    text = "request_id,label,labelled_at\nr1,7,2026-11-01\n"
    assert rows(read(tmp_path / "x.csv", text))[0][4] == midnight


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (",0,,7,", LabelFault.BAD_REQUEST_ID),
        ("r" * 1001 + ",0,,7,", LabelFault.BAD_REQUEST_ID),
        ("r1,-1,,7,", LabelFault.BAD_ITEM),
        ("r1,1.5,,7,", LabelFault.BAD_ITEM),
        ("r1,0,,,", LabelFault.BAD_LABEL),
        ("r1,0,,7,yesterday", LabelFault.BAD_TIME),
        ("r1,0,,7,1066-10-14", LabelFault.BAD_TIME),
        ("r1,0,,7,2999-01-01", LabelFault.BAD_TIME),  # beyond what 64 bits of ns can hold
        ("r1,0,,7,2027-06-01", LabelFault.FUTURE),
        ("r1,0,7", LabelFault.NOT_A_ROW),
        ("r1,0,,7,,more", LabelFault.NOT_A_ROW),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_its_neighbours_stay(
    tmp_path: Path, row: str, fault: LabelFault
) -> None:
    text = f"request_id,item,client,label,labelled_at\nr0,0,,7,\n{row}\nr2,0,,7,\n"
    found = read(tmp_path / "x.csv", text)
    assert [each[0] for each in rows(found)] == ["r0", "r2"]
    assert found.faults == {fault: 1}
    assert found.examples[0].startswith(f"row 2: {fault}")


def test_bytes_that_are_no_text_cost_their_row_alone(tmp_path: Path) -> None:
    found = read(tmp_path / "x.csv", b"request_id,label\nr\xff,7\nr2,7\n")
    assert [each[0] for each in rows(found)] == ["r2"]
    assert found.faults == {LabelFault.BAD_REQUEST_ID: 1}


def test_lines_that_are_no_objects_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "x.jsonl", b'[1]\n{"request_id": "r1"\nnull\n\xff\n')
    assert found.faults == {LabelFault.NOT_A_ROW: 4}
    assert len(found.rows) == 0


def test_a_field_longer_than_csv_allows_costs_its_row_alone(tmp_path: Path) -> None:
    found = read(tmp_path / "x.csv", f"request_id,label\nr1,{'x' * 200_000}\nr2,7\n")
    assert [each[0] for each in rows(found)] == ["r2"]
    assert sum(found.faults.values()) == 1


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("x.txt", "request_id,label\n", "unknown kind"),
        ("x.csv", "", "has no header"),
        ("x.csv", "request_id,request_id,label\n", "a column twice"),
        ("x.csv", "request,label\n", "has no column 'request_id'"),
        ("x.csv", "request_id,label,labeled_at\n", "has a column 'labeled_at'"),
        ("x.parquet", "PAR1, not really", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, content: str, fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        read(tmp_path / name, content)


def test_a_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    columns = [pa.array(["r1"]), pa.array(["r2"]), pa.array(["7"])]
    table = pa.Table.from_arrays(columns, names=["request_id", "request_id", "label"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="a column twice"):
        read_label_file(tmp_path / "x.parquet")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_label_file(tmp_path / "x.jsonl")


def test_a_time_that_python_cannot_hold_is_an_error_of_the_file(tmp_path: Path) -> None:
    far = pa.array([2**62], pa.timestamp("us", "UTC"))
    table = pa.table({"request_id": ["r1"], "label": ["7"], "labelled_at": far})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read_label_file(tmp_path / "x.parquet")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=20)


@given(table=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=20))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_every_row_is_used_or_counted(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]]
) -> None:
    lines = io.StringIO()
    csv.writer(lines).writerows([("request_id", "item", "label"), *table])
    found = read(tmp_path_factory.getbasetemp() / "fuzz.csv", lines.getvalue())
    assert len(found.rows) + sum(found.faults.values()) == len(table)
    usable = [
        row
        for row in table
        if row[0] and row[2] and (not row[1] or (row[1].isascii() and row[1].isdigit()))
    ]
    assert [each[0] for each in rows(found)] == [row[0] for row in usable]


@given(content=st.binary(max_size=400), kind=st.sampled_from(["csv", "jsonl", "parquet"]))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_no_file_is_a_crash(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    head = b"request_id,label\n" if kind == "csv" else b""
    try:
        found = read(tmp_path_factory.getbasetemp() / f"fuzz.{kind}", head + content)
    except DataError:
        return
    assert found.rows.schema.names == [
        "request_id",
        "item",
        "client",
        "label",
        "labelled_at_ns",
        "source",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    objects=st.lists(
        st.dictionaries(
            st.sampled_from(["request_id", "item", "client", "label", "labelled_at"]), JSON
        ),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_values_of_any_kind_are_used_or_counted(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]]
) -> None:
    content = b"".join(
        json.dumps(each).encode("utf-8", "surrogatepass") + b"\n" for each in objects
    )
    found = read(tmp_path_factory.getbasetemp() / "fuzz.jsonl", content)
    assert len(found.rows) + sum(found.faults.values()) == len(objects)
