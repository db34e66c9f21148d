"""What a training minimises: one file an objective, each naming its paper."""

from training.objectives.augmix import AugMix
from training.objectives.fast_at import FastAT
from training.objectives.gaussian_noise import GaussianNoise
from training.objectives.interval_bounds import IntervalBounds
from training.objectives.natural import Natural
from training.objectives.objective import Moment, Objective
from training.objectives.pgd_at import PGDAT
from training.objectives.trades import TRADES

__all__ = [
    "PGDAT",
    "TRADES",
    "AugMix",
    "FastAT",
    "GaussianNoise",
    "IntervalBounds",
    "Moment",
    "Natural",
    "Objective",
]
