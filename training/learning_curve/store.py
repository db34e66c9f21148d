"""Finished trainings of learning curves, one small file each, so that none is done twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from torchkeep.atomic_file import write_atomic
from training.learning_curve.curve import Point


@dataclass(frozen=True, slots=True)
class PointStore:
    """The files below `folder`; one is named by the hash of all that its training depends on."""

    folder: Path

    def get(self, made_of: Mapping[str, Any]) -> Point | None:
        """Return a finished training; None if there is none, or its file is broken."""
        try:
            return Point(**orjson.loads(self._path(made_of).read_bytes())["point"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, made_of: Mapping[str, Any], point: Point) -> None:
        """Keep a finished training. Raises `OSError` and then leaves nothing."""
        content = {"point": asdict(point), "made_of": dict(made_of)}
        write_atomic(self._path(made_of), orjson.dumps(content, option=orjson.OPT_INDENT_2))

    def _path(self, made_of: Mapping[str, Any]) -> Path:
        content = orjson.dumps(dict(made_of), option=orjson.OPT_SORT_KEYS)
        return self.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
