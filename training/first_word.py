"""Of several processes that fail alike, one speaks: the first.

The launcher of `--processes` makes a folder and names it in the environment; whoever makes a file
in it first has the word. Processes that torchrun started have no such folder.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "TRAINING_FIRST_WORD"


def has_the_word() -> bool | None:
    """Say whether this process is the first to speak; None if nobody keeps count."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return None
    try:
        os.close(os.open(Path(folder) / "said", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True
