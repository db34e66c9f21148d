"""Where Torchkeep keeps things on one machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of everything that is made rather than written: data, artifacts, logs, state."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        """`TORCHKEEP_HOME` if set, else `.torchkeep` in the current directory."""
        return cls(Path(os.environ.get("TORCHKEEP_HOME", ".torchkeep")).absolute())

    @property
    def data(self) -> Path:
        """Verified data files, one folder a data set."""
        return self.root / "data"

    @property
    def artifacts(self) -> Path:
        """Trained model artifacts, one folder each."""
        return self.root / "artifacts"

    @property
    def runs(self) -> Path:
        """Checkpoints and curves of trainings in progress, one folder each."""
        return self.root / "runs"

    @property
    def evaluations(self) -> Path:
        """What attacks did to each test image, and the reports of it; one folder an evaluation."""
        return self.root / "evaluations"

    @property
    def request_log(self) -> Path:
        """Segments of the request log."""
        return self.root / "request-log"

    @property
    def run(self) -> Path:
        """State, keys, sockets and logs of the running server; mode 0700."""
        return self.root / "run"
