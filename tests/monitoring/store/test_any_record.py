"""Whatever the schema allows goes through the store and comes out as it went in."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.log_reader import Kind, read_records
from monitoring.record_check import check_record
from monitoring.request_log import Record, RequestLog, RequestLogConfig
from monitoring.store import Fault, LogStore
from monitoring.storing.export import ExportFormat, export
from monitoring.storing.lines import Block, decode_block, read_blocks
from monitoring.storing.quarantine import Quarantine
from monitoring.storing.record_types import FLOAT32_MAX, YEAR_2200_NS
from monitoring.storing.report import Tally
from tests.monitoring.any_records import any_records
from torchkeep.schema import LOGGED

FAST = settings(deadline=None, max_examples=30, derandomize=True)
INT64 = range(-(2**63), 2**63)


def numbers_in(value: Any) -> list[int | float]:
    """Return all whole numbers within a record, and the others that are in lists."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list):
        others = [number for number in value if isinstance(number, float)]
        return [*others, *(number for inner in value for number in numbers_in(inner))]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def fits(record: Record) -> bool:
    """Whether a record is of this version, dated within reason, and its numbers can be kept."""
    whole = all(
        abs(number) <= FLOAT32_MAX if isinstance(number, float) else number in INT64
        for number in numbers_in(record)
    )
    return whole and record["schema"] == 1 and 0 < record["timestamp_ns"] < YEAR_2200_NS


def as_kept(value: Any) -> Any:
    """A logged value as the store keeps it: numbers in lists have single precision."""
    if isinstance(value, dict):
        return {key: as_kept(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [float(np.float32(v)) if isinstance(v, float) else v for v in value]
    return value


def in_order(records: Sequence[Any]) -> list[bytes]:
    return sorted(orjson.dumps(record, option=orjson.OPT_SORT_KEYS) for record in records)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.lists(any_records(), min_size=3, max_size=6), st.integers(1, YEAR_2200_NS - 1))
def test_records_come_out_as_they_went_in(batches: list[list[Record]], time_ns: int) -> None:
    records = [record for batch in batches for record in batch]
    for number, record in enumerate(records):
        if number % 4:
            record["schema"] = 1
        record["timestamp_ns"] = time_ns + number
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with RequestLog(RequestLogConfig(), directory=log) as writer:
            writer.write(records)
        kept = [record for record in read_records(log, kind=Kind.ALL) if fits(cast(Any, record))]
        store = LogStore(Path(folder) / "store", log)
        report = store.compact()
        assert report.records == len(kept)
        assert sum(report.quarantined.values()) == len(records) - len(kept)
        found: list[Any] = []
        output = Path(folder) / "records.jsonl"
        with store.connect() as connection:
            for kind in LOGGED:
                export(connection, kind, "true", [], ExportFormat.JSONL, output)
                found += [orjson.loads(line) for line in output.read_bytes().split(b"\n")[:-1]]
        assert in_order(found) == in_order([as_kept(record) for record in kept])
        assert all(check_record(record) == [] for record in found)


@FAST
@given(st.lists(st.binary(max_size=80).map(lambda some: some.replace(b"\n", b"")), max_size=6))
def test_any_bytes_are_a_counted_outcome(lines: list[bytes]) -> None:
    quarantine = Quarantine(Tally())
    records = decode_block(Block(0, b"".join(b"%s\n" % line for line in lines)), "s", quarantine)
    assert records == []
    assert sum(quarantine.tally.quarantined.values()) == sum(bool(line.strip()) for line in lines)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@FAST
@given(any_records(), st.data())
def test_a_record_with_one_wrong_value_is_counted_or_kept(
    records: list[Record], data: st.DataObject
) -> None:
    record: dict[str, Any] = {**records[0], "schema": 1, "timestamp_ns": 5}
    record[data.draw(st.sampled_from(sorted(record)))] = data.draw(json_values)
    quarantine = Quarantine(Tally())
    try:
        line = orjson.dumps(record) + b"\n"
    except TypeError:
        return  # no log holds whole numbers beyond 64 bits, nor half surrogates
    kept = decode_block(Block(0, line), "s", quarantine)
    assert len(kept) + quarantine.tally.quarantined.total() == 1


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_blocks_are_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    from monitoring.storing import lines

    monkeypatch.setattr(lines, "BLOCK_BYTES", size)
    content = b"".join(b"%d\n" % number for number in range(60)) + b"tail"
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        blocks = list(read_blocks(file))
    assert b"".join(block.content for block in blocks) == content
    assert [block.fault for block in blocks if block.fault] == [Fault.TORN]
    offset = 0
    for block in blocks:
        assert block.offset == offset
        assert block.fault or block.content.endswith(b"\n")
        offset += len(block.content)
