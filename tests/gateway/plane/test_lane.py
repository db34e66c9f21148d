"""The queue of a call: nothing lost, nothing twice, and everyone gets a turn."""

from __future__ import annotations

import gc
from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from gateway.plane.lane import Lane
from gateway.plane.pending import Pending, Share
from gateway.question import Question
from tests.gateway.plane.questions import DIGITS, question

CLIENTS = st.sampled_from(["anna", "ben", "cleo"])


class NoFuture:
    """Stands where a future would: the lane never touches it."""


def waiting(asked: Question) -> Pending:
    return Pending(asked, DIGITS, NoFuture(), len(asked), asked.nbytes)  # type: ignore[arg-type]


def drain(lane: Lane) -> list[list[Share]]:
    calls = []
    while shares := lane.take(0.0):
        calls.append(shares)
    return calls


@given(st.lists(st.tuples(CLIENTS, st.integers(1, 40)), max_size=30), st.integers(1, 16))
def test_every_item_travels_once_in_calls_that_are_full(
    asked: list[tuple[str, int]], most: int
) -> None:
    lane = Lane(most)
    queued = [waiting(question(items, client=client)) for client, items in asked]
    for one in queued:
        lane.add(one)
    total = sum(items for _, items in asked)
    assert lane.items == total
    calls = drain(lane)
    sizes = [sum(share.count for share in call) for call in calls]
    assert all(size == most for size in sizes[:-1])
    assert sum(sizes) == total
    assert lane.items == 0
    assert lane.oldest == float("inf")
    for one in queued:
        spans = sorted(
            (share.start, share.count) for call in calls for share in call if share.pending is one
        )
        assert [start for start, _ in spans] == [
            sum(count for _, count in spans[:place]) for place in range(len(spans))
        ]
        assert sum(count for _, count in spans) == len(one.question)


def test_a_call_of_many_items_starves_nobody() -> None:
    lane = Lane(8)
    lane.add(waiting(question(10_000, client="anna")))
    lane.take(0.0)
    small = waiting(question(1, client="ben"))
    lane.add(small)
    next_call, after = lane.take(0.0), lane.take(0.0)
    assert small in [share.pending for share in [*next_call, *after]]


def test_a_clients_own_small_questions_pass_its_large_one() -> None:
    lane = Lane(8)
    lane.add(waiting(question(100, client="anna")))
    small = [waiting(question(1, client="anna")) for _ in range(3)]
    for one in small:
        lane.add(one)
    lane.take(0.0)
    second = [share.pending for share in lane.take(0.0)]
    assert second[:3] == small


def test_clients_share_a_call_evenly() -> None:
    lane = Lane(9)
    for client in ("anna", "ben", "cleo"):
        for _ in range(50):
            lane.add(waiting(question(1, client=client)))
    counts = Counter(share.pending.question.principal.name for share in lane.take(0.0))
    assert counts == {"anna": 3, "ben": 3, "cleo": 3}


@given(st.lists(st.tuples(CLIENTS, st.integers(1, 20), st.booleans()), min_size=1, max_size=20))
def test_closed_questions_are_skipped_and_their_places_given_to_others(
    asked: list[tuple[str, int, bool]],
) -> None:
    lane = Lane(7)
    kept = []
    for client, items, closed in asked:
        one = waiting(question(items, client=client))
        lane.add(one)
        if closed:
            one.closed = True
            lane.drop(one)
        else:
            kept.append(one)
    shares = [share for call in drain(lane) for share in call]
    assert {id(share.pending) for share in shares} == {id(one) for one in kept}
    assert sum(share.count for share in shares) == sum(len(one.question) for one in kept)
    assert lane.items == 0


def test_what_no_longer_waits_is_let_go() -> None:
    lane = Lane(8)
    first, second = waiting(question(100, client="anna")), waiting(question(1, client="ben"))
    lane.add(first)
    lane.add(second)
    lane.take(0.0)
    lane.drop(first)
    assert not any(isinstance(holder, deque) for holder in gc.get_referrers(first))
    assert lane.items == 0
    assert lane.oldest == float("inf")
    assert lane.take(0.0) == []
