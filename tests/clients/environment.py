"""The clients' own environment."""

from __future__ import annotations

from pathlib import Path

from tests.house.source_files import ROOT
from tests.own_environment import python_of

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".torchkeep" / "clients"
INSTALL_S = 1200


def peer_python() -> Path:
    """Return its interpreter, having made it if need be."""
    return python_of(FOLDER, REQUIREMENTS, install_s=INSTALL_S)
