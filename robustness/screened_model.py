"""The served model: preprocessing, classifier and detector heads in one forward pass.

Shapes: B batch, C H W an image, K classes, S heads, E embedding dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustness.calibration import conformal_p_values
from robustness.fusion import Fusion
from robustness.heads import DetectorHead, build_head
from robustness.preprocessing import Preprocessing, build_preprocessing
from robustness.second_look import NAME as SECOND_LOOK
from robustness.second_look import SecondLook, build_second_look
from torchkeep.architectures import Classifier, build
from torchkeep.artifact import MODEL, SCREENING, ModelArtifact
from torchkeep.dtype import Dtype
from torchkeep.errors import ArtifactError
from torchkeep.schema import EMBEDDING_DIMS

HEAD_SCORES_A = "calibration_a"
FUSED_SCORES_B = "calibration_b"
PROJECTION = "projection"

_LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True, slots=True)
class ScreenedBatch:
    """What one forward pass says of B items, on the host."""

    probabilities: NDArray[np.float32]  # B K
    score: NDArray[np.float32]  # B, fused; higher is more suspicious
    p_value: NDArray[np.float32]  # B, of the score
    head_p_values: NDArray[np.float32]  # B S
    suspicious: NDArray[np.bool_]  # B, true also where failed
    failed: NDArray[np.bool_]  # B, a value was not finite: nobody can judge this item
    embedding: NDArray[np.float16]  # B E

    def first(self, count: int) -> ScreenedBatch:
        """Return what is said of the first items."""
        return ScreenedBatch(*(getattr(self, field.name)[:count] for field in fields(self)))


class ScreenedModel(nn.Module):
    """Classifier, detector heads, their fusion and its threshold as one module.

    `fused_scores` (n) are those of clean images (split B); a score above `threshold` is suspicious.
    Without heads nothing is: the score is 0 and the p-value 1. A `second_look` counts as the last
    head; None is without one.
    """

    fused_scores: Tensor
    projection: Tensor

    def __init__(
        self,
        classifier: Classifier,
        heads: Sequence[tuple[str, DetectorHead]],
        *,
        fusion: Fusion | None,
        fused_scores: Tensor,
        projection: Tensor,
        threshold: float,
        calibration_id: str,
        classes: Sequence[str],
        input_shape: tuple[int, int, int],
        preprocessing: Preprocessing | None = None,
        second_look: SecondLook | None = None,
    ) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.second_look = second_look
        self.classifier = classifier
        self.heads = nn.ModuleList(head for _, head in heads)
        looks = () if second_look is None else (SECOND_LOOK,)
        self.head_names = (*(name for name, _ in heads), *looks)
        self.fusion = fusion
        self.register_buffer("fused_scores", fused_scores.sort().values)
        self.register_buffer("projection", projection)  # F E
        self.threshold = threshold
        self.calibration_id = calibration_id
        self.classes = tuple(classes)
        self.input_shape = input_shape
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the model's weights lie."""
        return self.projection.device

    def forward(self, images: Tensor) -> Tensor:
        """Return everything there is to say in one tensor, ready for a single copy to the host.

        B C H W in 0..1 to B (K + E + 2 + S): probabilities, embedding, score, p-value, head
        p-values. What is not finite on the way makes a value of its row not finite.
        """
        if self.preprocessing is not None:
            images = self.preprocessing.stand_in(images)
        activations, logits = self.classifier.activations(images)
        features = activations[:, -self.projection.shape[0] :]
        parts = [logits.softmax(1), features @ self.projection]
        if self.fusion is None:
            verdict = [torch.tensor([[0.0, 1.0]], device=images.device).expand(len(images), 2)]
        else:
            raw = torch.stack([head.score(activations, logits) for head in self.typed_heads()])
            p_values, fused = self.fusion(raw)
            if self.second_look is not None:
                p_look, fused = self.second_look(images, logits, fused)
                p_values = torch.cat([p_values, p_look[None]])
            p_fused = conformal_p_values(fused, self.fused_scores)
            verdict = [fused[:, None], p_fused[:, None], p_values.T]
        return torch.cat(parts + verdict, dim=1)

    @torch.inference_mode()
    def screen(
        self,
        images: NDArray[np.uint8] | NDArray[np.float32],
        forward: Callable[[Tensor], Tensor] | None = None,
    ) -> ScreenedBatch:
        """Predict and screen B C H W images: uint8 in 0..255 or float32 in 0..1.

        One forward pass, with a second look another of the few it looks at, and one copy from
        device to host. `forward` does what this module's does, only faster.
        """
        tensor = torch.from_numpy(images).to(self.device)
        if tensor.dtype == torch.uint8:
            tensor = tensor / 255
        run = self if forward is None else forward
        table: NDArray[np.float32] = run(tensor).cpu().numpy()
        classes, stop = len(self.classes), len(self.classes) + self.projection.shape[1]
        score = table[:, stop]
        failed = np.logical_not(np.isfinite(table).all(axis=1))
        return ScreenedBatch(
            probabilities=table[:, :classes],
            score=score,
            p_value=table[:, stop + 1],
            head_p_values=table[:, stop + 2 :],
            suspicious=(score > self.threshold) | failed,
            failed=failed,
            embedding=_to_float16(table[:, classes:stop]),
        )

    def typed_heads(self) -> list[DetectorHead]:
        """Return the heads as what they are; `nn.ModuleList` forgets."""
        return list(self.heads)  # type: ignore[arg-type]


def _to_float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    return values.clip(-_LARGEST_FLOAT16, _LARGEST_FLOAT16).astype(np.float16)


def embedding_projection(features: int, seed: int) -> Tensor:
    """Return a seeded Gaussian projection F E (Johnson and Lindenstrauss 1984)."""
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(features, EMBEDDING_DIMS, generator=generator)
    return gaussian / math.sqrt(EMBEDDING_DIMS)


