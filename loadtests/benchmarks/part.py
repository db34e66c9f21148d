"""One part of a benchmark's result: what was measured, what was aimed at, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """An aim and whether it is met; `met` is None where that cannot be told."""

    what: str
    met: bool | None

    def line(self) -> str:
        """Return the aim as a line of text."""
        word = {True: "met", False: "NOT MET", None: "not to be told here"}[self.met]
        return f"{self.what}: {word}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A titled list of lines, with its goals and its numbers."""

    title: str
    lines: Sequence[str]
    goals: Sequence[Goal]
    numbers: Mapping[str, Any]

    def text(self) -> str:
        """Return it for people."""
        return "\n".join([self.title, *self.lines, *(goal.line() for goal in self.goals)]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        goals = [asdict(goal) for goal in self.goals]
        return {"title": self.title, "goals": goals, **self.numbers}
