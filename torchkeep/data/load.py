"""A data set by its name or its path."""

from __future__ import annotations

import difflib
from pathlib import Path

from torchkeep.data.acquire import acquire
from torchkeep.data.cache import fetching, read_cache, write_cache
from torchkeep.data.catalogue import CATALOGUE, Source
from torchkeep.data.config import DataConfig
from torchkeep.data.dataset import Dataset
from torchkeep.data.fetch import Progress
from torchkeep.data.own import load_own
from torchkeep.errors import DataError, SettingsError


def load_dataset(
    name_or_path: str,
    *,
    config: DataConfig,
    origin: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Return a data set of the catalogue, or the user's own at a path.

    A known one is fetched once (from `origin`, a folder or a web address, if given), verified and
    kept; after that its copy is verified and read. `progress` is called with a line for each step.
    Raises `DataError` that names the file at fault, or what to do without a network.
    """
    source = CATALOGUE.get(name_or_path)
    if source is not None:
        return _load_known(source, config, origin, progress or _silent)
    if origin is not None:
        raise SettingsError(
            f"{name_or_path!r} is fetched from nowhere",
            remedy=f"Give --from with one of: {', '.join(CATALOGUE)}.",
        )
    return _load_path(name_or_path, config)


def _load_known(
    source: Source, config: DataConfig, origin: str | None, progress: Progress
) -> Dataset:
    folder = config.folder(source.name)
    try:
        if origin is not None or not folder.exists():
            with fetching(folder) as scratch:
                # Another process may have fetched it while this one waited for its turn.
                if origin is not None or not folder.exists():
                    raw, label = acquire(source, origin, scratch, config, progress)
                    write_cache(source, raw, label, folder)
        return read_cache(source, folder, config.caps)
    except OSError as error:
        raise DataError(
            error.filename or folder,
            f"{error.strerror or error}",
            "a folder that can be written, with room for the data set",
            remedy="Free some space, or set `directory` in [data] to another folder.",
        ) from error


def _load_path(name: str, config: DataConfig) -> Dataset:
    path = Path(name)
    try:
        if not path.exists():
            raise _unknown(name)
        return load_own(path, config)
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
        raise DataError(error.filename or path, fault, "data to read") from error


def _unknown(name: str) -> DataError:
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else ""
    known = ", ".join(CATALOGUE)
    return DataError(name, "is no known data set and no path", f"{known}, or a path", remedy=remedy)


def _silent(line: str) -> None:
    """Report nothing."""
