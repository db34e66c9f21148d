"""Progress of long work on stderr: a bar on a terminal, a line a step elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Report(Protocol):
    """What long work calls with a step's name, how much is done and how much there is."""

    def __call__(self, step: str, done: int, total: int) -> None: ...


@contextmanager
def progress() -> Iterator[Report]:
    """Yield a report function for the steps of one piece of long work."""
    console = Console(stderr=True)
    with _bars(console) if console.is_terminal else _lines(console) as report:
        yield report


@contextmanager
def _bars(console: Console) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        TextColumn("{task.completed:>6}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield report


@contextmanager
def _lines(console: Console) -> Iterator[Report]:
    tenths: dict[str, int] = {}

    def report(step: str, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenths.get(step) != tenth:
            tenths[step] = tenth
            console.print(f"{step} {done}/{total}", highlight=False)

    yield report
