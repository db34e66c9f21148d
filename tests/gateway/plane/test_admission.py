"""Who is let into the queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plane.admission import Admission
from gateway.plane.rate import LEAST_WAIT_S, MOST_WAIT_S, ServiceRate
from gateway.refusal import Code, Refusal


def refusal_of(admission: Admission, client: str) -> Refusal | None:
    """Have a client ask for one item; return what it is told if it does not get in."""
    try:
        admission.enter(client, 1, 64, 3.0)
    except Refusal as refusal:
        return refusal
    return None


def fill(admission: Admission, client: str) -> int:
    """Have a client ask for single items until it is refused; return how many it got in."""
    count = 0
    while (refusal := refusal_of(admission, client)) is None:
        count += 1
    assert (refusal.code, refusal.retry_after_s) == (Code.BUSY, 3.0)
    assert "try again in 3 s" in refusal.message
    return count


def test_a_greedy_client_leaves_room_for_the_next_ones() -> None:
    admission = Admission(most_items=1024, most_bytes=10**9)
    got = [fill(admission, client) for client in ("anna", "ben", "cleo")]
    assert got == [512, 256, 128]


def test_bytes_are_bounded_too() -> None:
    admission = Admission(most_items=10**6, most_bytes=10 * 64)
    assert fill(admission, "anna") == 10


def test_what_leaves_makes_room() -> None:
    admission = Admission(most_items=10, most_bytes=10**9)
    for _ in range(5):
        admission.enter("anna", 1, 64, 1.0)
    with pytest.raises(Refusal):
        admission.enter("anna", 1, 64, 1.0)
    admission.leave("anna", 1, 64)
    admission.enter("anna", 1, 64, 1.0)
    assert (admission.items, admission.bytes) == (5, 320)


def test_what_could_never_fit_is_no_matter_of_time() -> None:
    admission = Admission(most_items=10, most_bytes=1000)
    for items, nbytes in ((6, 384), (1, 1001)):
        with pytest.raises(Refusal) as caught:
            admission.enter("anna", items, nbytes, 1.0)
        assert caught.value.code is Code.TOO_LARGE
        assert caught.value.retry_after_s is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=50))
def test_counts_return_to_zero(asked: list[tuple[str, int]]) -> None:
    admission = Admission(most_items=60, most_bytes=10**6)
    inside = []
    for client, items in asked:
        try:
            admission.enter(client, items, 64 * items, 1.0)
        except Refusal:
            continue
        inside.append((client, items))
        assert admission.items <= 60
    for client, items in inside:
        admission.leave(client, items, 64 * items)
    assert (admission.items, admission.bytes) == (0, 0)


def test_the_wait_follows_the_measured_rate() -> None:
    rate = ServiceRate()
    assert rate.wait_s(1000) == LEAST_WAIT_S
    for _ in range(1000):
        rate.busy(0.1)
        rate.served(50)  # 500 items a second
    assert rate.wait_s(5000) == pytest.approx(10.0, rel=0.01)
    assert rate.wait_s(1) == LEAST_WAIT_S
    assert rate.wait_s(10**9) == MOST_WAIT_S
    for _ in range(1000):
        rate.busy(0.1)
        rate.served(5)  # it has become slow
    assert rate.wait_s(500) == pytest.approx(10.0, rel=0.01)
