"""A second look at the few items that the first finds most suspicious: feature squeezing.

Shapes: B batch, Q squeezers, C H W an image as the network is shown it, K classes, n images of
split A, m of them that are looked at again.

Which items those are, and what their distance is worth, is learned from split A alone. Split B then
calibrates the threshold of a score that is a fixed function of the image, both steps included: only
so does the bound of the false-positive rate hold for the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustness.fusion import Fusion
from robustness.preprocessing import Preprocessing, build_preprocessing
from robustness.preprocessing.squeezing import Bits, Median
from torchkeep.errors import ArtifactError, SettingsError

NAME = "second_look"
LEAST_LOOKS = 10
"""With fewer clean images than these, a p-value among them says too little."""
MOST_SHARE = 0.5
MOST_SQUEEZERS = 8

_BATCH = 500


class SecondLook(nn.Module):
    """Compares what the network says of an image and of its squeezed twins (Xu et al. 2018).

    An item whose first score is above `cutoff` gains -ln p + overshoot of its distance, the p-value
    being that among the `distances` (m) of clean images which were looked at too; all others keep
    their score. A gain is never below 0, so the final score is monotone in the first.
    """

    def __init__(
        self,
        classifier: nn.Module,
        squeezers: Sequence[Preprocessing],
        *,
        cutoff: float,
        distances: Tensor,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.squeezers = nn.ModuleList(squeezers)
        self.fusion = Fusion(distances[None])
        self.cutoff = cutoff

    def score(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return the squeezing distance of images as the network is shown them: B."""
        return squeezing_distance(self.classifier, self._typed_squeezers(), images, logits)

    def forward(self, images: Tensor, logits: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return the p-value of the second look, 1 without one, and the final score: B and B.

        `first` (B) are the fused scores of the first look. The second forward pass runs on those
        above the cutoff only; on none, if there is none.
        """
        p_value, final = torch.ones_like(first), first
        places = (first > self.cutoff).nonzero().squeeze(1)
        if len(places):
            distance = self.score(images[places], logits[places])
            among, gain = self.fusion(distance[None])
            p_value[places] = among[0]
            final = first.index_add(0, places, gain)
        return p_value, final

    def options(self) -> dict[str, Any]:
        """Return what `build_second_look` needs besides the distances."""
        squeezers = [
            {"kind": squeezer.kind, "options": squeezer.options()}
            for squeezer in self._typed_squeezers()
        ]
        return {"cutoff": self.cutoff, "squeezers": squeezers}

    def _typed_squeezers(self) -> list[Preprocessing]:
        return list(self.squeezers)  # type: ignore[arg-type]


def squeezing_distance(
    classifier: nn.Module, squeezers: Sequence[Preprocessing], images: Tensor, logits: Tensor
) -> Tensor:
    """Return how far squeezing moves the softmax outputs, in L1 (0..2): B, differentiable.

    `images` (B C H W) are what the network is shown, after any preprocessing, and `logits` (B K)
    what it says of them. The squeezer with the largest distance counts (Xu et al. 2018, section
    5.2); each has the gradient of its stand-in.
    """
    squeezed = torch.cat([squeezer.stand_in(images) for squeezer in squeezers])  # Q*B C H W
    told: Tensor = classifier(squeezed).softmax(1)
    apart = told.view(len(squeezers), *logits.shape) - logits.softmax(1)
    return apart.abs().sum(2).amax(0)


def standard_squeezers() -> list[Preprocessing]:
    """Return those the paper joins: fewer bits, and the median of two by two pixels."""
    return [Bits(4), Median(2)]


def looks_allowed(images: int, share: float) -> int:
    """Return how many of `images` clean ones may have a conformal p-value of at most `share`.

    Raises `SettingsError` if they are too few to calibrate a second look on.
    """
    allowed = math.floor(share * (images + 1)) - 1
    if allowed < LEAST_LOOKS:
        raise SettingsError(
            f"a second look at {share:g} of {images} calibration images is one at too few",
            remedy=f"Give a share of {(LEAST_LOOKS + 1) / (images + 1):.3f} or more.",
        )
    return allowed


@torch.no_grad()
def learn_second_look(
    classifier: nn.Module,
    squeezers: Sequence[Preprocessing],
    images: Tensor,
    first: Tensor,
    share: float,
) -> SecondLook:
    """Return a second look at `share` of clean images, from those of split A.

    `images` (n C H W) are as the network is shown them, `first` (n) their fused scores. An item is
    looked at if its conformal p-value among `first` is at most `share`.
    """
    cutoff = first.sort(descending=True).values[looks_allowed(len(first), share)].item()
    looked_at = images[first > cutoff]
    if len(looked_at) < LEAST_LOOKS:  # many images share the score of the cutoff
        raise SettingsError(
            f"only {len(looked_at)} calibration images are suspicious enough for a second look",
            remedy="Give a larger share.",
        )
    distances = [
        squeezing_distance(classifier, squeezers, batch, classifier(batch))
        for batch in torch.split(looked_at, _BATCH)
    ]
    return SecondLook(classifier, squeezers, cutoff=cutoff, distances=torch.cat(distances))


def build_second_look(
    options: Mapping[str, Any], distances: Tensor, classifier: nn.Module
) -> SecondLook:
    """Build a second look from what a file says; raises `ArtifactError` if it says none."""
    try:
        cutoff, raw = options["cutoff"], options["squeezers"]
        if not isinstance(cutoff, float) or not math.isfinite(cutoff):
            raise ValueError("the cutoff is no score")
        if not isinstance(raw, list) or not 1 <= len(raw) <= MOST_SQUEEZERS:
            raise ValueError("too many squeezers, or none")
        squeezers = [build_preprocessing(one["kind"], one["options"]) for one in raw]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"no second look with options {options!r}") from error
    return SecondLook(classifier, squeezers, cutoff=cutoff, distances=distances)
