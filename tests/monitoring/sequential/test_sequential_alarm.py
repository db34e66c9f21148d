"""The alarm rises when the stream changes, and what it says does not depend on portions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.sequential import SequentialAlarm, SequentialConfig
from monitoring.window import NOT_PREDICTED, Window
from tests.monitoring.sequential.streams import NOW_NS, a_reference, a_window, joined
from torchkeep.errors import SettingsError, UserError

CONFIG = SequentialConfig(average_run_length=20_000, block=32, memory=128)
REFERENCE = a_reference()
QUIET_THEN_BRIGHT = joined(a_window(150, 1), a_window(50, 2, first_ns=150, shift=4))


def started(config: SequentialConfig = CONFIG) -> SequentialAlarm:
    return SequentialAlarm.start(REFERENCE, config)


def test_a_shift_is_seen_soon_and_told_with_its_witness_and_beginning() -> None:
    detector = started()
    assert detector.update(a_window(150, 1), now_ns=NOW_NS) == []
    assert not detector.ongoing
    alarm, *rest = detector.update(a_window(50, 2, first_ns=150, shift=4), now_ns=NOW_NS)
    assert rest == []
    assert detector.ongoing
    assert alarm.witness in ("brightness", "photometric")
    assert alarm.rising
    assert alarm.statistic >= alarm.threshold == 20_000
    assert 145 <= alarm.change_number <= alarm.number <= 170
    assert alarm.timestamp_ns == alarm.number - 1
    assert alarm.change_timestamp_ns == alarm.change_number - 1
    assert alarm.request_id == f"r{alarm.number - 151}"
    assert alarm.to_json()["delay"] == alarm.number - alarm.change_number + 1


def test_a_fall_is_told_as_one() -> None:
    detector = started()
    detector.update(a_window(100, 1), now_ns=NOW_NS)
    darker = a_window(100, 2, first_ns=100)
    darker.features[:, 0] -= 0.15
    (alarm,) = detector.update(darker, now_ns=NOW_NS)
    assert (alarm.witness, alarm.rising) == ("brightness", False)


def test_a_class_that_comes_more_often_is_named() -> None:
    detector = started()
    detector.update(a_window(200, 1), now_ns=NOW_NS)
    owls = a_window(300, 2, first_ns=200, predicted=np.full(300, 2))
    (alarm,) = detector.update(owls, now_ns=NOW_NS)
    assert (alarm.witness, alarm.rising) == ("class owl", True)


def test_a_shift_that_lasts_is_one_alarm_and_what_raised_it_does_not_become_usual() -> None:
    detector = started()
    detector.update(a_window(150, 1), now_ns=NOW_NS)
    alarms = detector.update(a_window(3000, 2, first_ns=150, shift=4), now_ns=NOW_NS)
    assert len(alarms) == detector.counts.alarms == 1
    assert detector.counts.confirmations > 100
    assert detector.ongoing
    detector.update(a_window(200, 3, first_ns=3150), now_ns=NOW_NS)
    assert not detector.ongoing
    assert len(detector.update(a_window(50, 4, first_ns=3350, shift=4), now_ns=NOW_NS)) == 1


@settings(deadline=None, max_examples=25, derandomize=True)
@given(cuts=st.lists(st.integers(0, len(QUIET_THEN_BRIGHT)), max_size=6), restart=st.booleans())
def test_portions_and_restarts_do_not_matter(cuts: list[int], restart: bool) -> None:
    whole = started()
    expected = whole.update(QUIET_THEN_BRIGHT, now_ns=NOW_NS)
    detector, alarms = started(), []
    for rows in np.split(np.arange(len(QUIET_THEN_BRIGHT)), sorted(cuts)):
        alarms += detector.update(QUIET_THEN_BRIGHT.take(rows), now_ns=NOW_NS)
        if restart:
            detector = SequentialAlarm.from_json(detector.to_json(), REFERENCE)
    assert alarms == expected
    assert detector.to_json() == whole.to_json()


def test_items_are_taken_once_in_order_whatever_order_they_come_in() -> None:
    whole, shuffled = started(), started()
    whole.update(QUIET_THEN_BRIGHT, now_ns=NOW_NS)
    rows = np.random.default_rng(0).permutation(len(QUIET_THEN_BRIGHT))
    twice = QUIET_THEN_BRIGHT.take(np.concatenate([rows, rows[:50]]))
    shuffled.update(twice, now_ns=NOW_NS)
    shuffled.update(QUIET_THEN_BRIGHT.take(rows[:100]), now_ns=NOW_NS)
    assert shuffled.to_json() == whole.to_json()
    assert shuffled.counts.late == 0
    assert shuffled.watermark == (199, "r49", 0)


def test_late_items_are_counted_once_and_not_bet_on() -> None:
    detector = started()
    detector.update(a_window(10, 1, first_ns=1000), now_ns=NOW_NS)
    late = a_window(3, 2, first_ns=500)
    detector.update(late, now_ns=NOW_NS)
    detector.update(late, now_ns=NOW_NS)
    assert (detector.counts.judged, detector.counts.late) == (10, 3)


def test_an_item_of_the_future_is_counted_and_left_for_later() -> None:
    detector = started()
    minutes = 60 * 10**9
    window = joined(a_window(5, 1), a_window(1, 2, first_ns=5 * minutes))
    for _ in range(3):
        detector.update(window, now_ns=minutes)
        assert (detector.counts.judged, detector.counts.ahead) == (5, 1)
    detector.update(window, now_ns=5 * minutes)
    assert (detector.counts.judged, detector.counts.late, detector.counts.ahead) == (6, 0, 0)


def test_frames_of_a_session_count_once_a_minute_however_the_windows_cut_them() -> None:
    frames = 150
    window = a_window(
        frames,
        1,
        timestamp_ns=np.arange(frames, dtype=np.int64) * 10**9,
        session=np.full(frames, "video"),
    )
    whole, cut = started(), started()
    whole.update(window, now_ns=NOW_NS)
    for start in range(0, frames, 7):
        cut.update(window.take(np.arange(start, min(start + 7, frames))), now_ns=NOW_NS)
        cut = SequentialAlarm.from_json(cut.to_json(), REFERENCE)
    assert (whole.counts.judged, whole.counts.dependent) == (3, 147)
    assert cut.to_json() == whole.to_json()


def without(window: Window, what: str) -> Window:
    """Return the window with every third item lacking something."""
    holes = np.arange(len(window)) % 3 == 0
    if what == "prediction":
        return replace(window, predicted=np.where(holes, NOT_PREDICTED, window.predicted))
    value = getattr(window, what).copy()
    value[holes] = np.inf if what == "score" else np.nan
    return replace(window, **{what: value})


@pytest.mark.parametrize("what", ["features", "embedding", "score", "prediction"])
def test_items_that_lack_something_are_counted_and_not_bet_on(what: str) -> None:
    whole, holed = started(), started()
    window = without(a_window(90, 1), what)
    holed.update(window, now_ns=NOW_NS)
    whole.update(window.take(np.arange(90) % 3 != 0), now_ns=NOW_NS)
    assert (holed.counts.lacking, holed.counts.judged) == (30, 60)
    assert holed.statistic == whole.statistic > 0


def test_a_score_that_the_reference_does_not_have_is_left_out_and_told() -> None:
    reference = a_reference(embedding=np.empty((400, 0), np.float32), score=np.zeros(400))
    detector = SequentialAlarm.start(reference, CONFIG)
    assert detector.left_out == {
        "embedding": "not whole in the reference",
        "screening": "constant in the reference",
    }
    detector.update(a_window(20, 1), now_ns=NOW_NS)
    assert detector.counts.judged == 20


def test_nan_in_the_reference() -> None:
    reference = a_reference()
    reference.embedding[:] = np.nan
    reference.features[:10] = np.nan
    detector = SequentialAlarm.start(reference, CONFIG)
    assert detector.left_out == {"embedding": "not whole in the reference"}
    detector.update(a_window(20, 1), now_ns=NOW_NS)
    assert detector.counts.judged == 20


@pytest.mark.parametrize("count", [0, 1, 60])
def test_too_small_a_reference_is_refused(count: int) -> None:
    with pytest.raises(UserError, match="Make one from 100 or more"):
        SequentialAlarm.start(a_reference(count), CONFIG)


def test_a_window_of_something_else_is_refused() -> None:
    detector = started()
    with pytest.raises(ValueError, match="window of cars"):
        detector.update(a_window(3, 1, model="cars"))
    with pytest.raises(ValueError, match="other classes"):
        detector.update(a_window(3, 1, classes=("cat", "dog")))


def test_no_items_are_no_event() -> None:
    detector = started()
    assert detector.update(a_window(0, 1)) == []
    assert detector.to_json() == started().to_json()
    assert detector.watermark is None


@pytest.mark.parametrize(
    "wrong",
    [{"average_run_length": 1}, {"block": 0}, {"memory": -1}, {"neighbours": True}, {"seed": 0.5}],
)
def test_a_config_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        SequentialConfig(**wrong)
