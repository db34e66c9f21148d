"""Detector heads: the part of a detector that is served, free of ART and cheap.

Shapes: B batch, A activations seen by detectors, K classes, N background images.
A head gives each item a score; higher is more suspicious. Calibration, not the head, decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchkeep.errors import ArtifactError


class DetectorHead(nn.Module, ABC):
    """Scores items from what the one forward pass has computed already."""

    kind: ClassVar[str]

    @abstractmethod
    def score(self, activations: Tensor, logits: Tensor) -> Tensor:
        """Return scores (B) from activations (B A) and logits (B K)."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return what `build_head` needs to make this head anew before its state is loaded."""

    def forward(self, activations: Tensor, logits: Tensor) -> Tensor:
        return self.score(activations, logits)


class ActivationHead(DetectorHead):
    """Two-class network on standardised activations (Metzen et al. 2017).

    The score is the logit of "adversarial" minus that of "clean".
    """

    kind = "activation"
    CLIP = 10.0
    """Standardised activations are clipped here, so that one huge value cannot drown the rest."""

    mean: Tensor
    std: Tensor

    def __init__(self, activations: int, hidden: int = 64) -> None:
        super().__init__()
        self.activations, self.hidden = activations, hidden
        self.register_buffer("mean", torch.zeros(activations))
        self.register_buffer("std", torch.ones(activations))
        self.network = nn.Sequential(
            nn.Linear(activations, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )

    def standardise_by(self, activations: Tensor) -> None:
        """Take mean and standard deviation from clean activations (N A)."""
        self.mean.copy_(activations.mean(0))
        self.std.copy_(activations.std(0).clamp_min(1e-3))

    def two_class_logits(self, activations: Tensor) -> Tensor:
        """Return the logits of clean and adversarial: B 2."""
        standard = (activations - self.mean).div_(self.std).clamp_(-self.CLIP, self.CLIP)
        logits: Tensor = self.network(standard)
        return logits

    def score(self, activations: Tensor, logits: Tensor) -> Tensor:
        clean, adversarial = self.two_class_logits(activations).unbind(1)
        return adversarial - clean

    def options(self) -> dict[str, Any]:
        return {"activations": self.activations, "hidden": self.hidden}


class SubsetScanHead(DetectorHead):
    """Berk-Jones scan over the subsets of unusual activations (Cintas et al. 2020).

    Only the first `activations` of those it is given are scanned. Each gets an empirical p-value
    against N background images; the score is
    max_k k ln(1 / p_(k)) over the sorted p-values up to `ALPHA_MAX`, which for a single item is
    ART's `SubsetScanningDetector` in closed form (two_sided=False), and 0 if none is that small.
    """

    kind = "subset_scan"
    ALPHA_MAX = 0.5

    background: Tensor  # A N, ascending
    cells: Tensor  # A 2N
    surprise_in: Tensor  # A 2N+1
    ranks: Tensor  # A

    def __init__(self, activations: int, background: int, two_sided: bool = True) -> None:
        super().__init__()
        self.two_sided = two_sided
        self.register_buffer("background", torch.zeros(activations, background))
        self.register_buffer("ranks", torch.arange(1.0, activations + 1), persistent=False)
        for table in ("cells", "surprise_in"):
            self.register_buffer(table, None, persistent=False)
        self._tabulate()
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda module, _: module._tabulate()
        )

    def learn_background(self, activations: Tensor) -> None:
        """Take the null distribution from clean activations (N A)."""
        self.background.copy_(self._scanned(activations).sort(dim=1).values)
        self._tabulate()

    def surprises(self, activations: Tensor) -> Tensor:
        """Return ln(1 / p) of each activation, 0 where p is above `ALPHA_MAX`: B A to A B."""
        cell = torch.searchsorted(self.cells, self._scanned(activations), right=True)
        return self.surprise_in.gather(1, cell)

    def score(self, activations: Tensor, logits: Tensor) -> Tensor:
        largest = self.surprises(activations).T.sort(dim=1, descending=True).values
        return largest.mul_(self.ranks).amax(1)

    def _scanned(self, activations: Tensor) -> Tensor:
        """Return the leading activations, those that this head scans, one a row."""
        return activations[:, : len(self.background)].T.contiguous()

    def _tabulate(self) -> None:
        """Cut the line into cells of equal surprise, so that one search finds all counts.

        A background value is a cell of its own, which ends just above it: there it counts on both
        sides. Between two of them the counts do not change.
        """
        ordered, total = self.background, self.background.shape[1]
        above = ordered.nextafter(ordered.new_tensor(torch.inf))
        self.cells = torch.cat([ordered, above], dim=1).sort(dim=1).values
        below_all = ordered.new_full((len(ordered), 1), -torch.inf)
        starts = torch.cat([below_all, self.cells], dim=1)
        up_to = torch.searchsorted(ordered, starts, right=True)
        self.surprise_in = self._surprise(up_to, total - torch.searchsorted(ordered, starts))

    def _surprise(self, up_to: Tensor, from_on: Tensor) -> Tensor:
        """Return ln(1 / p) where `up_to` background values are ≤ and `from_on` are ≥ a value."""
        p_values = (from_on + 1) / (self.background.shape[1] + 1)
        if self.two_sided:
            left = (up_to + 1) / (self.background.shape[1] + 1)
            p_values = (2 * torch.minimum(p_values, left)).clamp_max(1)
        return torch.where(p_values <= self.ALPHA_MAX, -p_values.log(), 0)

    def options(self) -> dict[str, Any]:
        activations, background = self.background.shape
        return {
            "activations": activations,
            "background": background,
            "two_sided": self.two_sided,
        }


_HEADS: Mapping[str, type[DetectorHead]] = {
    head.kind: head for head in (ActivationHead, SubsetScanHead)
}


MAX_SIZE = 1 << 20
"""Most activations, hidden units or background images of a head."""
MAX_VALUES = 1 << 24
"""Most values of a head's largest tensor: 64 MiB."""


def build_head(kind: str, options: Mapping[str, Any]) -> DetectorHead:
    """Build a head whose state is still to be loaded.

    Raises `ArtifactError` if there is none, or if it would be larger than any that is served:
    options come from a file, and memory is allocated by them.
    """
    try:
        _check_sizes(options)
        return _HEADS[kind](**options)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"no detector head {kind!r} with options {options!r}") from error


def _check_sizes(options: Mapping[str, Any]) -> None:
    if not isinstance(options, Mapping):
        raise TypeError("options must be a table")
    sizes = [value for value in options.values() if not isinstance(value, bool)]
    if not all(isinstance(size, int) and 1 <= size <= MAX_SIZE for size in sizes):
        raise ValueError("sizes out of bounds")
    if prod(sizes) > MAX_VALUES:
        raise ValueError("too many values")
