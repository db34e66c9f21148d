"""The Adversarial Robustness Toolbox, kept out of the home directory and out of serving.

ART takes seconds to import and writes a folder where `ART_DATA_PATH` points, at import. So modules
that subclass its classes are imported only by those who fit or compare, after `prepare()`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def prepare() -> None:
    """Point ART's data folder to the temporary directory, unless the user chose one."""
    os.environ.setdefault("ART_DATA_PATH", str(Path(tempfile.gettempdir()) / "torchkeep-art"))
