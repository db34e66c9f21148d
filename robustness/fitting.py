"""Fit an artifact's detectors on clean and attacked training images, then calibrate them.

Attacks are used to fit, never to calibrate: split A gives each head its conformal p-values, and a
second look what it looks at; split B the threshold of the final score. Test images are not touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustness.art_library import prepare
from robustness.attacks.pgd import PGD
from robustness.calibration import Threshold, allowed_exceedances, calibrate_threshold
from robustness.fusion import Fusion
from robustness.heads import ActivationHead, DetectorHead, SubsetScanHead
from robustness.preprocessing import Defended, Preprocessing, parse
from robustness.screened_model import (
    FUSED_SCORES_B,
    HEAD_SCORES_A,
    PROJECTION,
    embedding_projection,
    load_classifier,
)
from robustness.second_look import (
    MOST_SHARE,
    SecondLook,
    learn_second_look,
    looks_allowed,
    standard_squeezers,
)
from robustness.second_look import NAME as SECOND_LOOK
from torchkeep.architectures import Classifier
from torchkeep.artifact import ModelArtifact
from torchkeep.data import ImageSet, Splits
from torchkeep.dtype import Dtype
from torchkeep.errors import SettingsError
from torchkeep.schema import EMBEDDING_DIMS

EMBEDDING_SEED = 0x70C4
BATCH = 500

Progress = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """How detectors are fitted and how many false alarms they may give."""

    target_fpr: float = 0.01
    confidence: float = 0.95
    fit_images: int = 10_000
    background_images: int = 256
    epochs: int = 10
    attack_steps: int = 10
    seed: int = 0
    preprocessing: str | None = None
    """What goes before the classifier, such as `jpeg:75`; heads see what comes out of it."""
    second_look: float = 0.0
    """Share of clean images, the most suspicious, that are looked at again; 0 for none."""
    dtype: Dtype = Dtype.FLOAT32
    """What the network will compute in when it is served."""

    def __post_init__(self) -> None:
        if not 0 < self.target_fpr < 1 or not 0 < self.confidence < 1:
            raise SettingsError("target_fpr and confidence must lie between 0 and 1")
        counts = (self.fit_images, self.background_images, self.epochs, self.attack_steps)
        if min(counts) < 1:
            raise SettingsError("fit_images, background_images, epochs, attack_steps: at least 1")
        if self.second_look != 0 and not self.target_fpr < self.second_look <= MOST_SHARE:
            raise SettingsError(
                f"a second look at {self.second_look:g} of clean images",
                remedy=f"Give 0, or above target_fpr (else it changes no verdict) to {MOST_SHARE}.",
            )
        self.built_preprocessing()

    def built_preprocessing(self) -> Preprocessing | None:
        """Return the preprocessing; raises `SettingsError` if there is none such."""
        return None if self.preprocessing is None else parse(self.preprocessing)


def to_unit(images: ImageSet) -> Tensor:
    """Return a set's images as float32 in 0..1: N C H W."""
    return torch.from_numpy(images.images).float().div_(255)


def fit_detectors(
    artifact: ModelArtifact,
    splits: Splits,
    config: DetectorConfig,
    device: torch.device,
    progress: Progress,
) -> ModelArtifact:
    """Fit, calibrate and write the detectors of `artifact`; returns it as it then is on disk.

    Raises `SettingsError` if the calibration splits are too small for the target rate, and
    `ArtifactError` if the artifact has no threat model to fit against.
    """
    ModelArtifact.check_target(artifact.path)
    allowed_exceedances(len(splits.calibration_b), config.target_fpr, config.confidence)
    if config.second_look:
        looks_allowed(len(splits.calibration_a), config.second_look)
    classifier = load_classifier(artifact).to(device).requires_grad_(False)
    heads = _fit_heads(artifact, classifier, splits, config, device, progress)
    progress("calibrate", 0, 2)
    shown = _shown(splits.calibration_a, config, device)
    scores = _scores(classifier, heads, shown)
    fusion = Fusion(scores)
    look = _second_look(classifier, shown, fusion(scores)[1], config)
    progress("calibrate", 1, 2)
    shown = _shown(splits.calibration_b, config, device)
    first = fusion(_scores(classifier, heads, shown))[1]
    fused = first if look is None else _final_scores(classifier, look, shown, first)
    threshold = calibrate_threshold(fused, config.target_fpr, config.confidence)
    progress("calibrate", 2, 2)
    tensors = _tensors(classifier, heads, fusion, fused, look)
    screening = _describe(heads, threshold, tensors, look, config, device)
    return artifact.with_screening(screening, tensors)


def _fit_heads(
    artifact: ModelArtifact,
    classifier: Classifier,
    splits: Splits,
    config: DetectorConfig,
    device: torch.device,
    progress: Progress,
) -> list[tuple[str, DetectorHead]]:
    prepare()
    from robustness.detectors import ActivationDetector, SubsetScanDetector, art_classifier

    chosen = _choose(len(splits.train), config)
    clean = to_unit(splits.train.subset(chosen))
    labels = torch.from_numpy(splits.train.labels[chosen])
    attacked = _attack(artifact, classifier, clean, labels, config, device, progress)
    if config.dtype is Dtype.BFLOAT16:  # only now: attacks follow the finer gradients of float32
        classifier.compute_in_bfloat16()
    wrapped = art_classifier(classifier, artifact.manifest.input.chw, device)
    width = classifier.activations(clean[:1].to(device))[0].shape[1]
    clean, attacked = _preprocessed(clean, config), _preprocessed(attacked, config)
    images = torch.cat([clean, attacked]).numpy()
    is_attack = np.repeat(np.array([0, 1]), len(clean))
    activation = ActivationHead(width).to(device)
    progress("fit detectors", 0, 2)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        activation.network.apply(_reset)
        ActivationDetector(wrapped, activation).fit(images, is_attack, nb_epochs=config.epochs)
    progress("fit detectors", 1, 2)
    background = clean[: config.background_images].numpy()
    tapped = width - classifier.head.in_features
    scan = SubsetScanHead(tapped or width, len(background)).to(device)
    SubsetScanDetector(wrapped, scan).fit(background, np.zeros(len(background), np.int64))
    progress("fit detectors", 2, 2)
    return [(activation.kind, activation), (scan.kind, scan)]


