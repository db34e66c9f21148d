"""Carry out a certification as ordered; every image that is done is kept at once."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from robustness.certification.curve import METHODS, certified_at, has_rules
from robustness.certification.smoothing import Smoothing, certify, seeded_noise
from robustness.evaluation.report import CertificationResult, Curve, Point
from robustness.fitting import to_unit
from robustness.screened_model import load_classifier
from torchkeep.architectures import Classifier
from torchkeep.artifact import ModelArtifact
from torchkeep.atomic_file import write_atomic
from torchkeep.cli.certify import RADII
from torchkeep.cli.preparation import recorded_splits, torch_device
from torchkeep.errors import SettingsError
from torchkeep.paths import Home
from torchkeep.progress import Report

SMOOTHING = "smoothing"
SOURCES = {
    "interval": "Gowal et al. 2018, section 3",
    "linear": "Zhang et al. 2018 (CROWN), section 3",
    SMOOTHING: "Cohen et al. 2019, section 3.2",
}
PART = 20
"""Images between two saves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A certification as ordered on the command line."""

    artifact: Path
    method: str | None = None
    radii: tuple[float, ...] = ()
    images: int = 100
    sigma: float = 0.25
    draws: int = 10_000
    alpha: float = 0.001
    data: str | None = None
    seed: int = 0
    device: str = "cpu"
    samples: Path | None = None


class Row(msgspec.Struct, frozen=True):
    """What is proved of one image: the largest radius (-1: none), and whether it is right."""

    index: int
    label: int
    right: bool
    radius: float


def run(order: Order, report: Report) -> CertificationResult:
    """Certify, or go on with it. Raises `SettingsError` before anything is begun."""
    artifact = ModelArtifact.load(order.artifact)
    device = torch_device(order.device)
    smoothing = Smoothing(sigma=order.sigma, draws=order.draws, alpha=order.alpha)
    radii = tuple(sorted(set(order.radii))) or RADII
    if not all(0 < radius <= 1 for radius in radii):
        raise SettingsError(
            f"a radius of {next(r for r in radii if not 0 < r <= 1):g}",
            remedy="Pixels are in 0..1: give --eps above 0, up to 1; write 8/255 as 0.0314.",
        )
    test = recorded_splits(artifact, order.data).test
    if order.images > len(test):
        raise SettingsError(
            f"{order.images} images of a test set of {len(test)}",
            remedy=f"Give -n up to {len(test)}.",
        )
    chosen = test.subset(range(order.images))
    images, labels = to_unit(chosen).to(device), torch.from_numpy(chosen.labels).to(device)
    model = load_classifier(artifact).to(device).requires_grad_(False)
    method = _method(order, artifact, model, images)
    settings: dict[str, Any] = {"seed": order.seed, "radii": radii}
    if method == SMOOTHING:
        settings = {"seed": order.seed} | asdict(smoothing)
    file = _file(artifact, method, settings, order)
    rows = _read(file)[: len(images)]
    for start in range(len(rows), len(images), PART):
        report("certify", start, len(images))
        part = slice(start, min(start + PART, len(images)))
        if method == SMOOTHING:
            rows += _smoothed(model, images[part], labels[part], smoothing, order.seed, start)
        else:
            rows += _bounded(method, model, images[part], labels[part], radii, start)
        write_atomic(file, msgspec.json.encode(rows))
    report("certify", len(images), len(images))
    if order.samples is not None:
        write_atomic(order.samples, _csv(rows).encode())
    return result(method, rows, radii, settings)


def _method(order: Order, artifact: ModelArtifact, model: Classifier, images: Tensor) -> str:
    """Return the method ordered, or the one that suits how the network was trained."""
    if order.method is None:
        noisy = "smoothing" in str(artifact.manifest.train_record.get("recipe", ""))
        suits = SMOOTHING if noisy or not has_rules(model, images) else "linear"
        return _method(replace(order, method=suits), artifact, model, images)
    if order.method != SMOOTHING and order.method not in METHODS:
        raise SettingsError(
            f"no method {order.method!r}", remedy="Give interval, linear or smoothing."
        )
    if order.method == SMOOTHING and order.radii:
        raise SettingsError(
            "smoothing finds radii by itself, in L2", remedy="Leave out --eps, or use linear."
        )
    if order.method in METHODS and not has_rules(model, images):
        raise SettingsError(
            f"bounds know no rules for {artifact.manifest.architecture}",
            remedy="Use --method smoothing.",
        )
    return order.method


def _bounded(
    method: str,
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    radii: Sequence[float],
    first: int,
) -> list[Row]:
    proved = certified_at(method, model, images, labels, radii)
    with torch.no_grad():
        right = (model(images).argmax(1) == labels).tolist()
    return [
        Row(first + place, int(label), right[place], ([-1.0, *radii])[int(row.sum())])
        for place, (label, row) in enumerate(zip(labels, proved, strict=True))
    ]


def _smoothed(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    smoothing: Smoothing,
    seed: int,
    first: int,
) -> list[Row]:
    rows = []
    for place, (image, label) in enumerate(zip(images, labels, strict=True), start=first):
        found = certify(model, image, smoothing, seeded_noise(image, _seed(seed, place)))
        right = found.label == int(label)
        rows.append(Row(place, int(label), right, found.radius if right else -1.0))
    return rows


def _seed(seed: int, place: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{place}".encode()).digest()[:4], "big")


def result(
    method: str, rows: Sequence[Row], radii: Sequence[float], settings: dict[str, Any]
) -> CertificationResult:
    """Return the certified accuracy over the radius: at radius 0 the (smoothed) accuracy."""
    places = list(radii)
    if method == SMOOTHING:
        furthest = max((row.radius for row in rows), default=0.0)
        places = [round(0.05 * step, 2) for step in range(1, 1 + int(furthest / 0.05))]
    shares = [sum(row.right for row in rows) / len(rows)]
    shares += [
        sum(row.right and row.radius >= radius for row in rows) / len(rows) for radius in places
    ]
    points = tuple(Point(x=x, y=y) for x, y in zip([0.0, *places], shares, strict=True))
    return CertificationResult(
        method=method,
        norm="l2" if method == SMOOTHING else "linf",
        certified=(Curve(name=method, points=points),),
        n=len(rows),
        settings=settings,
        source=SOURCES[method],
    )


def _file(artifact: ModelArtifact, method: str, settings: dict[str, Any], order: Order) -> Path:
    """Return where the finished images lie: another place for whatever they depend on."""
    decides = [artifact.digest, method, settings, order.device]
    digest = hashlib.sha256(msgspec.json.encode(decides, order="deterministic")).hexdigest()
    name = f"{artifact.manifest.name}-{artifact.manifest.version}-{digest[:12]}.json"
    return Home.default().root / "certifications" / name


def _read(file: Path) -> list[Row]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Row])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["index", "label", "right", "radius"])
    for row in rows:
        writer.writerow([row.index, row.label, int(row.right), f"{row.radius:.6g}"])
    return out.getvalue()
