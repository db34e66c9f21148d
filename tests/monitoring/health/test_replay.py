"""What differs between two records of the same pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.array_fields import encode_embeddings, encode_input
from monitoring.replay import compare, replayable
from tests.monitoring.any_records import any_records
from tests.monitoring.records import a_record

IMAGE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
EMBEDDING = np.linspace(0, 1, 32, dtype=np.float16)[None]


def a_replayable(**changes: Any) -> dict[str, Any]:
    embedding = encode_embeddings(EMBEDDING)[0]
    return {**a_record(embedding=embedding, input=encode_input(IMAGE)), **changes}


def test_a_record_does_not_differ_from_itself() -> None:
    found = compare(a_replayable(), a_replayable())
    assert found.first_difference is None
    assert found.same_answer
    assert all(step.same for step in found.steps)


def test_the_first_step_that_differs_is_named() -> None:
    screening = {**a_replayable()["screening"], "heads": {"activation": 0.001}, "score": 6.9}
    screening["verdict"] = "suspicious"
    found = compare(a_replayable(), a_replayable(screening=screening))
    assert found.first_difference is not None
    assert found.first_difference.name == "p-value, activation head"
    assert not found.same_answer


def test_probabilities_show_the_class_that_changed_most() -> None:
    found = compare(a_replayable(), a_replayable(prediction=["1", "7"], probability=[0.6, 0.4]))
    step = next(step for step in found.steps if step.name == "probabilities")
    assert (step.before, step.after) in {("7 75.0%", "7 40.0%"), ("1 25.0%", "1 60.0%")}
    assert step.distance is not None
    assert abs(step.distance - 0.35) < 1e-9


def test_embeddings_of_two_networks_do_not_count() -> None:
    other = encode_embeddings((EMBEDDING + 5).astype(np.float16))[0]
    same = compare(a_replayable(), a_replayable(embedding=other))
    assert same.first_difference is not None
    assert same.first_difference.name == "embedding"
    apart = compare(a_replayable(), a_replayable(embedding=other, artifact_digest="d2"))
    assert apart.first_difference is None


def test_what_one_side_lacks_differs_and_is_shown_as_absent() -> None:
    rejected = a_replayable(prediction=[], probability=[], embedding=None, screening=None)
    found = compare(a_replayable(), rejected)
    absent = {step.name for step in found.steps if step.after == "-"}
    assert {"embedding", "probabilities", "label", "score", "verdict"} <= absent
    assert not found.same_answer


def test_the_last_attempt_with_pixels_is_replayed() -> None:
    bare = a_record("r1", 1)
    tries = [a_replayable(item=0, attempt=1), a_replayable(item=0, attempt=2), bare]
    assert [record["attempt"] for record in replayable(tries, None)] == [2]
    assert replayable(tries, 1) == []


@given(pair=st.tuples(any_records(), any_records()))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_any_two_records_can_be_compared(pair: tuple[list[Any], list[Any]]) -> None:
    for before, after in zip(*pair, strict=False):
        then, now = (
            orjson.loads(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY))
            | {"embedding": None, "input": None}
            for record in (before, after)
        )
        assert orjson.dumps(compare(then, now).to_json())
