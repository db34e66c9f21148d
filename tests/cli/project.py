"""A folder in which the command runs, with a free port for every listener."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.ports import GATEWAY_PORTS
from release.server_config import PORTS


@dataclass(frozen=True, slots=True)
class Project:
    """Runs the command in `folder` as a user would, and reads what it prints."""

    folder: Path

    def run(
        self, *words: str, seconds: float = 240, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; text in, text out."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def json(self, *words: str, seconds: float = 240) -> dict[str, Any]:
        """Run the command with --json and return what it prints, all of it."""
        done = self.run(*words, "--json", seconds=seconds)
        assert done.returncode in (0, 1), done.stderr  # 1: `status` where nothing runs
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    @staticmethod
    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "torchkeep.cli", *words]

    @property
    def environment(self) -> dict[str, str]:
        ours = {name: text for name, text in os.environ.items() if "TORCHKEEP" not in name}
        free = {f"TORCHKEEP_SERVER_{name.upper()}": "0" for name in PORTS}
        free |= {f"TORCHKEEP_GATEWAY_{name.upper()}": "0" for name in GATEWAY_PORTS}
        return ours | free | {"COLUMNS": "120"}
