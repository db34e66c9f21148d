"""Our detectors as ART knows them: `fit` and `detect` around the head that is served.

Import after `robustness.art_library.prepare()`. Shapes: N images C H W in 0..1, A activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.defences.detector.evasion import BinaryActivationDetector, EvasionDetector
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from robustness.heads import ActivationHead, DetectorHead, SubsetScanHead
from torchkeep.architectures import Classifier

LAYER = "seen"
LEARNING_RATE = 1e-3


class _Seen(nn.Module):
    """The activations that detectors see, as one layer: B C H W to B A."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.activations(images)[0]


class _LayeredClassifier(nn.Module):
    """The classifier cut where ART can name the cut: top-level children `seen`, then `head`."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.seen = _Seen(classifier)
        self.head = classifier.head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.seen(images)[:, -self.head.in_features :])
        return logits


class _TwoClass(nn.Module):
    def __init__(self, head: ActivationHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, activations: Tensor) -> Tensor:
        return self.head.two_class_logits(activations)


def art_classifier(
    classifier: Classifier, input_shape: tuple[int, int, int], device: torch.device
) -> PyTorchClassifier:
    """Wrap a classifier for ART, with the layer `LAYER` that detectors see."""
    return PyTorchClassifier(
        model=_LayeredClassifier(classifier).eval(),
        loss=nn.CrossEntropyLoss(),
        input_shape=input_shape,
        nb_classes=classifier.head.out_features,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )


class HeadDetector(EvasionDetector):  # type: ignore[misc]
    """An ART evasion detector whose every answer comes from the head that is served."""

    defence_params = ("classifier", "head", "threshold")

    def __init__(
        self, classifier: PyTorchClassifier, head: DetectorHead, threshold: float = float("inf")
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.head = head
        self.threshold = threshold

    def score(self, activations: Tensor, logits: Tensor) -> Tensor:
        """Return the head's scores: B A and B K to B."""
        return self.head.score(activations, logits)

    @torch.no_grad()
    def detect(
        self, x: NDArray[np.float32], batch_size: int = 128, **kwargs: Any
    ) -> tuple[dict[str, Any], NDArray[np.bool_]]:
        """Score images N C H W. Returns ({"scores": N}, above the threshold: N)."""
        if not len(x):
            return {"scores": np.empty(0, np.float32)}, np.empty(0, np.bool_)
        model: _LayeredClassifier = self.classifier.model
        batches = torch.split(torch.from_numpy(np.asarray(x, np.float32)), batch_size)
        scores = (
            torch.cat(
                [
                    self.score(*model.seen.classifier.activations(batch.to(self.classifier.device)))
                    for batch in batches
                ]
            )
            .cpu()
            .numpy()
        )
        return {"scores": scores}, ~(scores <= self.threshold)

    @torch.no_grad()
    def _activations(self, x: NDArray[np.float32], batch_size: int) -> Tensor:
        """Return N A through ART, detached; without `no_grad` ART would keep every graph."""
        seen: NDArray[np.float32] = self.classifier.get_activations(x, LAYER, batch_size)
        return torch.from_numpy(seen)


class ActivationDetector(HeadDetector):
    """Binary classifier on activations, fitted through ART's `BinaryActivationDetector`."""

    head: ActivationHead

    def fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        batch_size: int = 128,
        nb_epochs: int = 10,
        **kwargs: Any,
    ) -> None:
        """Fit on images N C H W with y = 1 where adversarial. Random order: seed torch before."""
        self.head.standardise_by(self._activations(x[y == 0], batch_size))
        network = PyTorchClassifier(
            model=_TwoClass(self.head),
            loss=nn.CrossEntropyLoss(),
            optimizer=torch.optim.Adam(self.head.network.parameters(), LEARNING_RATE),
            input_shape=(self.head.activations,),
            nb_classes=2,
            device_type=self.classifier.device_type,
        )
        reference = BinaryActivationDetector(self.classifier, network, LAYER)
        with torch.enable_grad():
            reference.fit(x, y, batch_size=batch_size, nb_epochs=nb_epochs, **kwargs)
        self.head.eval()


class SubsetScanDetector(HeadDetector):
    """Subset scan over activations; `fit` learns the null distribution from clean images."""

    head: SubsetScanHead

    def fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        batch_size: int = 128,
        nb_epochs: int = 1,
        **kwargs: Any,
    ) -> None:
        """Learn the background from the images N C H W with y = 0."""
        self.head.learn_background(self._activations(x[y == 0], batch_size))
