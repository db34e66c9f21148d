"""Standard AutoAttack by its authors, on weights and images from files; knows nothing of ours.

    python peer.py MODEL.safetensors IMAGES.safetensors EPS BATCH

prints one JSON object: which images hold, the clean accuracy, and the seconds.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from pyautoattack import AutoAttack
from safetensors.torch import load_file
from torch import nn


def network(state: dict[str, torch.Tensor]) -> nn.Module:
    """Build the two-convolution network of Wong et al. 2020 anew, from its tensors alone."""
    mean, std = state["features.normalise.mean"], state["features.normalise.std"]
    conv1, conv2 = state["features.conv1.weight"], state["features.conv2.weight"]
    hidden, head = state["features.hidden.weight"], state["head.weight"]
    layers = nn.Sequential(
        nn.Conv2d(conv1.shape[1], conv1.shape[0], 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(conv2.shape[1], conv2.shape[0], 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(hidden.shape[1], hidden.shape[0]),
        nn.ReLU(),
        nn.Linear(head.shape[1], head.shape[0]),
    )
    names = ("features.conv1", "features.conv2", "features.hidden", "head")
    for layer, name in zip((layers[0], layers[2], layers[5], layers[7]), names, strict=True):
        layer.weight.data, layer.bias.data = state[f"{name}.weight"], state[f"{name}.bias"]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layers((images - mean) / std)

    return Network().eval().requires_grad_(False)


def main(model: str, material: str, eps: str, batch: str) -> None:
    """Attack, and print what holds."""
    torch.set_num_threads(1)
    tensors = load_file(material)
    images = tensors["images"].float() / 255
    labels = tensors["labels"].long()
    net = network(load_file(model))
    begun = time.perf_counter()
    attack = AutoAttack(net, norm="Linf", eps=float(eps), version="standard", seed=0, device="cpu")
    found = attack.run_standard_evaluation(images, labels, batch_size=int(batch))
    made = found[0] if isinstance(found, tuple) else found
    with torch.no_grad():
        clean = net(images).argmax(1) == labels
        holds = clean & (net(made).argmax(1) == labels)
    far = (made - images).abs().max().item()
    report = {
        "holds": holds.tolist(),
        "clean": clean.float().mean().item(),
        "farthest": far,
        "seconds": time.perf_counter() - begun,
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
