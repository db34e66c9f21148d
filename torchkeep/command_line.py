"""How a command ends: a known error is one line on stderr and its exit code; so is a signal."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from types import FrameType

from rich.console import Console

from torchkeep.errors import TorchkeepError, UserError
from torchkeep.printable import printable

OUR_SURROUNDINGS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""Errors that are the machine's, not ours: a full disk, a place that may not be written."""


def run(command: Callable[[], object]) -> None:
    """Run a command in the main thread; end the process if it fails or is interrupted."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _end)
    try:
        command()
    except TorchkeepError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        if error.errno not in OUR_SURROUNDINGS:
            raise
        complain(f"{error.strerror}: {error.filename or 'while writing'}")
        sys.exit(UserError.exit_code)


def complain(message: str) -> None:
    """Print an error on stderr, on one line."""
    console = Console(stderr=True, soft_wrap=True)
    console.print("[bold red]error:[/]", end=" ")
    safe = "\n".join(map(printable, message.split("\n")))
    console.print(safe, markup=False, highlight=False)


def _end(number: int, _: FrameType | None) -> None:
    """End by an exception, so that what was begun is cleaned up; a second signal does not wait."""
    signal.signal(number, signal.SIG_DFL)
    complain("interrupted")
    sys.exit(128 + number)
