"""Matplotlib, kept out of the home directory, out of global state and out of fast starts.

It takes a second to import and writes a cache of fonts where `MPLCONFIGDIR` points.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ONE_AT_A_TIME = threading.Lock()
"""Matplotlib's settings are global: only one thread may draw with ours."""


def prepare() -> None:
    """Point Matplotlib's folder to the temporary directory, unless the user chose one."""
    folder = Path(tempfile.gettempdir()) / f"torchkeep-matplotlib-{os.getuid()}"
    os.environ.setdefault("MPLCONFIGDIR", str(folder))
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


@contextmanager
def drawing(settings: Mapping[str, Any]) -> Iterator[None]:
    """Draw with Matplotlib's defaults and `settings`, whatever a matplotlibrc says, in the block.

    A character that no font here has is the browser's to show, so its warning is dropped.
    """
    prepare()
    import matplotlib.style

    defaults = matplotlib.style.context(["default", dict(settings)])
    with _ONE_AT_A_TIME, defaults, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
