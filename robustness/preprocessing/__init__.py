"""Preprocessing defences, and how to attack through them."""

from robustness.preprocessing.bpda import Defended
from robustness.preprocessing.catalogue import build_preprocessing, parse
from robustness.preprocessing.preprocessing import Preprocessing

__all__ = ["Defended", "Preprocessing", "build_preprocessing", "parse"]
