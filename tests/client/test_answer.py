"""Answers are read strictly: whatever a server sends, it is a result or a `RequestError`."""

from __future__ import annotations

import base64
import contextlib
import copy
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.client.answer import is_answer, parse_answer, parse_explanation, parse_health
from torchkeep.client.results import ExplainedItem, Item
from torchkeep.errors import RequestError
from torchkeep.schema import ItemStatus

ATTRIBUTION = {
    "method": "saliency",
    "shape": [1, 2, 2],
    "dtype": "float32",
    "data": base64.b64encode(np.arange(4, dtype="<f4").tobytes()).decode(),
}
OK_ITEM = {
    "item": 0,
    "status": "ok",
    "label": "two",
    "class_index": 1,
    "probability": 0.75,
    "probabilities": [0.25, 0.75],
    "screening": {"verdict": "clean", "score": 1.5, "p_value": 0.2, "threshold": 3},
    "attribution": ATTRIBUTION,
}
REJECTED_ITEM = {"item": 1, "status": "rejected", "screening": {"verdict": "failed"}, "error": "no"}
ANSWER: dict[str, Any] = {
    "schema": 1,
    "request_id": "r",
    "model": "m",
    "model_version": "1.0",
    "predictions": [OK_ITEM, REJECTED_ITEM],
}
fuzz = settings(deadline=None, max_examples=300, derandomize=True)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["ok", "rejected", "clean", "float32", "", "AAAA"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a JSON value."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    inside = [place for key, inner in pairs for place in places(inner, (*path, key))]
    return [path, *inside] if path else inside


def changed(path: tuple[Any, ...], value: Any) -> bytes:
    """Return `ANSWER` with the value at `path` replaced; `...` removes it."""
    answer = copy.deepcopy(ANSWER)
    inside = answer
    for key in path[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return orjson.dumps(answer)


def check_result(items: tuple[Item, ...]) -> None:
    """Assert what the types of a result promise."""
    assert items
    for index, item in enumerate(items):
        assert item.item == index
        assert item.ok == (item.label is not None) == (item.error is None)
        if item.ok:
            assert item.class_index is not None
            assert item.probability is not None
            assert math.isfinite(item.probability)
        if item.probabilities is not None and item.class_index is not None:
            assert item.class_index < len(item.probabilities)
        if isinstance(item, ExplainedItem):
            assert item.ok == (item.attribution is not None)


def parse_or_refuse(body: bytes) -> None:
    """Parse in every way; anything but a result or a `RequestError` fails the test."""
    for parse in (parse_answer, parse_explanation):
        with contextlib.suppress(RequestError):
            check_result(parse(body).items)
    with contextlib.suppress(RequestError):
        parse_health(body)
    is_answer(body)


@fuzz
@given(st.binary(max_size=64))
def test_any_bytes_are_a_result_or_a_refusal(body: bytes) -> None:
    parse_or_refuse(body)


@fuzz
@given(json_values)
def test_any_json_is_a_result_or_a_refusal(value: Any) -> None:
    parse_or_refuse(orjson.dumps(value))


@fuzz
@given(st.sampled_from(places(ANSWER)), json_values | st.just(...))
def test_any_change_of_an_answer_is_a_result_or_a_refusal(
    path: tuple[Any, ...], value: Any
) -> None:
    parse_or_refuse(changed(path, value))


@fuzz
@given(json_values)
def test_any_error_of_an_answer_is_a_refusal(error: Any) -> None:
    body = changed(("error",), error)
    if error is None:
        assert len(parse_answer(body).items) == 2
    else:
        with pytest.raises(RequestError):
            parse_answer(body)


def test_a_whole_answer_is_read() -> None:
    result = parse_explanation(orjson.dumps(ANSWER), items=2)
    first, second = result.items
    assert first.probabilities is not None
    assert first.probabilities.tolist() == [0.25, 0.75]
    assert first.screening is not None
    assert (first.screening.score, first.screening.threshold) == (1.5, 3.0)
    assert first.attribution is not None
    np.testing.assert_array_equal(first.attribution.values, [[[0, 1], [2, 3]]])
    assert (second.status, second.error) == (ItemStatus.REJECTED, "no")


def test_an_answer_without_probabilities_and_screening_is_whole() -> None:
    for name in ("probabilities", "screening"):
        item = parse_answer(changed(("predictions", 0, name), ...)).items[0]
        assert getattr(item, name) is None


def test_fields_of_a_newer_server_are_passed_over() -> None:
    assert parse_answer(changed(("predictions", 0, "novel"), {"x": 1})).items[0].label == "two"


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("schema",), 2, "schema 2, this client reads schema 1"),
        (("schema",), True, "answer.schema is not a whole number"),
        (("request_id",), ..., "lacks 'request_id'"),
        (("model",), 7, "answer.model is not a text"),
        (("predictions",), [], "0 items, expected at least one"),
        (("predictions",), {}, "answer.predictions is not a list"),
        (("predictions", 1, "item"), 0, "not in the order"),
        (("predictions", 1), None, "is not an object"),
        (("predictions", 0, "status"), "fine", "is not one of ok, rejected"),
        (("predictions", 0, "class_index"), 2, "beyond its 2 probabilities"),
        (("predictions", 0, "class_index"), -1, "is not a whole number"),
        (("predictions", 0, "probability"), 1.5, "not in 0..1"),
        (("predictions", 0, "probability"), "0.5", "is not a number"),
        (("predictions", 0, "probabilities", 0), False, "is not a number"),
        (("predictions", 0, "screening", "verdict"), "maybe", "is not one of clean"),
        (("predictions", 1, "error"), ..., "lacks 'error'"),
        (("predictions", 0, "attribution"), ..., "lacks 'attribution'"),
        (("predictions", 0, "attribution", "shape"), [4], "is not channels, height, width"),
        (("predictions", 0, "attribution", "shape"), [1, 2, 2**40], "16 bytes, not what shape"),
        (("predictions", 0, "attribution", "dtype"), "float16", "is not float32"),
        (("predictions", 0, "attribution", "data"), "ä", "is not base64"),
        (("predictions", 0, "attribution", "data"), "AAA", "is not base64"),
        (("predictions", 0, "attribution", "data"), "AA A=", "is not base64"),
    ],
)
def test_a_fault_is_named(path: tuple[Any, ...], value: Any, fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_explanation(changed(path, value), request_id="asked")
    error = caught.value
    assert fault in error.message
    assert (error.code, error.request_id) == ("MALFORMED_ANSWER", "asked")


def test_an_answer_to_more_or_fewer_items_is_refused() -> None:
    for items in (1, 3):
        with pytest.raises(RequestError, match=f"it has 2 items, expected {items}"):
            parse_answer(orjson.dumps(ANSWER), items=items)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("bad_input", "INVALID_ARGUMENT"),
        ("unsupported_media_type", "INVALID_ARGUMENT"),
        ("too_large", "RESOURCE_EXHAUSTED"),
        ("rejected", "FAILED_PRECONDITION"),
        ("expired", "DEADLINE_EXCEEDED"),
        ("error", "INTERNAL"),
    ],
)
def test_a_refusal_of_the_whole_request_has_a_code(status: str, code: str) -> None:
    body = changed(("error",), {"status": status, "message": "why"})
    with pytest.raises(RequestError) as caught:
        parse_answer(body)
    error = caught.value
    assert (error.message, error.code, error.request_id) == ("why", code, "r")
