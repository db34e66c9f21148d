"""When a child that ended is started again; the clock is set by hand."""

from __future__ import annotations

import pytest

from release.child import FIRST_DELAY_S, HEALED_AFTER_S, LONGEST_DELAY_S, Keeper, how_it_ended
from release.process import ProcessId
from torchkeep.errors import ServerError


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Scripted:
    """A child that serves, or fails, as it is told."""

    identity: ProcessId | None = None

    def __init__(self) -> None:
        self.fault = ""
        self.serves = True
        self.startable = True
        self.started = 0
        self.abandoned = 0

    def start(self) -> None:
        self.started += 1
        if not self.startable:
            raise OSError("no memory")

    def look(self) -> bool:
        if self.fault:
            raise ServerError(self.fault)
        return self.serves

    def abandon(self) -> None:
        self.abandoned += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("release.child.time", clock)
    return clock


def seconds_until_start(keeper: Keeper, child: Scripted, clock: Clock) -> float:
    """Look every tenth of a second until the child is started; return how long that took."""
    began, before = clock.now, child.started
    while child.started == before:
        keeper.look()
        clock.now += 0.1
    return clock.now - began - 0.1


def test_it_is_started_again_less_and_less_soon(clock: Clock) -> None:
    child = Scripted()
    keeper = Keeper(child)
    assert keeper.look()
    child.fault = "it died"
    assert not keeper.look()
    assert (keeper.fault, child.abandoned, child.started) == ("it died", 0, 0)
    keeper.look()
    keeper.look()
    assert (child.abandoned, child.started) == (1, 0)
    waits = [seconds_until_start(keeper, child, clock) for _ in range(9)]
    expected = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert waits == pytest.approx(expected, abs=0.25)
    assert keeper.restarts == 9
    assert child.abandoned == 9


def test_one_that_may_start_at_once_does_so_only_the_first_time(clock: Clock) -> None:
    child = Scripted()
    keeper = Keeper(child, first_delay_s=0.0)
    child.fault = "it died"
    keeper.look()
    waits = [seconds_until_start(keeper, child, clock) for _ in range(3)]
    assert waits == pytest.approx([0, 0.5, 1], abs=0.15)


def test_it_serves_again_once_it_says_so(clock: Clock) -> None:
    child = Scripted()
    keeper = Keeper(child)
    child.fault = "it died"
    keeper.look()
    child.fault, child.serves = "", False
    clock.now += FIRST_DELAY_S
    assert not keeper.look()
    assert keeper.fault == "it died", "told until it serves again"
    child.serves = True
    assert keeper.look()
    assert keeper.fault == ""
    assert keeper.restarts == 1


@pytest.mark.parametrize(
    ("served_s", "next_wait_s"),
    [(HEALED_AFTER_S - 1, 2 * FIRST_DELAY_S), (HEALED_AFTER_S, FIRST_DELAY_S)],
)
def test_long_service_makes_the_next_end_the_first(
    clock: Clock, served_s: float, next_wait_s: float
) -> None:
    child = Scripted()
    keeper = Keeper(child)
    child.fault = "it died"
    keeper.look()
    child.fault = ""
    clock.now += FIRST_DELAY_S
    assert keeper.look()
    clock.now += served_s
    child.fault = "it died again"
    assert not keeper.look()
    assert seconds_until_start(keeper, child, clock) == pytest.approx(next_wait_s, abs=0.15)


def test_what_cannot_even_be_started_is_tried_again(clock: Clock) -> None:
    child = Scripted()
    keeper = Keeper(child)
    child.fault, child.startable = "it died", False
    keeper.look()
    for _ in range(20):
        clock.now += LONGEST_DELAY_S
        assert not keeper.look()
    assert keeper.fault == "no start: no memory"
    child.fault, child.startable = "", True
    clock.now += LONGEST_DELAY_S
    assert keeper.look()


def test_the_end_of_a_process_in_words() -> None:
    assert how_it_ended(-9) == "was killed by signal 9"
    assert how_it_ended(2) == "ended with exit code 2"
