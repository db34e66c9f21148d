"""The real command in a process of its own, and a machine that reaches no network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CLOSED = "http://127.0.0.1:9"
"""Nothing listens on the discard port of this machine."""

NO_NETWORK = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": f"{CLOSED}/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_NO_CACHE_DIR": "1",
    "HTTP_PROXY": CLOSED,
    "HTTPS_PROXY": CLOSED,
    "http_proxy": CLOSED,
    "https_proxy": CLOSED,
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


def data_command(*arguments: str) -> list[str]:
    """Return the command line of `torchkeep data` with some arguments."""
    return [sys.executable, "-c", "from torchkeep.cli.main import main; main()", "data", *arguments]


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment, with Torchkeep's home elsewhere."""
    return {**os.environ, "TORCHKEEP_HOME": str(home), **(extra or {})}


def run_data(
    home: Path, *arguments: str, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `torchkeep data` to its end, from the folder above the home."""
    return subprocess.run(
        data_command(*arguments),
        cwd=home.parent,
        env=environment(home, extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def left_in(folder: Path) -> set[str]:
    """Return the names of what lies in a folder, lock files aside."""
    if not folder.exists():
        return set()
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}
