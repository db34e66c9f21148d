"""ART's Square and HopSkipJump around an endpoint; they end by an exception of the prober.

Shapes: B images asked together, C H W an image, K classes; pixels are in 0..1.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.art_library import prepare
from robustness.black_box.endpoint import BudgetSpentError
from robustness.black_box.prober import FoundError, Prober
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Norm, ThreatModel

NORMS = {Norm.LINF: np.inf, Norm.L2: 2, Norm.L1: 1}
_TINY = 1e-30
_STARTS, _AT_A_TIME = 100, 10


def square(prober: Prober, seed: int) -> None:
    """Random search on the margin of log-probabilities (Andriushchenko et al. 2020)."""
    prepare()
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    def loss(images: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        return _margin(prober.probabilities(images), labels.argmax(1))

    def fooled(answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        return _margin(answers, labels.argmax(1)) < 0

    victim = BlackBoxClassifierNeuralNetwork(
        prober.probabilities,
        prober.image.shape[1:],
        prober.classes,
        clip_values=(0.0, 1.0),
        channels_first=True,
    )
    with _seeded(seed), suppress(FoundError, BudgetSpentError):
        SquareAttack(
            victim,
            norm=NORMS[prober.threat.norm],
            adv_criterion=fooled,
            loss=loss,
            eps=prober.threat.eps,
            max_iter=max(1, prober.limit),
            verbose=False,
        ).generate(prober.image, np.array([prober.label]))


def hop_skip_jump(prober: Prober, seed: int) -> None:
    """Walk along the decision border, from noise that is another class (Chen et al. 2020)."""
    prepare()
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifier

    def decide(images: NDArray[Any]) -> NDArray[np.float32]:
        return prober.decisions(images)

    victim = BlackBoxClassifier(
        decide, prober.image.shape[1:], prober.classes, clip_values=(0.0, 1.0)
    )
    with _seeded(seed), suppress(FoundError, BudgetSpentError):
        start = _start(prober, seed)
        if start is None:
            return
        evaluations = max(10, min(100, prober.limit // 20))
        HopSkipJump(
            victim,
            norm=NORMS[prober.threat.norm],
            max_iter=64,
            max_eval=10 * evaluations,
            init_eval=evaluations,
            verbose=False,
        ).generate(prober.image, np.array([prober.label]), x_adv_init=start)


def check_threat(name: str, threat: object) -> ThreatModel:
    """Return a threat that the attack can do; raise `SettingsError` otherwise."""
    if not isinstance(threat, ThreatModel) or (name == "hopskipjump" and threat.norm is Norm.L1):
        raise SettingsError(f"{name} cannot do {threat}", remedy="Give linf:EPS or l2:EPS.")
    return threat


def _start(prober: Prober, seed: int) -> NDArray[np.float32] | None:
    """Return noise (1 C H W) of another class; ART's own search has no seed."""
    noise = np.random.default_rng(seed).random((_STARTS, *prober.image.shape[1:]), np.float32)
    for at in range(0, _STARTS, _AT_A_TIME):
        some = noise[at : at + _AT_A_TIME]
        other = np.flatnonzero(prober.decisions(some).argmax(1) != prober.label)
        if len(other):
            return some[other[:1]]
    return None


def _margin(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far the right class leads (B), in logs; infinitely where nothing was answered."""
    logs = np.log(np.maximum(probabilities, _TINY))
    rows = np.arange(len(logs))
    right = logs[rows, labels].copy()
    logs[rows, labels] = -np.inf
    lead: NDArray[np.float64] = np.where(np.isnan(right), np.inf, right - logs.max(1))
    return np.where(lead == np.inf, 1e9, lead)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global streams that ART draws from; put them back after."""
    kept = np.random.get_state(), random.getstate()
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(kept[0])
        random.setstate(kept[1])
