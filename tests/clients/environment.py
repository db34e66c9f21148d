"""The peers' own environment: made once, and anew whenever what it is to hold has changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.house.source_files import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".torchkeep" / "clients"
INSTALL_S = 1200


def peer_python() -> Path:
    """Return the interpreter of the environment, having made it if need be."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / REQUIREMENTS.name
    wanted = REQUIREMENTS.read_bytes()
    if stamp.exists() and stamp.read_bytes() == wanted and python.exists():
        return python
    shutil.rmtree(FOLDER, ignore_errors=True)
    venv.create(FOLDER, with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(python), "--no-input", "install", "-qq"]
    subprocess.run([*command, "-r", str(REQUIREMENTS)], check=True, timeout=INSTALL_S)
    stamp.write_bytes(wanted)
    return python
