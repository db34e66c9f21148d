"""A window holds the items that were predicted for a caller, and counts all the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.array_fields import encode_embeddings
from monitoring.features import feature_names, features_of_images, image_feature_names
from monitoring.input_summary import summarise
from monitoring.request_log import RequestLog, RequestLogConfig
from monitoring.store import LogStore
from monitoring.window import NOT_PREDICTED, Window
from monitoring.windows import WindowReport, read_window, read_window_with_report
from tests.monitoring.records import a_record
from tests.monitoring.reference.log_table import table_of
from torchkeep.schema import EMBEDDING_DIMS

CLASSES = ("0", "1", "7")
NAMES = feature_names(1)
HOUR_NS = 3600 * 10**9
EMBEDDINGS = np.linspace(-1, 1, 3 * EMBEDDING_DIMS).reshape(3, EMBEDDING_DIMS).astype(np.float16)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8)).astype(np.uint8)
SUMMARIES = summarise(IMAGES, [64] * 3)
REQUEST_TYPE = a_record()["request_type"]


def record(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A record of the request `r<number>`, logged at `number` hours."""
    return {
        **a_record(f"r{number}"),
        "timestamp_ns": number * HOUR_NS,
        "prediction": ["7", "0", "1"],
        "probability": [0.5, 0.375, 0.125],
        "input_data_summary": SUMMARIES[number % 3],
        "embedding": encode_embeddings(EMBEDDINGS)[number % 3],
        **changes,
    }


def read(*records: dict[str, Any], **options: Any) -> tuple[Window, WindowReport]:
    told = {"model": "digits", "classes": CLASSES, "feature_names": NAMES} | options
    with table_of(records) as connection:
        window, report = read_window_with_report(connection, **told)
    left_out = report.other_role + report.explained + report.superseded + report.not_last
    assert report.in_window == len(window)
    assert report.found == len(window) + left_out
    return window, report


def test_each_column_is_what_was_logged() -> None:
    window, report = read(record(2, session_id="s", client="c"), record(1), record(0))
    assert (report.found, report.no_summary, report.no_embedding) == (3, 0, 0)
    assert window.request_id.tolist() == ["r0", "r1", "r2"]
    assert window.timestamp_ns.tolist() == [0, HOUR_NS, 2 * HOUR_NS]
    assert window.session.tolist() == ["", "", "s"]
    assert window.client.tolist() == ["", "", "c"]
    assert window.input_format.tolist() == ["png"] * 3
    assert (window.version[0], window.status[0], window.verdict[0]) == ("1.0", "ok", "clean")
    assert window.predicted.tolist() == [2, 2, 2]
    assert window.probabilities[0].tolist() == [0.375, 0.125, 0.5]
    np.testing.assert_array_equal(window.embedding, EMBEDDINGS.astype(np.float32))
    columns = dict(zip(NAMES, window.features.T, strict=True))
    image = np.stack([columns[name] for name in image_feature_names(1)], axis=1)
    np.testing.assert_array_equal(image, features_of_images(IMAGES))
    assert columns["confidence"].tolist() == [0.5] * 3
    assert columns["score"].tolist() == window.score.tolist() == [0.5] * 3


def test_nothing_logged_is_an_empty_window() -> None:
    for records in ((), (record(model="other"),)):
        window, report = read(*records)
        assert (len(window), report.found) == (0, 0)
        assert window.features.shape == (0, len(NAMES))
        assert window.probabilities.shape == (0, 3)
        assert window.embedding.shape == (0, EMBEDDING_DIMS)


def test_what_was_not_predicted_for_a_caller_is_left_out_and_counted() -> None:
    explained = {**REQUEST_TYPE, "operation": "explain"}
    window, report = read(
        record(0, role="canary"),
        record(1, role="shadow"),
        record(2, request_type=explained),
        record(3, role="shadow", request_type=explained),
        record(4),
    )
    assert window.request_id.tolist() == ["r4"]
    assert (report.other_role, report.explained) == (3, 1)


def test_of_an_item_that_was_tried_again_the_last_attempt_counts() -> None:
    window, report = read(
        record(0, status="error", prediction=[], probability=[]),
        record(0, attempt=2, status="error", timestamp_ns=1),
        record(0, attempt=3, timestamp_ns=2),
        record(0, item=1),
        record(0, client="another"),
        record(0, attempt=2, role="shadow", item=1),
        record(5, request_id="r0"),  # the same id, hours later: another request
    )
    assert report.superseded == 2
    assert sorted(window.timestamp_ns.tolist()) == [0, 0, 2, 5 * HOUR_NS]


