"""Torchkeep: serve PyTorch models that are screened, logged and hard to fool."""

__version__ = "0.1.0"