def load_classifier(artifact: ModelArtifact) -> Classifier:
    """Build the artifact's classifier with its weights, on the CPU, ready to evaluate."""
    manifest = artifact.manifest
    classifier = build(
        manifest.architecture, manifest.input, len(manifest.classes), manifest.options
    )
    _load_state(classifier, artifact.tensors(MODEL), artifact, MODEL)
    return classifier.eval()


def load_screened_model(
    artifact: ModelArtifact, device: torch.device | str, dtype: Dtype | None = None
) -> ScreenedModel:
    """Build the served model of an artifact on a device; without a dtype, as it was calibrated.

    Raises `ArtifactError` if its detectors are missing, damaged, or calibrated for another dtype or
    type of device: floating point differs between them, and with it the false-positive rate.
    """
    manifest, target = artifact.manifest, torch.device(device)
    if manifest.screening is None:
        raise ArtifactError(
            f"{artifact.path} has no detectors", remedy="Run `torchkeep fit-detectors` on it."
        )
    tensors = artifact.tensors(SCREENING)
    try:
        calibration = manifest.screening["calibration"]
        threshold = _threshold(calibration, target, artifact)
        computed = _calibrated_dtype(calibration, dtype, artifact)
        heads = [_load_head(raw, tensors, artifact) for raw in manifest.screening["heads"]]
        classifier = load_classifier(artifact)
        _check_shapes(tensors, len(heads), classifier.head.in_features, artifact)
        if computed is Dtype.BFLOAT16:
            classifier.compute_in_bfloat16()
        model = ScreenedModel(
            classifier,
            heads,
            fusion=Fusion(tensors[HEAD_SCORES_A]),
            fused_scores=tensors[FUSED_SCORES_B],
            projection=tensors[PROJECTION],
            threshold=threshold,
            calibration_id=str(calibration["id"]),
            classes=manifest.classes,
            input_shape=manifest.input.chw,
            preprocessing=_load_preprocessing(manifest.screening),
            second_look=_load_second_look(manifest.screening, tensors, classifier),
        )
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{artifact.path}: its screening lacks {error}") from error
    return model.to(target)


def _threshold(
    calibration: Mapping[str, Any], device: torch.device, artifact: ModelArtifact
) -> float:
    """Return the calibrated threshold if it is one, and one for this type of device."""
    if calibration["device_type"] != device.type:
        raise ArtifactError(
            f"{artifact.path} was calibrated on {calibration['device_type']}, not {device.type}",
            remedy=f"Run `torchkeep fit-detectors --device {device.type}` on it.",
        )
    threshold = calibration["threshold"]
    if not isinstance(threshold, float) or not math.isfinite(threshold):
        raise ArtifactError(f"{artifact.path} has the threshold {threshold!r}, which is no score")
    return threshold


def _calibrated_dtype(
    calibration: Mapping[str, Any], wanted: Dtype | None, artifact: ModelArtifact
) -> Dtype:
    """Return what the artifact was calibrated in, if it is what is wanted."""
    said = calibration["dtype"]
    if said not in list(Dtype):
        raise ArtifactError(f"{artifact.path} was calibrated in {said!r}, which is not served")
    if wanted not in (None, said):
        raise ArtifactError(
            f"{artifact.path} was calibrated in {said}, not {wanted}",
            remedy=f"Run `torchkeep fit-detectors --dtype {wanted}` on it, "
            f'or set [serving] dtype = "{said}".',
        )
    return Dtype(said)


def _load_head(
    raw: dict[str, Any], tensors: dict[str, Tensor], artifact: ModelArtifact
) -> tuple[str, DetectorHead]:
    head = build_head(raw["kind"], raw["options"])
    prefix = f"heads.{raw['name']}."
    state = {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
    _load_state(head, state, artifact, SCREENING)
    return raw["name"], head


def _load_preprocessing(screening: Mapping[str, Any]) -> Preprocessing | None:
    """Return what goes before the classifier; artifacts without the entry have none."""
    raw = screening.get("preprocessing")
    return None if raw is None else build_preprocessing(raw["kind"], raw["options"])


def _load_second_look(
    screening: Mapping[str, Any], tensors: Mapping[str, Tensor], classifier: Classifier
) -> SecondLook | None:
    """Return the second look; artifacts without the entry have none."""
    if SECOND_LOOK not in screening:
        return None
    return build_second_look(screening[SECOND_LOOK], tensors[SECOND_LOOK], classifier)


def _check_shapes(
    tensors: dict[str, Tensor], heads: int, features: int, artifact: ModelArtifact
) -> None:
    """Raise `ArtifactError` unless calibration and projection fit these heads and features."""
    wanted: dict[str, tuple[int | None, ...]] = {
        HEAD_SCORES_A: (heads, None),
        FUSED_SCORES_B: (None,),
        PROJECTION: (features, EMBEDDING_DIMS),
    }
    if SECOND_LOOK in (artifact.manifest.screening or {}):
        wanted[SECOND_LOOK] = (None,)
    for name, sides in wanted.items():
        tensor = tensors[name]
        alike = tensor.ndim == len(sides) and all(
            side in (None, found) for side, found in zip(sides, tensor.shape, strict=True)
        )
        if not alike or tensor.numel() == 0 or tensor.dtype != torch.float32:
            raise ArtifactError(
                f"{artifact.path / SCREENING} does not fit: {name} is {tuple(tensor.shape)} "
                f"of {tensor.dtype}, for {heads} heads and {features} features"
            )


def _load_state(
    module: nn.Module, state: dict[str, Tensor], artifact: ModelArtifact, file: str
) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{artifact.path / file} does not fit: {reason}") from error
