"""The command in the process of the tests, which has imported torch: for what ends soon, and often.

A process of its own is the truth where signals, exits of children or clean streams are at stake.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from torchkeep.cli.main import main


@dataclass(frozen=True, slots=True)
class Done:
    """How the command ended, as `subprocess.CompletedProcess` tells it."""

    returncode: int
    stdout: str
    stderr: str


def run_here(folder: Path, *words: str, **variables: str) -> Done:
    """Run the command in `folder` as `python -m torchkeep.cli` does."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        patch.dict(os.environ, {"COLUMNS": "200"} | variables),
        patch.object(sys, "argv", ["torchkeep", *words]),
        _signals_kept(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Done(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
