"""Compacts a log and kills itself at a named point: killed.py STORE LOG POINT.

POINT is "parts" (they are written, the ledger is not) or "ledger" (half the rounds are in it).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from monitoring.store import LogStore
from monitoring.storing import compaction, rounds


def main(store: str, log: Path, point: str) -> None:
    compaction.ROUND_BYTES = 10_000  # several rounds
    really_write, written = rounds.write_entry, 0

    def kill_around(*arguments: Any) -> None:
        nonlocal written
        if point == "parts":
            os.kill(os.getpid(), signal.SIGKILL)
        really_write(*arguments)
        written += 1
        if written == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    rounds.write_entry = kill_around
    LogStore(store, log).compact(keep_segments=False)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
