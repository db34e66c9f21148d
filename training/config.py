"""What one training does, as a whole: the parts a recipe is made of."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from torchkeep.errors import SettingsError
from torchkeep.threat_model import ThreatModel
from training.augmentation import Augmentation
from training.objectives import Objective


class Optimizer(StrEnum):
    """How gradients move weights."""

    ADAM = "adam"
    SGD = "sgd"  # with Nesterov momentum


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """The optimizer and what goes with it.

    `peak_at` is the share of all steps after which the triangular learning rate peaks;
    `averaging` the decay of the exponential moving average of the weights (0: none);
    `weight_perturbation` the relative size of adversarial weight perturbation (0: none; Wu et al.
    2020), from the share `perturbed_from` of the steps.
    """

    optimizer: Optimizer = Optimizer.ADAM
    peak_learning_rate: float
    peak_at: float = 0.4
    momentum: float = 0.9
    weight_decay: float = 0.0
    averaging: float = 0.0
    weight_perturbation: float = 0.0
    perturbed_from: float = 0.0

    def __post_init__(self) -> None:
        sizes = (self.weight_decay, self.weight_perturbation)
        if not (
            0 < self.peak_learning_rate < math.inf and all(0 <= size < math.inf for size in sizes)
        ):
            raise SettingsError(
                "peak_learning_rate must be above 0, weight_decay and weight_perturbation from 0"
            )
        if not 0 < self.peak_at < 1:
            raise SettingsError(f"peak_at {self.peak_at}", remedy="Give a share between 0 and 1.")
        shares = (self.momentum, self.averaging, self.perturbed_from)
        if not all(0 <= share < 1 for share in shares):
            raise SettingsError("momentum, averaging, perturbed_from must be from 0 to below 1")


class WatchKind(StrEnum):
    """What held-out images are measured for after each epoch."""

    CLEAN = "clean"
    ROBUST = "robust"  # accuracy under PGD, too
    COLLAPSE = "collapse"  # under PGD and a single step, and catastrophic overfitting is undone
    CERTIFIED = "certified"  # accuracy that interval bounds prove, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a training is watched on `images` held-out images.

    `keep_best` ends with the weights of the best epoch: adversarial training overfits (Rice et al.
    2020). `fall` and `gap` say what a collapse is (`training/overfitting_probe.py`).
    """

    kind: WatchKind = WatchKind.CLEAN
    images: int = 200
    steps: int = 10
    keep_best: bool = False
    fall: float = 0.2
    gap: float = 0.65

    def __post_init__(self) -> None:
        if min(self.images, self.steps) < 1:
            raise SettingsError("images and steps of a watch must be 1 or more")
        if not all(0 < share < 1 for share in (self.fall, self.gap)):
            raise SettingsError("fall and gap of a watch must lie between 0 and 1")


class Precision(StrEnum):
    """In what the network computes; weights are float32 all the same."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"  # autocast


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How the machine does it; the recipe means the same whatever stands here.

    `accumulate` is the number of pieces in which a process computes its share of a batch;
    `resident_bytes` up to how many bytes of images are held on the device as a whole;
    `checkpoint_steps` the most steps between two checkpoints (each epoch ends with one, too).
    """

    precision: Precision = Precision.FLOAT32
    channels_last: bool = False
    compile: bool = False
    accumulate: int = 1
    resident_bytes: int = 4 * 1024**3
    checkpoint_steps: int = 500

    def __post_init__(self) -> None:
        if min(self.accumulate, self.checkpoint_steps) < 1 or self.resident_bytes < 0:
            raise SettingsError(
                "accumulate and checkpoint_steps must be 1 or more, resident_bytes 0 or more"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training: data, network, threat model, objective and the numbers of the loop.

    `batch_size` counts the images of one optimizer step over all processes together.
    """

    recipe: str
    source: str
    name: str
    data: str
    architecture: str
    threat_model: ThreatModel
    objective: Objective
    optimisation: Optimisation
    epochs: int
    batch_size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    watch: Watch = field(default_factory=Watch)
    execution: Execution = field(default_factory=Execution)
    seed: int = 0
    evaluation_images: int = 1000
    evaluation_steps: int = 40
    evaluation_restarts: int = 5

    def __post_init__(self) -> None:
        counts = (
            self.epochs,
            self.batch_size,
            self.evaluation_images,
            self.evaluation_steps,
            self.evaluation_restarts,
        )
        if min(counts) < 1:
            raise SettingsError("epochs, batch_size and the counts of a training must be 1 or more")
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"seed {self.seed}", remedy="Give a whole number from 0.")

    def to_json(self) -> dict[str, Any]:
        """Return every number as plain JSON values, the kind of the objective included."""
        return asdict(self) | {"objective": self.objective.to_json()}

    def digest(self) -> str:
        """Return the SHA-256 of all that the weights depend on: not of when checkpoints are made,
        nor of the evaluation.
        """
        decides = {
            key: value for key, value in self.to_json().items() if not key.startswith("evaluation_")
        }
        left_out = {"checkpoint_steps", "resident_bytes"}
        decides["execution"] = {
            key: value for key, value in decides["execution"].items() if key not in left_out
        }
        return hashlib.sha256(orjson.dumps(decides, option=orjson.OPT_SORT_KEYS)).hexdigest()
