"""From a known data set's name to its arrays: fetched, unpacked, read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchkeep.data.address import Address
from torchkeep.data.catalogue import Source
from torchkeep.data.config import DataConfig
from torchkeep.data.fetch import FetchError, Progress, Way
from torchkeep.data.raw import RawData
from torchkeep.data.unpack import archives_in, unpack
from torchkeep.errors import DataError


def acquire(
    source: Source, origin: str | None, scratch: Path, config: DataConfig, progress: Progress
) -> tuple[RawData, str]:
    """Return the data set's arrays, and where they came from.

    `origin` is a folder or a web address; without one the source's own ways are tried in turn.
    `scratch` is an empty folder, which the caller removes. Raises `DataError`.
    """
    if origin is None:
        folder, label = _fetch(source, source.ways, scratch, config, progress)
    elif origin.startswith(("http://", "https://")):
        address = Address.given(origin, source.address.files)
        folder, label = _fetch(source, (address,), scratch, config, progress)
    else:
        folder, label = Path(origin), f"folder {Path(origin).absolute()}"
    progress(f"reading {source.name}")
    return source.read(_unpacked(source, folder, scratch, config), config.caps), label


def _fetch(
    source: Source, ways: Sequence[Way], scratch: Path, config: DataConfig, progress: Progress
) -> tuple[Path, str]:
    """Return the folder that the first way that works has filled, and the way's label."""
    faults = []
    for number, way in enumerate(ways):
        into = scratch / f"way-{number}"
        into.mkdir()
        try:
            way.fetch(into, config, progress)
        except FetchError as error:
            faults.append(f"{way.label}: {error}")
        else:
            return into, way.label
    raise DataError(
        source.name,
        f"cannot be fetched ({'; '.join(faults)})",
        "a network, or a copy of its files",
        remedy=f"Run `torchkeep data {source.name} --from DIR`, where DIR holds {_needs(source)}.",
    )


def _unpacked(source: Source, folder: Path, scratch: Path, config: DataConfig) -> Path:
    """Return the folder with the files themselves: `folder`, or one with what it holds packed."""
    if not folder.is_dir():
        raise DataError(folder, "is not a folder", f"a folder with {_needs(source)}")
    if any((folder / name).exists() for name in source.files):
        return folder
    content = scratch / "content"
    content.mkdir()
    archives = archives_in(folder)
    for archive in [path for path in archives if path.name.startswith(source.archives)] or archives:
        unpack(archive, source.files, content, config.max_download_bytes)
    if not any(content.iterdir()):
        raise DataError(folder, f"holds nothing of {source.name}", _needs(source))
    return content


def _needs(source: Source) -> str:
    address = ", ".join(source.address.files)
    return f"{address} or the {source.package.label}"