def test_an_id_that_callers_use_over_and_over_is_no_attempt() -> None:
    window, report = read(*(record(number, request_id="same") for number in range(4)))
    assert (len(window), report.superseded) == (4, 0)


def test_time_version_and_correlation_id_choose() -> None:
    records = [
        record(number, model_version=f"1.{number % 2}", correlation_id=f"c{number % 3}")
        for number in range(6)
    ]
    options: dict[str, dict[str, Any]] = {
        "start": {"start_ns": 4 * HOUR_NS},
        "end": {"end_ns": 2 * HOUR_NS},
        "version": {"version": "1.1"},
        "correlation": {"correlation_id": "c2"},
        "together": {"version": "1.1", "start_ns": 1, "end_ns": 5 * HOUR_NS},
    }
    chosen = {name: read(*records, **told)[0].request_id.tolist() for name, told in options.items()}
    assert chosen == {
        "start": ["r4", "r5"],
        "end": ["r0", "r1"],
        "version": ["r1", "r3", "r5"],
        "correlation": ["r2", "r5"],
        "together": ["r1", "r3"],
    }


def test_the_last_ones_are_the_newest() -> None:
    records = [record(number) for number in (3, 0, 2, 1)]
    window, report = read(*records, last=2)
    assert window.request_id.tolist() == ["r2", "r3"]
    assert (report.found, report.not_last) == (4, 2)
    assert read(*records, last=9)[1].not_last == 0


def test_a_correlation_id_is_a_session_unless_it_was_asked_for() -> None:
    records = [record(0, correlation_id="c"), record(1, correlation_id="c", session_id="s")]
    assert read(*records)[0].session.tolist() == ["correlation id c", "s"]
    assert read(*records, correlation_id="c")[0].session.tolist() == ["", "s"]


@pytest.mark.parametrize(
    ("prediction", "probability", "counted"),
    [
        ([], [], "not_predicted"),
        (["7", "dog"], [0.5, 0.5], "unknown_labels"),
        (["7", None], [0.5, 0.5], "unknown_labels"),
        (["7", "0"], [0.5], "damaged_predictions"),
        ([], [0.5], "damaged_predictions"),
        (["7", "7"], [0.5, 0.5], "damaged_predictions"),
        (["7", "0"], [0.5, None], "damaged_predictions"),
        (["7", "0"], [1e300, 0.1], "damaged_predictions"),
        (["7", "0"], [0.5, -0.1], "damaged_predictions"),
        (["7", "0", "1"], [0.9, 0.9, 0.9], "damaged_predictions"),
    ],
)
def test_a_prediction_that_is_none_is_counted_and_spoils_no_other(
    prediction: list[str | None], probability: list[float | None], counted: str
) -> None:
    odd = record(1, prediction=prediction, probability=probability)
    window, report = read(record(0), odd, record(2))
    names = ("not_predicted", "unknown_labels", "damaged_predictions")
    assert {name: getattr(report, name) for name in names} == dict.fromkeys(names, 0) | {counted: 1}
    assert window.predicted.tolist() == [2, NOT_PREDICTED, 2]
    assert np.isnan(window.probabilities[1]).all()
    assert window.probabilities[2].tolist() == [0.375, 0.125, 0.5]
    columns = dict(zip(NAMES, window.features.T, strict=True))
    assert np.isnan(columns["confidence"]).tolist() == [False, True, False]
    assert np.isfinite(columns["mean_0"]).all()


@pytest.mark.parametrize(
    ("embedding", "missing", "damaged"),
    [
        (None, 1, 0),
        ("", 0, 1),
        ("not base64!", 0, 1),
        ("AAAA", 0, 1),
        (encode_embeddings(np.full((1, EMBEDDING_DIMS), np.nan, np.float16))[0], 0, 1),
    ],
)
def test_an_embedding_that_is_none_is_counted(
    embedding: str | None, missing: int, damaged: int
) -> None:
    window, report = read(record(0), record(1, embedding=embedding), record(2))
    assert (report.no_embedding, report.damaged_embeddings) == (missing, damaged)
    assert np.isnan(window.embedding).any(axis=1).tolist() == [False, True, False]
    np.testing.assert_array_equal(window.embedding[2], EMBEDDINGS[2])


