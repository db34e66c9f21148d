from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.record_check import check_record
from monitoring.request_log import Record
from tests.monitoring.any_records import any_records
from tests.monitoring.records import a_record, an_access_record


@settings(deadline=None, max_examples=60, derandomize=True)
@given(any_records())
def test_what_the_schema_allows_passes(records: list[Record]) -> None:
    for record in records:
        assert check_record(record | {"schema": 1}) == []


def test_numpy_arrays_pass_before_they_are_written() -> None:
    assert check_record(a_record(probability=np.array([0.5], np.float32))) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"schema": 2}, "schema is 2, expected 1"),
        ({"kind": "excess"}, "kind is 'excess', expected \"inference\""),
        ({"item": "0"}, "item is '0', expected whole number"),
        ({"item": True}, "item is True, expected whole number"),
        ({"item": 1.0}, "item is 1.0, expected whole number"),
        ({"prediction": "7"}, "prediction is '7', expected list of texts"),
        ({"prediction": [7]}, "prediction is [7], expected list of texts"),
        ({"probability": [None]}, "probability is [None], expected list of numbers"),
        ({"correlation_id": 3}, "correlation_id is 3, expected text or null"),
        ({"screening": []}, "screening is [], expected object or null"),
        ({"segments": {"plan": 1}}, "segments is {'plan': 1}, expected object"),
        ({"runtime_ms": {"decode": 1, "total": 2}}, "runtime_ms.screen_predict is missing"),
        ({"error": {"status": "x", "message": None}}, "error.message is None, expected text"),
        ({"identity": "me"}, "identity is not a field"),
        ({"error": {"status": "x", "message": "", "trace": ""}}, "error.trace is not a field"),
    ],
)
def test_each_fault_is_named(changes: dict[str, Any], fault: str) -> None:
    assert check_record(a_record(**changes)) == [fault]


@pytest.mark.parametrize("name", sorted(a_record()))
def test_a_missing_field_is_named(name: str) -> None:
    record = {key: value for key, value in a_record().items() if key != name}
    assert check_record(record) == [f"{name} is missing"]


def test_a_record_is_held_to_the_schema_of_its_kind() -> None:
    assert check_record(an_access_record()) == []
    assert check_record(an_access_record(trace_id="ab" * 16, dropped_before=2)) == []
    assert check_record(an_access_record(items="2")) == ["items is '2', expected whole number"]
    assert "items_ok is not a field" in check_record(a_record(items_ok=1))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(sorted(a_record())), st.none() | st.integers() | st.lists(st.text())
    )
)
def test_no_record_breaks_the_check(record: dict[str, Any]) -> None:
    assert check_record(record)
