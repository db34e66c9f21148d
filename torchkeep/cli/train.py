"""`torchkeep train`: the same command as `python -m training`, which torchrun starts."""

from training.command import summary, tell, train

__all__ = ["summary", "tell", "train"]
