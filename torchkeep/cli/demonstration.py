"""Show that a running server works: one clean test image and its attacked twin, both ways in."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from monitoring.log_reader import find
from monitoring.scope import DEMONSTRATION
from release.asking import local_door
from robustness.screened_model import load_classifier
from torchkeep.client import Client
from torchkeep.errors import TorchkeepError
from torchkeep.ids import new_id
from torchkeep.paths import Home
from torchkeep.threat_model import Norm
from training.evaluation import recorded_attack

if TYPE_CHECKING:
    from release.status import ServerStatus
    from torchkeep.artifact import ModelArtifact
    from torchkeep.client import PredictResult
    from torchkeep.data import ImageSet

Pixels = NDArray[np.uint8] | NDArray[np.float32]

CANDIDATES = 100
LEVELS = 255


@dataclass(frozen=True, slots=True)
class Pair:
    """A test image and its attacked twin, C H W, within eps of each other.

    The twin is rounded to whole pixel levels where that cannot leave the ball: in Linf.
    """

    index: int
    label: str
    clean: NDArray[np.uint8]
    twin: Pixels


@dataclass(frozen=True, slots=True)
class Shown:
    """One request of the demonstration, its answer, and the record it left."""

    image: str
    over: str
    result: PredictResult
    record: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        item, screening = self.result.items[0], self.result.items[0].screening
        return {
            "image": self.image,
            "over": self.over,
            "status": item.status,
            "label": item.label,
            "probability": item.probability,
            "verdict": screening and screening.verdict,
            "model_version": self.result.model_version,
            "request_id": self.result.request_id,
            "record": self.record,
        }


def find_pair(artifact: ModelArtifact, test: ImageSet) -> Pair:
    """Return the first test image with a twin that fools the model, as it would be sent.

    If it fools none of the first hundred, the first image and its twin, which fools nobody.
    """
    model = load_classifier(artifact)
    attack, _ = recorded_attack(artifact.manifest)
    few = test.subset(range(min(CANDIDATES, len(test))))
    labels = torch.from_numpy(few.labels)
    clean = torch.from_numpy(few.images).float().div_(LEVELS)
    attacked = attack(model, clean, labels).images
    twins: Pixels = attacked.numpy()
    if attack.threat.norm is Norm.LINF:
        twins = _to_levels(attacked, few.images, attack.threat.eps)
        attacked = torch.from_numpy(twins).float().div_(LEVELS)
    with torch.no_grad():
        right = model(clean).argmax(1) == labels
        fooled = model(attacked).argmax(1) != labels
    candidates = torch.nonzero(right & fooled).flatten().tolist()
    index = candidates[0] if candidates else 0
    label = artifact.manifest.classes[int(few.labels[index])]
    return Pair(index, label, few.images[index], twins[index])


def _to_levels(twins: torch.Tensor, clean: NDArray[np.uint8], eps: float) -> NDArray[np.uint8]:
    """Round attacked images to pixel levels without leaving the Linf ball of radius `eps`."""
    levels = np.rint(twins.numpy() * LEVELS).astype(np.int16)
    radius = int(eps * LEVELS)
    inside = np.clip(levels, clean.astype(np.int16) - radius, clean.astype(np.int16) + radius)
    rounded: NDArray[np.uint8] = np.clip(inside, 0, LEVELS).astype(np.uint8)
    return rounded


def demonstrate(home: Home, server: ServerStatus, pair: Pair) -> list[Shown]:
    """Send both images over REST and over gRPC. Raises if a request left no record."""
    return list(_shown(home, server, pair))


def _shown(home: Home, server: ServerStatus, pair: Pair) -> Iterator[Shown]:
    door, run = local_door(home, server), f"{DEMONSTRATION}{new_id()}"
    for over, url in (("REST", door.rest), ("gRPC", door.grpc)):
        with Client(url, model=server.model, token=door.token) as client:
            for image, pixels in (("clean", pair.clean), ("attacked", pair.twin)):
                result = client.predict(_encode(pixels), correlation_id=run)
                records = find(Path(server.request_log), result.request_id)
                if not records:
                    raise TorchkeepError(f"request {result.request_id} left no record")
                yield Shown(image, over, result, records[0])


def _encode(pixels: Pixels) -> bytes | Pixels:
    """Return a PNG where the format has room for the pixels, else the array itself."""
    if pixels.shape[0] not in (1, 3) or pixels.dtype != np.uint8:
        return pixels
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def tell(console: Console, pair: Pair, shown: Sequence[Shown]) -> None:
    """Print the answers and the records they left."""
    console.print(f"\nTest image {pair.index}, a {pair.label}, and its PGD-attacked twin:")
    answers = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("image", "over", "prediction", "verdict", "version", "request id"):
        answers.add_column(column, no_wrap=True)
    for one in shown:
        item = one.result.items[0]
        predicted = f"{item.label} ({item.probability:.1%})" if item.ok else str(item.status)
        verdict = str(item.screening.verdict) if item.screening else "not told"
        version, identity = one.result.model_version, one.result.request_id
        answers.add_row(one.image, one.over, predicted, _colour(verdict), version, identity)
    console.print(answers)
    console.print("\nThe records they left in the request log:")
    records = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("request id", "protocol", "prediction", "score", "p-value", "ms"):
        records.add_column(column, no_wrap=True)
    for one in shown:
        record, screening = one.record, one.record["screening"] or {}
        records.add_row(
            record["request_id"],
            record["request_type"]["protocol"],
            next(iter(record["prediction"]), "-"),
            _number(screening.get("score"), ".2f"),
            _number(screening.get("p_value"), ".4f"),
            f"{record['runtime_ms']['total']:.2f}",
        )
    console.print(records)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _colour(verdict: str) -> str:
    return f"[green]{verdict}[/]" if verdict == "clean" else f"[red]{verdict}[/]"
