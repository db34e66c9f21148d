"""A training as others do it: plain PyTorch, normalised images, a negative log-likelihood."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from safetensors.torch import save_file
from torch import nn

from tests.architectures.networks import LogSoftmax
from torchkeep.data import ImageSet

MEAN, STD = 0.3, 0.35


def train_elsewhere(images: ImageSet, epochs: int = 8) -> nn.Module:
    """Return a network that tells digits apart, trained on clean images."""
    pixels = (torch.from_numpy(images.images).float() / 255 - MEAN) / STD
    labels = torch.from_numpy(images.labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LogSoftmax()
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(epochs):
            for batch in torch.randperm(len(pixels)).split(50):
                loss = F.nll_loss(network(pixels[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval()


def save_elsewhere(network: nn.Module, path: Path) -> Path:
    save_file(network.state_dict(), path)
    return path
