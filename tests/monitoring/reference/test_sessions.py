"""Items of one session count once in a while."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.features import feature_names
from monitoring.sessions import session_report, thin_sessions
from monitoring.window import Window

SECOND = 10**9


def window_of(items: Sequence[tuple[float, str, str]]) -> Window:
    """A window of (seconds, client, session) with nothing else to tell."""
    count, names = len(items), feature_names(1)
    texts = dict.fromkeys(
        ("version", "status", "verdict", "code_version", "input_format"), np.full(count, "x")
    )
    return Window(
        model="m",
        classes=("a", "b"),
        feature_names=names,
        timestamp_ns=np.array([round(at * SECOND) for at, _, _ in items], np.int64),
        request_id=np.array([str(place) for place in range(count)], np.str_),
        item=np.zeros(count, np.int64),
        client=np.array([client for _, client, _ in items], np.str_),
        session=np.array([session for _, _, session in items], np.str_),
        score=np.zeros(count),
        features=np.zeros((count, len(names))),
        embedding=np.zeros((count, 32), np.float32),
        probabilities=np.zeros((count, 2), np.float32),
        predicted=np.zeros(count, np.int64),
        **texts,
    )


def kept(items: Sequence[tuple[float, str, str]], gap_s: float = 60.0) -> list[int]:
    return [int(place) for place in thin_sessions(window_of(items), gap_s=gap_s).request_id]


def test_a_video_becomes_a_picture_a_minute() -> None:
    frames = [(number / 25, "c", "video") for number in range(25 * 150)]
    assert kept(frames) == [0, 1500, 3000]
    assert kept(frames, math.inf) == [0]
    assert len(kept(frames, 0)) == len(frames)
    report = session_report(window_of(frames))
    assert (report.items, report.in_sessions, report.sessions) == (3750, 3750, 1)
    assert report.effective == 3


def test_items_without_a_session_are_all_kept() -> None:
    assert kept([(0, "c", ""), (0, "c", ""), (0, "", "s"), (1, "", "s"), (2, "c", "")]) == [
        0,
        1,
        2,
        4,
    ]


def test_a_session_id_is_one_clients() -> None:
    items = [(0, "a", "1"), (1, "b", "1"), (2, "a", "2"), (3, "b", "1"), (4, "a", "1")]
    assert kept(items) == [0, 1, 2]
    assert session_report(window_of(items)).sessions == 3


def test_an_empty_window_stays_empty() -> None:
    assert kept([]) == []
    assert session_report(window_of([])).sessions == 0


@pytest.mark.parametrize("gap_s", [-1, math.nan])
def test_a_gap_that_is_none_is_refused(gap_s: float) -> None:
    with pytest.raises(ValueError, match="gap"):
        kept([(0, "a", "1")], gap_s)


items = st.tuples(st.integers(0, 500), st.sampled_from("ab"), st.sampled_from(["", "1", "2"]))


@given(drawn=st.lists(items, max_size=40), gap_s=st.sampled_from([0.0, 7.0, 60.0]))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_what_is_kept_is_apart_and_nothing_more_could_be(
    drawn: list[tuple[float, str, str]], gap_s: float
) -> None:
    chosen = kept(drawn, gap_s)
    assert chosen == sorted(chosen)
    for place, (at, client, session) in enumerate(drawn):
        same = [
            drawn[other][0]
            for other in chosen
            if other != place and drawn[other][1:] == (client, session)
        ]
        if session == "":
            assert place in chosen
        elif place in chosen:
            assert all(abs(at - time) >= gap_s for time in same)
        else:
            assert any(0 <= at - time < gap_s for time in same)
