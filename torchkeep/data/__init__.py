"""Data sets: fetched, verified, read with bounds, and split. NumPy and Pillow only, no torch."""

from __future__ import annotations

from torchkeep.data.catalogue import CATALOGUE
from torchkeep.data.cleaned_index import CleanedIndex
from torchkeep.data.config import Caps, DataConfig
from torchkeep.data.dataset import Dataset, ImageSet
from torchkeep.data.load import load_dataset
from torchkeep.data.rebuilding import compare, rebuild
from torchkeep.data.scan_record import ScanRecord, require_scanned
from torchkeep.data.splits import SplitRecord, Splits, SplitSpec, split
from torchkeep.data.training_set import TrainingSet
from torchkeep.data.training_sets import TrainingSets, archive_training_set

__all__ = [
    "CATALOGUE",
    "Caps",
    "CleanedIndex",
    "DataConfig",
    "Dataset",
    "ImageSet",
    "ScanRecord",
    "SplitRecord",
    "SplitSpec",
    "Splits",
    "TrainingSet",
    "TrainingSets",
    "archive_training_set",
    "compare",
    "load_dataset",
    "rebuild",
    "require_scanned",
    "split",
]
