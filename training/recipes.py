"""Named trainings: each a function that returns a whole configuration and names its paper.

A name is `<data>-<method>`: what is trained on and which network (`training/subjects.py`), and how.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace

from torchkeep.errors import SettingsError
from torchkeep.threat_model import Epsilon, Norm, ThreatModel
from training.config import TrainConfig, WatchKind
from training.objectives import (
    PGDAT,
    TRADES,
    AugMix,
    FastAT,
    GaussianNoise,
    Natural,
)
from training.subjects import SUBJECTS, Subject


def natural(subject: Subject) -> TrainConfig:
    """Return natural training: no defence, the measure of what the others cost."""
    return subject.config("natural", Natural(), epochs=subject.plain_epochs)


def quick(subject: Subject) -> TrainConfig:
    """Return fast adversarial training (Wong et al. 2020).

    On MNIST at Linf 0.3 it overfits catastrophically on some seeds; with two steps and a radius
    that grows it did on none of those that were tried.
    """
    objective = FastAT(
        step_size=1.25 * subject.threat.eps,
        steps=subject.fast_steps,
        warm_up=subject.warm_up,
    )
    config = subject.config("quick", objective, epochs=subject.fast_epochs)
    return _watched(config, WatchKind.COLLAPSE)


def pgd(subject: Subject) -> TrainConfig:
    """Return adversarial training with PGD (Madry et al. 2018)."""
    objective = PGDAT(
        step_size=subject.step_size, steps=subject.attack_steps, warm_up=subject.warm_up
    )
    return _best(_watched(subject.config("pgd", objective), WatchKind.ROBUST))


def trades(subject: Subject) -> TrainConfig:
    """Return TRADES (Zhang et al. 2019)."""
    objective = TRADES(
        step_size=subject.step_size,
        steps=subject.attack_steps,
        warm_up=subject.warm_up,
        beta=subject.beta,
    )
    return _best(_watched(subject.config("trades", objective), WatchKind.ROBUST))


def trades_awp(subject: Subject) -> TrainConfig:
    """Return TRADES with adversarial weight perturbation (Wu et al. 2020, table 2)."""
    config = trades(subject)
    optimisation = replace(config.optimisation, weight_perturbation=0.005, perturbed_from=0.1)
    return replace(
        config,
        recipe=f"{subject.name}-trades-awp",
        source=f"{TRADES.source}; Wu, Xia, Wang 2020, Adversarial Weight Perturbation Helps "
        "Robust Generalization, equations 8 and 10",
        optimisation=optimisation,
    )


def ibp(subject: Subject) -> TrainConfig:
    """Return interval-bound certified training (Gowal et al. 2018) of a network without norms.

    On MNIST mixed with attacked images (De Palma et al. 2024), and meant for linear bounds.
    """
    config = subject.config("ibp", subject.certified_objective, epochs=subject.certified_epochs)
    threat = ThreatModel(norm=Norm.LINF, eps=subject.certified_eps)
    optimisation = replace(config.optimisation, peak_learning_rate=subject.certified_learning_rate)
    config = replace(
        config,
        architecture="small_cnn",
        options=subject.certified_options,
        threat_model=threat,
        optimisation=optimisation,
    )
    config = _watched(config, WatchKind.CERTIFIED)
    # Intervals, which are watched, do not tell the best epoch of a network for linear bounds.
    return config if subject.certified_objective.attack_reach else _best(config)


def smoothing(subject: Subject) -> TrainConfig:
    """Return Gaussian noise augmentation for randomized smoothing (Cohen et al. 2019)."""
    config = subject.config("smoothing", GaussianNoise(sigma=0.25), epochs=subject.plain_epochs)
    return replace(config, threat_model=ThreatModel(norm=Norm.L2, eps=Epsilon(0.5)))


def augmix(subject: Subject) -> TrainConfig:
    """Return AugMix against natural corruptions (Hendrycks et al. 2020)."""
    return subject.config("augmix", AugMix(), epochs=subject.plain_epochs)


def mnist_trades_tiny() -> TrainConfig:
    """Return a TRADES training of one epoch and few steps: to see that everything works."""
    config = trades(SUBJECTS["mnist"])
    return replace(
        config,
        recipe="mnist-trades-tiny",
        objective=TRADES(step_size=0.1, steps=3, beta=1.0),
        epochs=1,
        watch=replace(config.watch, images=100),
        execution=replace(config.execution, checkpoint_steps=50),
        evaluation_images=100,
        evaluation_steps=10,
        evaluation_restarts=1,
    )


METHODS: Mapping[str, Callable[[Subject], TrainConfig]] = {
    "natural": natural,
    "quick": quick,
    "pgd": pgd,
    "trades": trades,
    "trades-awp": trades_awp,
    "ibp": ibp,
    "smoothing": smoothing,
    "augmix": augmix,
}

NAMES = (
    *(f"{subject}-{method}" for subject in SUBJECTS for method in METHODS),
    "mnist-trades-tiny",
)


def recipe(name: str) -> TrainConfig:
    """Return the configuration of a named training. Raises `SettingsError` if there is none."""
    if name not in NAMES:
        raise SettingsError(f"unknown recipe: {name!r}", remedy=_nearest(name))
    if name == "mnist-trades-tiny":
        return mnist_trades_tiny()
    subject, _, method = name.partition("-")
    return METHODS[method](SUBJECTS[subject])


def _nearest(name: str) -> str:
    if name in SUBJECTS:
        return f"Give one of {', '.join(f'{name}-{method}' for method in METHODS)}."
    return f"Did you mean {difflib.get_close_matches(name, NAMES, n=1, cutoff=0.0)[0]!r}?"


def _watched(config: TrainConfig, kind: WatchKind) -> TrainConfig:
    return replace(config, watch=replace(config.watch, kind=kind))


def _best(config: TrainConfig) -> TrainConfig:
    return replace(config, watch=replace(config.watch, keep_best=True))
