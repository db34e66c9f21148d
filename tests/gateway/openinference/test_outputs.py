"""An outcome becomes tensors that say the same in every form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.openinference.outputs import (
    OUTPUTS,
    check_requested,
    outputs_of,
    parameters_of,
)
from gateway.openinference.tensors import NUMPY_TYPES, OutputTensor, unpack_bytes
from gateway.refusal import Code, Refusal
from tests.gateway.openinference.samples import outcome
from torchkeep.schema import Disclose, Operation

FULL = {"disclose": Disclose.FULL, "score": [1.0, 2.0, 3.0], "p_value": [0.5, 0.25, 0.125]}


def names_of(tensors: list[OutputTensor]) -> list[str]:
    return [tensor.name for tensor in tensors]


def test_only_outputs_that_say_something_are_given() -> None:
    told = ["item_status", "label", "class_index", "probability", "probabilities", "verdict"]
    assert names_of(outputs_of(outcome(), None)) == [*told, "message"]
    quiet = outcome(
        messages={},
        disclose=Disclose.NONE,
        probabilities=np.empty((3, 0), dtype=np.float32),
    )
    assert names_of(outputs_of(quiet, None)) == told[:4]
    full = outputs_of(outcome(**FULL, threshold=2.5), None)
    assert names_of(full) == [*told, "score", "p_value", "message"]


def test_values_are_those_of_the_items() -> None:
    by_name = {tensor.name: tensor for tensor in outputs_of(outcome(**FULL), None)}
    assert by_name["item_status"].flat() == ["ok", "bad_input", "ok"]
    assert by_name["label"].flat() == ["one", "", "zwölf"]
    assert by_name["class_index"].flat() == [1, -1, 2]
    assert by_name["verdict"].flat() == ["clean", "", "suspicious"]
    assert by_name["message"].flat() == ["", "pixels are NaN", ""]
    assert by_name["score"].flat() == [1.0, 2.0, 3.0]
    assert by_name["probabilities"].shape == (3, 3)
    assert by_name["probabilities"].flat()[6:] == [0.125, 0.125, 0.75]


def test_raw_bytes_read_back_to_the_same_values() -> None:
    for tensor in outputs_of(outcome(**FULL), None):
        raw = tensor.raw()
        if tensor.datatype == "BYTES":
            texts = [bytes(blob).decode() for blob in unpack_bytes(raw, len(tensor.flat()))]
            assert texts == tensor.flat()
        else:
            read = np.frombuffer(raw, NUMPY_TYPES[tensor.datatype])
            np.testing.assert_array_equal(read, np.array(tensor.flat(), dtype=read.dtype))
            assert read.size == np.prod(tensor.shape)


def test_an_attribution_of_a_failed_item_is_nan() -> None:
    seen = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    explained = outcome(attribution_method="m", attributions={0: seen, 2: seen * 2})
    tensor = outputs_of(explained, ["attribution"])[0]
    values = np.frombuffer(tensor.raw(), "<f4").reshape(tensor.shape)
    assert tensor.shape == (3, 2, 3, 4)
    np.testing.assert_array_equal(values[0], seen)
    assert np.isnan(values[1]).all()
    np.testing.assert_array_equal(values[2], seen * 2)


def test_where_nothing_was_explained_the_attribution_is_empty() -> None:
    assert outputs_of(outcome(), ["attribution"])[0].shape == (3, 0, 0, 0)
    assert "attribution" not in names_of(outputs_of(outcome(attribution_method="m"), None))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.sampled_from(sorted(OUTPUTS))))
def test_requested_outputs_come_once_each_in_the_order_asked(names: list[str]) -> None:
    quiet = outcome(messages={}, disclose=Disclose.NONE, verdicts=[None] * 3)
    tensors = outputs_of(quiet, names)
    assert names_of(tensors) == list(dict.fromkeys(names))
    for tensor in tensors:
        assert tensor.shape[0] == 3
        assert tensor.datatype == OUTPUTS[tensor.name]


def test_an_undisclosed_output_tells_nothing() -> None:
    score, verdict = outputs_of(
        outcome(disclose=Disclose.NONE, verdicts=[None] * 3), ["score", "verdict"]
    )
    assert np.isnan(score.flat()).all()
    assert verdict.flat() == ["", "", ""]


@pytest.mark.parametrize("operation", list(Operation))
def test_an_unknown_output_is_refused_naming_those_there_are(operation: Operation) -> None:
    with pytest.raises(Refusal, match="there are item_status") as caught:
        check_requested(["label", "logits"], operation)
    assert caught.value.code is Code.INVALID
    with pytest.raises(Refusal, match="logits"):
        outputs_of(outcome(), ["logits"])


def test_an_attribution_is_asked_of_an_explanation_only() -> None:
    check_requested(["attribution"], Operation.EXPLAIN)
    with pytest.raises(Refusal, match="attribution"):
        check_requested(["attribution"], Operation.PREDICT)


def test_parameters_tell_of_the_whole_request() -> None:
    assert parameters_of(outcome()) == {"request_id": "r-1", "items_failed": 1}
    told = parameters_of(outcome(**FULL, threshold=2.5, attribution_method="m"))
    assert told["threshold"] == 2.5
    assert told["attribution_method"] == "m"
    assert "threshold" not in parameters_of(outcome(threshold=2.5))
