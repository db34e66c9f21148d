"""The data of a training: loaded, cleaned, split, and afterwards archived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from torchkeep.artifact import ModelArtifact
from torchkeep.data import (
    CleanedIndex,
    DataConfig,
    Dataset,
    Splits,
    SplitSpec,
    archive_training_set,
    load_dataset,
    require_scanned,
    split,
)
from torchkeep.paths import Home
from torchkeep.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A data set and its splits; `index` tells which of its images were left out."""

    dataset: Dataset
    splits: Splits
    index: CleanedIndex | None

    @classmethod
    def load(cls, name: str, *, index: Path | None = None) -> Material:
        """Fetch or read a data set and split it, as the settings say; leave out what `index` says.

        Raises `DataError`.
        """
        dropped = CleanedIndex.read(index) if index else None
        return cls._of(name, dropped)

    @classmethod
    def recorded(cls, name: str, cleaned: Mapping[str, object] | None) -> Material:
        """Load a data set again, without the images that a train record says were left out."""
        return cls._of(name, CleanedIndex.from_json(cleaned) if cleaned else None)

    @classmethod
    def _of(cls, name: str, index: CleanedIndex | None) -> Material:
        console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        config = Settings.load().section("data", DataConfig)
        dataset = load_dataset(name, config=config, progress=console.print)
        if index is not None:
            dataset = index.apply(dataset)
        return cls(dataset=dataset, splits=split(dataset, SplitSpec()), index=index)

    @property
    def cleaned(self) -> Mapping[str, object] | None:
        """What a train record says of the images left out."""
        return self.index.to_json() if self.index else None

    def require_scanned(self, *, told: bool) -> None:
        """Refuse third-party data that nobody has scanned for poison, unless `told` to take it.

        An index alone is no proof of a scan: what it leaves was noted where the scan was made.
        """
        require_scanned(self.dataset, told=told)

    def archive(self, home: Home, artifact: ModelArtifact) -> None:
        """Keep what a version was trained on: which images, and the hash of each."""
        manifest = artifact.manifest
        archive_training_set(
            home,
            manifest.name,
            manifest.version,
            self.dataset,
            self.splits,
            cleaned=self.cleaned,
        )
