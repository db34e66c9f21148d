"""The log of trainings: one line of JSON for each, as its artifact's record has it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import orjson

from torchkeep.artifact import ModelArtifact
from torchkeep.paths import Home


def train_log(home: Home) -> Path:
    """Return where the log lies."""
    return home.root / "train-log.jsonl"


def log_training(home: Home, artifact: ModelArtifact) -> None:
    """Append a training's record, and the digest of what it made, with one write."""
    record = dict(artifact.manifest.train_record) | {"artifact_digest": artifact.digest}
    line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    path = train_log(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)
