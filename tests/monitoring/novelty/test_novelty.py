"""Novel items are found, listed and explained; what is lacking is counted."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.novelty import NoveltyConfig, novelty
from monitoring.window import NOT_PREDICTED
from tests.monitoring.sequential.streams import EMBEDDED, NAMES, a_reference, a_window
from torchkeep.errors import SettingsError

REFERENCE = a_reference(1000)
COLUMNS = len(NAMES) + EMBEDDED
BRIGHTNESS = NAMES.index("mean_0")


def test_the_usual_is_novel_as_seldom_as_the_level_says() -> None:
    report = novelty(REFERENCE, a_window(2000, 1), NoveltyConfig(level=0.05))
    assert report.share_low <= 0.05 <= report.share_high
    assert report.share == report.novel / 2000
    assert (report.items, report.judged, report.lacking) == (2000, 2000, 0)
    assert (report.columns, report.note, report.left_out) == (COLUMNS, "", {})
    assert len(report.most_novel) == 20


def test_what_is_novel_is_listed_first_with_what_stands_out() -> None:
    window = a_window(200, 1)
    window.features[70, BRIGHTNESS] = 3.0
    window.features[71, BRIGHTNESS] = -4.0
    report = novelty(REFERENCE, replace(window, item=window.item + 5))
    first, second = report.most_novel[:2]
    assert (first.request_id, second.request_id) == ("r71", "r70")
    assert (first.item, first.timestamp_ns) == (5, 71)
    assert first.predicted == window.classes[window.predicted[71]]
    assert first.score == report.score[71] > report.score[70] == second.score
    assert first.p_value == report.p_value[71] == second.p_value <= 0.01
    out = first.standing_out[0]
    assert (out.feature, out.value) == ("mean_0", -4.0)
    assert out.usual == pytest.approx(0.5, abs=0.02)
    assert out.deviations == pytest.approx((-4 - out.usual) / 0.1, rel=0.1)


def test_an_unusual_embedding_is_novel_though_no_feature_stands_out() -> None:
    window = a_window(50, 1)
    window.features[7] = 0.5
    window.embedding[7] = 9
    first = novelty(REFERENCE, window).most_novel[0]
    assert (first.request_id, first.standing_out) == ("r7", ())


def test_items_that_lack_a_value_are_counted_and_have_no_p_value() -> None:
    window = a_window(60, 1, predicted=np.full(60, NOT_PREDICTED))
    window.features[:10, 2] = np.nan
    window.embedding[10:15, 0] = np.inf
    window.features[20] = 99
    report = novelty(REFERENCE, window)
    assert (report.judged, report.lacking) == (45, 15)
    assert np.isnan(report.p_value[:15]).all()
    assert np.isnan(report.score[:15]).all()
    assert np.isfinite(report.p_value[15:]).all()
    assert report.most_novel[0].predicted == ""


def test_columns_that_one_side_lacks_are_left_out_and_told() -> None:
    window = a_window(60, 1)
    window.features[:, 3] = np.nan
    reference = a_reference(1000, embedding=np.empty((1000, 0), np.float32))
    reference.features[:, BRIGHTNESS] = np.nan
    report = novelty(reference, replace(window, embedding=np.empty((60, 0), np.float32)))
    assert report.left_out == {
        "mean_0": "NaN in most rows of the reference",
        NAMES[3]: "NaN in every item of the window",
        "embedding": "not in the reference",
    }
    assert (report.judged, report.columns) == (60, len(NAMES) - 2)
    unlogged = a_window(60, 1)
    unlogged.embedding[:] = np.nan
    assert novelty(REFERENCE, unlogged).left_out == {"embedding": "NaN in every item of the window"}
    short = a_window(60, 1, embedding=np.zeros((60, 2), np.float32))
    assert novelty(REFERENCE, short).left_out == {"embedding": "of another size in the window"}


def test_a_feature_that_was_constant_makes_what_differs_novel_but_not_what_is_rounded() -> None:
    reference = a_reference(1000)
    reference.features[:, BRIGHTNESS] = 0.25
    window = a_window(100, 1)
    window.features[:, BRIGHTNESS] = 0.25 + 1e-7
    assert novelty(reference, window).share < 0.1
    window.features[:, BRIGHTNESS] = 0.5
    report = novelty(reference, window)
    assert report.share == 1
    assert report.most_novel[0].standing_out[0].feature == "mean_0"


@pytest.mark.parametrize("count", [0, 1, 99, 196])
def test_too_few_rows_are_a_note(count: int) -> None:
    report = novelty(a_reference(count), a_window(30, 1))
    assert report.note == "too few whole rows in the reference for this level"
    assert (report.items, report.judged, report.lacking, report.columns) == (30, 0, 30, 0)
    assert math.isnan(report.share)
    assert report.most_novel == ()


def test_no_items_and_only_lacking_ones_are_notes() -> None:
    assert novelty(REFERENCE, a_window(0, 1)).note == "no items"
    window = a_window(10, 1)
    window.features[:5, 0] = np.nan
    window.embedding[5:, 0] = np.nan
    assert novelty(REFERENCE, window).note == "every item lacks a value"


def test_json_holds_all_but_the_arrays() -> None:
    window = a_window(30, 1)
    window.features[3] = 7
    found = json.loads(json.dumps(novelty(REFERENCE, window).to_json(), allow_nan=False))
    assert found["most_novel"][0]["request_id"] == "r3"
    assert len(found["most_novel"][0]["standing_out"]) == 3
    assert not {"score", "p_value"} & found.keys()
    empty = novelty(REFERENCE, a_window(0, 1)).to_json()
    assert (empty["share"], empty["share_low"]) == (None, None)


def test_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="window of cars"):
        novelty(REFERENCE, a_window(3, 1, model="cars"))
    with pytest.raises(ValueError, match="other classes"):
        novelty(REFERENCE, a_window(3, 1, classes=("cat", "dog")))


@pytest.mark.parametrize(
    "wrong", [{"level": 0.0}, {"level": math.nan}, {"neighbours": 0}, {"listed": -1}, {"seed": -1}]
)
def test_a_config_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        NoveltyConfig(**wrong)


holes = st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300, 0.0, 5e-324])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    spots=st.lists(st.tuples(st.integers(0, 11), st.integers(0, len(NAMES) - 1), holes)),
    rows=st.integers(0, 12),
)
def test_any_values_are_judged_or_counted(spots: list[tuple[int, int, float]], rows: int) -> None:
    window = a_window(12, 3)
    for row, column, value in spots:
        window.features[row, column] = value
    report = novelty(SMALL, window.take(np.arange(rows)), NoveltyConfig(listed=5))
    assert report.judged + report.lacking == rows
    judged = report.p_value[np.isfinite(report.p_value)]
    assert len(judged) == report.judged
    assert ((judged > 0) & (judged <= 1)).all()
    assert np.isfinite(report.score[np.isfinite(report.p_value)]).all()
    json.dumps(report.to_json(), allow_nan=False)


SMALL = a_reference(197)


def test_the_smallest_reference_that_can_find_anything_novel_does() -> None:
    window = a_window(12, 3)
    window.features[3, 2] = 1e300
    report = novelty(SMALL, window)
    assert (report.note, report.most_novel[0].request_id) == ("", "r3")
