"""Model architectures: `build(name, shape, classes, options)`."""

from torchkeep.architectures.classifier import Classifier, Normalise
from torchkeep.architectures.registry import build, names, register

__all__ = ["Classifier", "Normalise", "build", "names", "register"]
