"""The network of an artifact and nothing else: what every server of the comparison computes.

Peers import this module in environments of their own, which have torch, NumPy and safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from torchkeep.architectures import build
from torchkeep.image_shape import ImageShape

# N images, C channels, H W pixels, K classes

DECIMALS = 4
"""Of the probabilities in JSON: then equal images have answers of equal length in any batch."""


class Network:
    """Raw images in, probabilities out; nothing is screened, logged or checked."""

    def __init__(self, artifact: Path) -> None:
        """Load `artifact.json` and `model.safetensors` from a folder."""
        manifest = json.loads((artifact / "artifact.json").read_bytes())
        self.shape = ImageShape(**manifest["input"])
        self.classes: list[str] = manifest["classes"]
        self.model = build(
            manifest["architecture"], self.shape, len(self.classes), manifest["options"]
        )
        self.model.load_state_dict(load_file(artifact / "model.safetensors"))
        self.model.eval().requires_grad_(False)

    @torch.inference_mode()
    def probabilities(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Return N K for N images, each the C H W bytes of its pixels."""
        pixels = torch.frombuffer(bytearray(b"".join(images)), dtype=torch.uint8)
        batch = pixels.view(-1, *self.shape.chw).float().div_(255)
        values: NDArray[np.float32] = self.model(batch).softmax(1).numpy()
        return values

    def answers(self, images: Sequence[bytes]) -> list[bytes]:
        """Return one JSON object for each image: label and probabilities."""
        return [self._json(row) for row in self.probabilities(images).tolist()]

    def _json(self, row: list[float]) -> bytes:
        label = self.classes[row.index(max(row))]
        rounded = [round(value, DECIMALS) for value in row]
        return json.dumps({"label": label, "probabilities": rounded}).encode()
