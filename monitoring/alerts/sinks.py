"""Where alerts are told: what every sink can do, and all of them at once within a deadline."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from monitoring.alerts.events import Event, Status
from torchkeep.printable import printable


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many of the events, from the first on, a sink has taken; and why not all."""

    delivered: int
    fault: str = ""


class Sink(Protocol):
    """Someone to tell."""

    name: str
    repeats: bool
    """Whether it wants to hear of every firing alert at each evaluation."""

    async def deliver(self, events: Sequence[Event], now_ns: int) -> Outcome:
        """Tell of the events, oldest first; whatever fails is an `Outcome`, not an error."""
        ...


class LogSink:
    """One line for each event, by the logger `monitoring.alerts`."""

    name = "log"
    repeats = False

    def __init__(self) -> None:
        """Log as the program has set up logging; without that, lines go to stderr."""
        self._logger = logging.getLogger("monitoring.alerts")

    async def deliver(self, events: Sequence[Event], now_ns: int) -> Outcome:
        """Log the events; the end of an alert is logged like its begin, so that both are seen."""
        for event in events:
            self._logger.warning("%s", _line(event))
        return Outcome(len(events))


def deliver_all(
    work: Mapping[Sink, Sequence[Event]], now_ns: int, deadline_s: float
) -> dict[str, Outcome]:
    """Tell all sinks, side by side; returns their outcomes by name after `deadline_s` at most."""
    if not any(work.values()):
        return {sink.name: Outcome(0) for sink in work}
    told: Future[dict[str, Outcome]] = Future()

    def tell() -> None:
        try:
            asyncio.run(_deliver_all(work, now_ns, deadline_s, told))
        except BaseException as error:
            if told.done():  # nobody waits any more
                raise
            told.set_exception(error)

    with _without_addresses():
        # a notebook has a loop of its own; and ours cannot end before a name server has answered
        threading.Thread(target=tell, name="alerts", daemon=True).start()
        return told.result()


async def _deliver_all(
    work: Mapping[Sink, Sequence[Event]],
    now_ns: int,
    deadline_s: float,
    told: Future[dict[str, Outcome]],
) -> None:
    tasks = [_within(deadline_s, sink, events, now_ns) for sink, events in work.items()]
    outcomes = await asyncio.gather(*tasks)
    told.set_result({sink.name: outcome for sink, outcome in zip(work, outcomes, strict=True)})


async def _within(deadline_s: float, sink: Sink, events: Sequence[Event], now_ns: int) -> Outcome:
    try:
        async with asyncio.timeout(deadline_s):
            return await sink.deliver(events, now_ns)
    except TimeoutError:
        return Outcome(0, f"not done within {deadline_s:g} s")
    except Exception as error:  # must not cost the other sinks their news, nor these theirs
        return Outcome(0, f"failed: {type(error).__name__}")


@contextmanager
def _without_addresses() -> Iterator[None]:
    """Keep httpx from logging the addresses it calls: a webhook's may hold a secret."""
    logger = logging.getLogger("httpx")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _line(event: Event) -> str:
    labels = ", ".join(f"{name} {value}" for name, value in sorted(event.labels.items()))
    told = event.annotations
    value = f" ({told['value']})" if told.get("value") else ""
    state = "firing" if event.status is Status.FIRING else "over"
    # a label must not forge a line of its own
    return printable(f"alert {state}: {told['condition']}{value}; {labels}")
