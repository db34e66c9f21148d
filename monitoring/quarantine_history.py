"""How many lines were set aside in a span: the log store counts them all, over all time.

The totals are remembered with the time they were first seen, so that a line that was damaged last
month is no news today. One JSON file, written whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from torchkeep.atomic_file import write_atomic
from torchkeep.errors import DataError

MOST_TOTALS = 1000
"""Older ones are dropped."""


class _Totals(msgspec.Struct, frozen=True):
    at_ns: int
    by_fault: dict[str, int]


class QuarantineHistory:
    """The totals of one log, in the file `path`."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made by the first total that is kept."""
        self.path = path

    def since(self, start_ns: int | None, totals: Mapping[str, int]) -> dict[str, int]:
        """Return how many of the lines were first seen after `start_ns`, by fault; None: all.

        Raises `DataError` if the file holds something else.
        """
        before: Mapping[str, int] = {}
        for known in self._read():
            if start_ns is not None and known.at_ns <= start_ns:
                before = known.by_fault
        new = {fault: count - before.get(fault, 0) for fault, count in totals.items()}
        return {fault: count for fault, count in new.items() if count > 0}

    def keep(self, totals: Mapping[str, int], *, now_ns: int) -> None:
        """Remember totals that are not those of before. Raises as `since` does."""
        known = self._read()
        if dict(totals) != (known[-1].by_fault if known else {}):
            kept = [*known, _Totals(now_ns, dict(totals))][-MOST_TOTALS:]
            write_atomic(self.path, msgspec.json.encode(kept), mode=0o600)

    def _read(self) -> list[_Totals]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[_Totals])
        except FileNotFoundError:
            return []
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(
                self.path, f"it holds no totals ({error})", "a list of totals", remedy="Delete it."
            ) from error
