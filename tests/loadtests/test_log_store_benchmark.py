"""The benchmark of the log store measures what it says, on few records."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from loadtests.benchmarks import log_store
from monitoring.record_check import check_record


def test_few_records_go_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_store, "PIECE", 200)
    monkeypatch.setattr(log_store, "SEGMENT_BYTES", 50_000)
    part = log_store.measure(300, 500, tmp_path)
    items, requests = part.numbers["compactions"]
    assert (items["records"], requests["records"]) == (300, 500)
    assert 1200 < items["line_bytes"] < 2000
    assert part.numbers["hours"] > 100
    assert len(part.goals) == 3
    assert json.loads(json.dumps(part.to_json()))["title"] == "The log store"
    assert list(tmp_path.iterdir()) == []


def test_its_records_are_of_the_schema() -> None:
    assert check_record(log_store._item(Random(1))) == []
    assert check_record(log_store._request(Random(1))) == []