def test_an_image_that_was_not_described_is_counted() -> None:
    coloured = summarise(np.zeros((1, 3, 8, 8), np.uint8), [9])[0]
    window, report = read(
        record(0, input_data_summary=None, screening=None),
        record(1, input_data_summary=coloured),
        record(2, input_data_summary={**SUMMARIES[2], "mean": [1e300]}),
    )
    assert (report.no_summary, report.other_channels) == (1, 1)
    assert np.isnan(window.features[:2, : len(image_feature_names(1))]).all()
    assert np.isnan(window.score).tolist() == [True, False, False]
    assert window.verdict.tolist() == ["", "clean", "clean"]


def test_of_many_classes_what_was_not_logged_is_spread() -> None:
    classes = tuple(str(number) for number in range(200))
    logged = {"prediction": list(classes[5:15]), "probability": [0.5] + [0.01] * 9}
    window, _ = read(record(0, **logged), classes=classes)
    assert window.predicted.tolist() == [5]
    row = window.probabilities[0]
    assert row[5:15].tolist() == pytest.approx([0.5] + [0.01] * 9)
    assert np.delete(row, np.arange(5, 15)) == pytest.approx(0.41 / 190)


def test_features_come_by_name_in_the_order_asked_for() -> None:
    names = ("score", "histogram_03", "max_2", "mean_2")
    coloured = np.random.default_rng(1).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    summary = summarise(coloured, [9])[0]
    window, _ = read(record(0, input_data_summary=summary), feature_names=names)
    whole = dict(zip(image_feature_names(3), features_of_images(coloured)[0], strict=True))
    assert window.features[0].tolist() == [0.5, *(whole[name] for name in names[1:])]
    with pytest.raises(ValueError, match="no feature 'hue'"):
        read(record(0), feature_names=("hue", "mean_0"))


def test_the_store_gives_what_the_table_gives(tmp_path: Path) -> None:
    records = [
        record(number, session_id="s", client=None if number % 2 else "c")
        for number in range(1, 10)
    ]
    log = RequestLog(RequestLogConfig(), directory=tmp_path / "log")
    log.write(records[:4])  # type: ignore[arg-type]
    log.close()
    store = LogStore(tmp_path / "store", tmp_path / "log")
    store.compact()
    log = RequestLog(RequestLogConfig(), directory=tmp_path / "log")
    log.write(records[4:])  # type: ignore[arg-type]
    with store.connect() as connection:
        found = read_window(connection, model="digits", classes=CLASSES, feature_names=NAMES)
    log.close()
    expected = read(*records)[0]
    for name in ("request_id", "client", "features", "embedding", "probabilities", "predicted"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


odd_lists = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(-1, 2)), max_size=4))
odd_records = st.fixed_dictionaries(
    {
        "prediction": st.one_of(
            st.none(), st.lists(st.sampled_from(["0", "1", "7", "x", None]), max_size=4)
        ),
        "probability": odd_lists,
        "embedding": st.one_of(st.none(), st.text(max_size=90)),
        "screening": st.one_of(
            st.none(), st.fixed_dictionaries({"verdict": st.none(), "score": st.floats()})
        ),
        "input_data_summary": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "shape": st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=3)),
                    **dict.fromkeys(("mean", "std", "min", "max"), odd_lists),
                    "histogram": st.one_of(
                        st.none(), st.lists(st.integers(-9, 2**40), min_size=15, max_size=17)
                    ),
                    "sharpness": st.one_of(st.none(), st.floats()),
                }
            ),
        ),
        "role": st.sampled_from(["default", "canary", None]),
        "attempt": st.sampled_from([1, 2, None]),
        "client": st.sampled_from([None, "c"]),
        "status": st.one_of(st.none(), st.just("ok")),
    }
)


@given(odd=st.lists(odd_records, min_size=4, max_size=24))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_no_record_is_too_odd(odd: list[dict[str, Any]]) -> None:
    records = [record(0, timestamp_ns=place, **changes) for place, changes in enumerate(odd)]
    window, report = read(*records)
    assert report.found == len(records)
    predicted = window.predicted >= 0
    assert np.isfinite(window.probabilities[predicted]).all()
    np.testing.assert_allclose(window.probabilities[predicted].sum(axis=1), 1, atol=0.011)
    lacking = report.not_predicted + report.unknown_labels + report.damaged_predictions
    assert lacking == (~predicted).sum()
    assert np.isnan(window.probabilities[~predicted]).all()
