"""Data sets: fetched, verified, read with bounds, and split. NumPy and Pillow only, no torch."""

from __future__ import annotations

from torchkeep.data.catalogue import CATALOGUE
from torchkeep.data.config import Caps, DataConfig
from torchkeep.data.dataset import Dataset, ImageSet
from torchkeep.data.load import load_dataset
from torchkeep.data.splits import SplitRecord, Splits, SplitSpec, split

__all__ = [
    "CATALOGUE",
    "Caps",
    "DataConfig",
    "Dataset",
    "ImageSet",
    "SplitRecord",
    "SplitSpec",
    "Splits",
    "load_dataset",
    "split",
]
