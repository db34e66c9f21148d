"""Environments of their own for foreign parts: made once, and anew when their list has changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path


def python_of(folder: Path, requirements: Path, *, install_s: float) -> Path:
    """Return the interpreter of the environment in `folder`, having made it if need be."""
    python, stamp = folder / "bin" / "python", folder / requirements.name
    wanted = requirements.read_bytes()
    if stamp.exists() and stamp.read_bytes() == wanted and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(python), "--no-input", "install", "-qq"]
    subprocess.run([*command, "-r", str(requirements)], check=True, timeout=install_s)
    stamp.write_bytes(wanted)
    return python
