"""The archive of training sets: what each model version was trained on, and what came before it.

    training-sets/<model>/history.json     which version was trained on which set, oldest first
    training-sets/<model>/<digest>.set     the sets, each named by its content

Nothing is ever replaced by something else: a version that is trained anew on other images gets a
new line in the history, and the former set stays.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from torchkeep.atomic_file import write_atomic
from torchkeep.data.dataset import Dataset
from torchkeep.data.splits import Splits
from torchkeep.data.training_set import TrainingSet
from torchkeep.errors import DataError, SettingsError
from torchkeep.paths import Home

HISTORY = "history.json"
SHORTEST_DIGEST = 8
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TYPES = {"version": str, "digest": str, "source": str, "archived_ns": int}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a model's history; `source` says where the data came from."""

    version: str
    digest: str
    source: str
    archived_ns: int


@dataclass(frozen=True, slots=True)
class TrainingSets:
    """The training sets that are archived below one folder."""

    folder: Path

    @classmethod
    def of(cls, home: Home) -> TrainingSets:
        """The archive of a home."""
        return cls(home.root / "training-sets")

    def models(self) -> list[str]:
        """Return the names of the models that have a history."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{HISTORY}"))

    def history(self, model: str) -> list[Entry]:
        """Return a model's history, oldest first. Raises `SettingsError` if there is none."""
        if model not in self.models():
            remedy = _nearest(model, self.models()) or "Train it; training archives what it used."
            raise SettingsError(f"no training set of {model!r} is archived", remedy=remedy)
        return _read_history(self.folder / model / HISTORY)

    def find(self, model: str, wanted: str) -> Entry:
        """Return the entry of a version (its newest), of `version~n` (the n-th before that), or of
        the beginning of a digest.

        Raises `SettingsError` that names the nearest if there is none.
        """
        entries = self.history(model)
        version, _, back = wanted.partition("~")
        same = [entry for entry in entries if entry.version == version]
        if same and (back or "0").isdecimal() and int(back or "0") < len(same):
            return same[-1 - int(back or "0")]
        if len(wanted) >= SHORTEST_DIGEST:
            for entry in reversed(entries):
                if entry.digest.startswith(wanted):
                    return entry
        known = [each.version for each in entries]
        raise SettingsError(
            f"no training set of {model} {wanted!r} is archived", remedy=_nearest(wanted, known)
        )

    def before(self, model: str, entry: Entry) -> Entry | None:
        """Return the iteration before: the last line above that names another set, if any."""
        entries = self.history(model)
        above = entries[: entries.index(entry)]
        return next((each for each in reversed(above) if each.digest != entry.digest), None)

    def load(self, model: str, entry: Entry) -> TrainingSet:
        """Return the set of an entry. Raises `DataError` if its file is missing or was changed."""
        path = self._path(model, entry.digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(path, f"{error.strerror}", "an archived training set") from error
        found = hashlib.sha256(content).hexdigest()
        if found != entry.digest:
            raise DataError(path, f"was changed: SHA-256 {found[:12]}…", f"{entry.digest[:12]}…")
        return TrainingSet.from_bytes(content, path)

    def add(self, model: str, version: str, training_set: TrainingSet, source: str) -> str:
        """Archive what a version was trained on, and return the set's digest.

        A set that is there is not written again, and a version's newest line not repeated.
        """
        content = training_set.to_bytes()
        digest = hashlib.sha256(content).hexdigest()
        with self._locked(model):
            path = self._path(model, digest)
            if not path.exists() or path.read_bytes() != content:
                write_atomic(path, content)
            self._note(model, version, digest, source)
        return digest

    def _note(self, model: str, version: str, digest: str, source: str) -> None:
        path = self.folder / model / HISTORY
        entries = _read_history(path) if path.exists() else []
        newest = next((each for each in reversed(entries) if each.version == version), None)
        if newest and (newest.digest, newest.source) == (digest, source):
            return
        now = time.time_ns()
        entries.append(Entry(version=version, digest=digest, source=source, archived_ns=now))
        document = {"schema": 1, "entries": [asdict(entry) for entry in entries]}
        write_atomic(path, orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def _path(self, model: str, digest: str) -> Path:
        return self.folder / model / f"{digest}.set"

    @contextmanager
    def _locked(self, model: str) -> Iterator[None]:
        """Let one process at a time write a model's history."""
        (self.folder / model).mkdir(parents=True, exist_ok=True)
        with (self.folder / model / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def archive_training_set(
    home: Home,
    name: str,
    version: str,
    dataset: Dataset,
    splits: Splits,
    *,
    cleaned: Mapping[str, Any] | None = None,
) -> str:
    """Archive the train images of `splits` as what a model version was trained on.

    Returns the set's digest. Raises `OSError` if it cannot be written.
    """
    training_set = TrainingSet.of(dataset, splits, cleaned=cleaned)
    return TrainingSets.of(home).add(name, version, training_set, dataset.source)


def _read_history(path: Path) -> list[Entry]:
    try:
        raw = orjson.loads(path.read_bytes())
        entries = [_entry(each) for each in raw["entries"]]
        if raw["schema"] != 1 or not entries:
            raise ValueError("another schema, or empty")
    except OSError as error:
        raise DataError(path, f"{error.strerror}", "the history of a model") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            path,
            f"is damaged ({error})",
            "the history of a model",
            remedy="Put back a copy of it; the sets beside it are whole for themselves.",
        ) from error
    return entries


def _entry(raw: Mapping[str, Any]) -> Entry:
    if raw.keys() != _TYPES.keys() or not all(
        type(raw[key]) is kind for key, kind in _TYPES.items()
    ):
        raise TypeError("a line that does not fit")
    if not _DIGEST.fullmatch(raw["digest"]) or not 0 <= raw["archived_ns"] < 2**63:
        raise ValueError("a digest or a time that is none")
    return Entry(**raw)


def _nearest(wanted: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)
    return f"Did you mean {near[0]!r}?" if near else ""
