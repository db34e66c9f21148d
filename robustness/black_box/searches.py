"""ART's Square and HopSkipJump around an endpoint; they end by an exception of the prober.

Shapes: B images asked together, C H W an image, K classes; pixels are in 0..1.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.art_library import prepare
from robustness.black_box.endpoint import BudgetSpentError
from robustness.black_box.prober import FoundError, Prober
from torchkeep.errors import SettingsError, TorchkeepError
from torchkeep.threat_model import Norm, ThreatModel

NORMS = {Norm.LINF: np.inf, Norm.L2: 2}
IDLE = 200
STARTS_IN_VAIN = 5
_NOT_IN_L1 = ("square", "hopskipjump")  # ART's Square takes L1, and then asks nothing
UNANSWERED = 1e9
"""The margin of an image that got no answer: no move towards it is a gain."""
_TINY = 1e-30
_STARTS, _AT_A_TIME = 100, 10


def square(prober: Prober, seed: int) -> None:
    """Random search on the margin of log-probabilities (Andriushchenko et al. 2020)."""
    prepare()
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    fresh = _Freshness(prober)

    def loss(images: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        fresh.look()
        if not np.isfinite(images).all():  # ART divides by zero where a window is unmoved
            return np.full(len(images), UNANSWERED)
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

    def search() -> None:
        SquareAttack(
            victim,
            norm=NORMS[prober.threat.norm],
            adv_criterion=fooled,
            loss=loss,
            eps=prober.threat.eps,
            max_iter=max(1, prober.limit - prober.used),
            verbose=False,
        ).generate(prober.image, np.array([prober.label]))

    with (
        _seeded(seed),
        np.errstate(divide="ignore", invalid="ignore", over="ignore"),
        suppress(FoundError, BudgetSpentError),
    ):
        _again_and_again(prober, fresh, search)


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


class _StuckError(TorchkeepError):
    """A search only repeats what it asked before."""


@dataclass(slots=True)
class _Freshness:
    """Ends a search whose last `IDLE` losses needed no query: on small images moves run out."""

    prober: Prober
    used: int = 0
    idle: int = 0

    def look(self) -> None:
        self.idle = self.idle + 1 if self.prober.used == self.used else 0
        self.used = self.prober.used
        if self.idle > IDLE:
            raise _StuckError(f"{IDLE} repeats in a row")


def _again_and_again(prober: Prober, fresh: _Freshness, search: Callable[[], None]) -> None:
    """Search from new starts until the budget is spent, or `STARTS_IN_VAIN` ask nothing new."""
    in_vain = 0
    while in_vain < STARTS_IN_VAIN:
        before, fresh.idle = prober.used, 0
        with suppress(_StuckError):
            search()
        in_vain = in_vain + 1 if prober.used == before else 0


def check_threat(name: str, threat: object) -> ThreatModel:
    """Return a threat that the attack can do; raise `SettingsError` otherwise."""
    in_l1 = isinstance(threat, ThreatModel) and threat.norm is Norm.L1
    if not isinstance(threat, ThreatModel) or (in_l1 and name in _NOT_IN_L1):
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
    return np.where(lead == np.inf, UNANSWERED, lead)


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