def _reset(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.Linear):
        module.reset_parameters()


def _choose(available: int, config: DetectorConfig) -> np.ndarray[Any, np.dtype[np.int64]]:
    order = np.random.default_rng(config.seed).permutation(available)
    return order[: config.fit_images]


def _attack(
    artifact: ModelArtifact,
    classifier: Classifier,
    clean: Tensor,
    labels: Tensor,
    config: DetectorConfig,
    device: torch.device,
    progress: Progress,
) -> Tensor:
    threat = artifact.manifest.threat_model
    if threat is None:
        raise SettingsError(
            f"{artifact.manifest.name} names no threat model to fit detectors against",
            remedy="Train it with an adversarial recipe.",
        )
    attack = PGD(
        threat=threat,
        steps=config.attack_steps,
        step_size=2 * threat.eps / config.attack_steps,
        seed=config.seed,
    )
    defence = config.built_preprocessing()
    victim = classifier if defence is None else Defended(defence, classifier)
    attacked = []
    for start in range(0, len(clean), BATCH):
        progress("attack training images", start, len(clean))
        batch = slice(start, start + BATCH)
        attacked.append(attack(victim, clean[batch].to(device), labels[batch].to(device)))
    progress("attack training images", len(clean), len(clean))
    return torch.cat([batch.images.cpu() for batch in attacked])


@torch.no_grad()
def _preprocessed(images: Tensor, config: DetectorConfig) -> Tensor:
    """Return what the classifier will be shown of images (B C H W)."""
    defence = config.built_preprocessing()
    if defence is None:
        return images
    changed = [defence(batch) for batch in torch.split(images, BATCH)]
    return torch.cat(changed) if changed else images


def _shown(images: ImageSet, config: DetectorConfig, device: torch.device) -> Tensor:
    """Return a set's images as the classifier is shown them: N C H W on the device."""
    return _preprocessed(to_unit(images).to(device), config)


@torch.no_grad()
def _scores(
    classifier: Classifier, heads: Sequence[tuple[str, DetectorHead]], shown: Tensor
) -> Tensor:
    """Return what each head scores each image (N C H W): S N."""
    columns = []
    for batch in torch.split(shown, BATCH):
        activations, logits = classifier.activations(batch)
        columns.append(torch.stack([head.score(activations, logits) for _, head in heads]))
    return torch.cat(columns, dim=1)


def _second_look(
    classifier: Classifier, shown: Tensor, first: Tensor, config: DetectorConfig
) -> SecondLook | None:
    """Learn a second look, if one is wanted, from split A (n C H W) and its fused scores (n)."""
    if not config.second_look:
        return None
    squeezers = standard_squeezers()
    return learn_second_look(classifier, squeezers, shown, first, config.second_look)


@torch.no_grad()
def _final_scores(classifier: Classifier, look: SecondLook, shown: Tensor, first: Tensor) -> Tensor:
    """Return the scores of images (N C H W) whose fused scores are `first` (N): N."""
    pairs = zip(torch.split(shown, BATCH), torch.split(first, BATCH), strict=True)
    return torch.cat([look(batch, classifier(batch), scores)[1] for batch, scores in pairs])


def _tensors(
    classifier: Classifier,
    heads: Sequence[tuple[str, DetectorHead]],
    fusion: Fusion,
    fused: Tensor,
    look: SecondLook | None,
) -> dict[str, Tensor]:
    tensors = {
        HEAD_SCORES_A: fusion.calibration,
        FUSED_SCORES_B: fused.sort().values,
        PROJECTION: embedding_projection(classifier.head.in_features, EMBEDDING_SEED),
    }
    if look is not None:
        tensors[SECOND_LOOK] = look.fusion.calibration[0]
    for name, head in heads:
        tensors |= {f"heads.{name}.{key}": value for key, value in head.state_dict().items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _describe(
    heads: Sequence[tuple[str, DetectorHead]],
    threshold: Threshold,
    tensors: dict[str, Tensor],
    look: SecondLook | None,
    config: DetectorConfig,
    device: torch.device,
) -> dict[str, Any]:
    content = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))
    again = None if look is None else {"share": config.second_look, **look.options()}
    identity = hashlib.sha256(content + repr(threshold.value).encode())
    defence = config.built_preprocessing()
    before = {"kind": defence.kind, "options": defence.options()} if defence else None
    return {
        **({"preprocessing": before} if before else {}),
        **({SECOND_LOOK: again} if again else {}),
        "heads": [
            {"name": name, "kind": head.kind, "options": head.options()} for name, head in heads
        ],
        "fusion": "smallest conformal p-value",
        "embedding": {"seed": EMBEDDING_SEED, "dims": EMBEDDING_DIMS},
        "fitted_with": asdict(config),
        "calibration": {
            "id": identity.hexdigest()[:16],
            "device_type": device.type,
            "dtype": config.dtype,
            "target_fpr": config.target_fpr,
            "confidence": threshold.confidence,
            "threshold": threshold.value,
            "fpr_upper_bound": threshold.fpr_upper_bound,
            "exceedances": threshold.exceedances,
            "images_a": tensors[HEAD_SCORES_A].shape[1],
            "images_b": threshold.trials,
        },
    }
