"""What is trained on: a data set, a network that suits it, and the numbers that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchkeep.threat_model import Epsilon, Norm, ThreatModel
from training.augmentation import Augmentation
from training.config import Execution, Optimisation, Optimizer, Precision, TrainConfig
from training.objectives import IntervalBounds, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Data, network, threat model, and how long each kind of training takes, in epochs.

    `step_size` and `attack_steps` are those of training against PGD; `fast_steps` those of fast
    adversarial training; `warm_up` the share in which the radius grows, for both.
    """

    name: str
    data: str
    architecture: str
    threat: ThreatModel
    optimisation: Optimisation
    batch_size: int
    plain_epochs: int
    fast_epochs: int
    robust_epochs: int
    certified_epochs: int
    fast_steps: int
    attack_steps: int
    step_size: float
    beta: float
    certified_eps: Epsilon
    warm_up: float = 0.3
    options: Mapping[str, Any] = field(default_factory=dict)
    certified_objective: IntervalBounds = field(default_factory=IntervalBounds)
    certified_learning_rate: float = 2e-3
    certified_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    execution: Execution = field(default_factory=Execution)
    evaluation_images: int = 1000
    evaluation_restarts: int = 5

    def config(
        self, method: str, objective: Objective, *, epochs: int | None = None
    ) -> TrainConfig:
        """Return a whole configuration for an objective; epochs are those of training with PGD."""
        return TrainConfig(
            recipe=f"{self.name}-{method}",
            source=objective.source,
            name=self.name,
            data=self.data,
            architecture=self.architecture,
            options=self.options,
            threat_model=self.threat,
            objective=objective,
            optimisation=self.optimisation,
            augmentation=self.augmentation,
            execution=self.execution,
            epochs=epochs or self.robust_epochs,
            batch_size=self.batch_size,
            evaluation_images=self.evaluation_images,
            evaluation_restarts=self.evaluation_restarts,
        )


def _linf(eps: float) -> ThreatModel:
    return ThreatModel(norm=Norm.LINF, eps=Epsilon(eps))


MNIST = Subject(
    name="mnist",
    data="mnist",
    architecture="small_cnn",
    threat=_linf(0.3),
    optimisation=Optimisation(peak_learning_rate=5e-3),
    batch_size=100,
    plain_epochs=5,
    fast_epochs=10,
    robust_epochs=15,
    certified_epochs=20,
    certified_learning_rate=5e-3,
    certified_objective=IntervalBounds(
        kappa=0.98, natural_until=0.0, ramp_until=0.4, attack_reach=3.0
    ),
    fast_steps=2,
    attack_steps=10,
    step_size=0.06,
    beta=1.0,
    certified_eps=Epsilon(0.1),
)

FASHION = Subject(
    name="fashion",
    data="fashion-mnist",
    architecture="small_cnn",
    threat=_linf(0.1),
    optimisation=Optimisation(peak_learning_rate=5e-3),
    batch_size=100,
    plain_epochs=8,
    fast_epochs=8,
    robust_epochs=15,
    certified_epochs=30,
    fast_steps=1,
    attack_steps=10,
    step_size=0.02,
    beta=1.0,
    certified_eps=Epsilon(0.1),
)

CIFAR10 = Subject(
    name="cifar10",
    data="cifar10",
    architecture="resnet18",
    threat=_linf(8 / 255),
    optimisation=Optimisation(
        optimizer=Optimizer.SGD,
        peak_learning_rate=0.2,
        weight_decay=5e-4,
        averaging=0.999,
    ),
    batch_size=256,
    plain_epochs=30,
    fast_epochs=15,
    robust_epochs=40,
    certified_epochs=100,
    fast_steps=1,
    attack_steps=10,
    step_size=2 / 255,
    beta=6.0,
    certified_eps=Epsilon(2 / 255),
    warm_up=0.0,
    certified_options={"width": 64, "hidden": 512},
    augmentation=Augmentation(crop_padding=4, flip=True),
    execution=Execution(precision=Precision.BFLOAT16, channels_last=True),
)

DIGITS = Subject(
    name="digits",
    data="digits",
    architecture="small_cnn",
    threat=_linf(0.2),
    optimisation=Optimisation(peak_learning_rate=5e-3),
    batch_size=50,
    plain_epochs=15,
    fast_epochs=20,
    robust_epochs=20,
    certified_epochs=40,
    fast_steps=1,
    attack_steps=10,
    step_size=0.04,
    beta=1.0,
    certified_eps=Epsilon(0.05),
    evaluation_images=200,
    evaluation_restarts=2,
)

SUBJECTS: Mapping[str, Subject] = {
    subject.name: subject for subject in (MNIST, FASHION, CIFAR10, DIGITS)
}
