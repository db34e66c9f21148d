"""Natural corruptions of images, after Hendrycks and Dietterich (2019)."""

from robustness.corruptions.catalogue import CORRUPTIONS, Corruption, corrupt, kinds_for

__all__ = ["CORRUPTIONS", "Corruption", "corrupt", "kinds_for"]
