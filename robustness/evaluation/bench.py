"""The bench: an artifact and images, loaded once, on which any task of a plan runs on any block.

Shapes: B images of a block, C H W an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustness.adaptive.catalogue import build_adaptive
from robustness.adaptive.joint_model import JointModel
from robustness.attacks.attack import Attack
from robustness.attacks.catalogue import Effort
from robustness.certification.curve import certified_at
from robustness.corruptions import corrupt
from robustness.evaluation.observation import moved, observe, spread, suspicions
from robustness.evaluation.plan import CLEAN, Kind, Task
from robustness.evaluation.store import Columns, Store
from robustness.evaluation.tasks import DEFENCE_ATTACK, attack_of, certificate_radii
from robustness.fitting import EMBEDDING_SEED
from robustness.preprocessing import Defended, parse
from robustness.screened_model import (
    ScreenedModel,
    embedding_projection,
    load_classifier,
    load_screened_model,
)
from torchkeep.artifact import ModelArtifact
from torchkeep.errors import DataError
from torchkeep.threat_model import parse_threat


def load_model(artifact: ModelArtifact, device: torch.device) -> ScreenedModel:
    """Return the served model; of an artifact without detectors one that finds nothing."""
    if artifact.manifest.screening is not None:
        return load_screened_model(artifact, device)
    classifier = load_classifier(artifact)
    return ScreenedModel(
        classifier,
        [],
        fusion=None,
        fused_scores=torch.zeros(0),
        projection=embedding_projection(classifier.head.in_features, EMBEDDING_SEED),
        threshold=math.inf,
        calibration_id="",
        classes=artifact.manifest.classes,
        input_shape=artifact.manifest.input.chw,
    ).to(device)


def attackable(model: ScreenedModel) -> nn.Module:
    """Return the network as an attacker sees it: with the preprocessing that it is served with."""
    if model.preprocessing is None:
        return model.classifier
    return Defended(model.preprocessing, model.classifier)


class Bench:
    """Runs tasks; `source` is the second network, which transferred attacks are made on."""

    def __init__(
        self, store: Store, artifact: ModelArtifact, source: ModelArtifact | None = None
    ) -> None:
        """Load everything. Raises `DataError` if the artifact is not the plan's."""
        plan = store.plan
        _check(artifact, plan.artifact_digest)
        if source is not None:
            _check(source, str(plan.source_digest))
        self.store = store
        self.plan = plan
        self.device = torch.device(plan.device)
        self.model = load_model(artifact, self.device)
        self.network = attackable(self.model)
        self.source = source and load_classifier(source).to(self.device).requires_grad_(False)
        self.material = store.material()

    def run(self, task: Task, block: int) -> Columns:
        """Run a task on a block; return its columns, a row for every image of the block."""
        return _KINDS[task.kind](self, task, block)

    def pixels(self, block: int) -> Tensor:
        """Return a block's images as float32 in 0..1 on the device."""
        images = self.material.images[self.plan.places(block)]
        return torch.from_numpy(images).to(self.device).float().div_(255)

    def labels(self, block: int) -> NDArray[np.int64]:
        """Return a block's labels."""
        return self.material.labels[self.plan.places(block)]

    def attacked(self, task: Task, block: int) -> NDArray[np.bool_]:
        """Return which images of a block (B) the task attacks: right ones, not turned before."""
        clean = self.store.read_block(self.plan.by_key[CLEAN], block)
        chosen: NDArray[np.bool_] = clean["right"].copy()
        for key in task.after:
            before = self.store.read_block(self.plan.by_key[key], block)
            chosen &= ~turned(before, adaptive=task.kind is Kind.ADAPTIVE)
        chosen[self.plan.images_of(task, block) :] = False
        return chosen

    def starts(self, task: Task, block: int, chosen: NDArray[np.bool_]) -> Tensor | None:
        """Return where other attacks ended on the `chosen` images (B), or None without such.

        Of several the last; an image that none was run on begins as it is.
        """
        if not task.starts:
            return None
        images = self.pixels(block).cpu().numpy()
        for key in task.starts:
            before = self.store.read_block(self.plan.by_key[key], block)
            images[before["attacked"]] = before["images"][before["attacked"]]
        return torch.from_numpy(images[chosen]).to(self.device)


def turned(columns: Columns, *, adaptive: bool = False) -> NDArray[np.bool_]:
    """Return which images (B) an attack turned; for an `adaptive` attacker also undetected."""
    wrong = columns["attacked"] & ~columns["right"]
    return wrong & ~columns["suspicious"] if adaptive else wrong


def _check(artifact: ModelArtifact, digest: str) -> None:
    if artifact.digest != digest:
        raise DataError(
            artifact.path,
            f"digest {artifact.digest[:12]}…",
            f"{digest[:12]}…: the artifact was changed since the evaluation began",
        )


def _clean(bench: Bench, task: Task, block: int) -> Columns:
    images = bench.material.images[bench.plan.places(block)]
    return observe(bench.model, images, bench.labels(block))


def _suspicion(bench: Bench, task: Task, block: int) -> Columns:
    labels = torch.from_numpy(bench.labels(block)).to(bench.device)
    return suspicions(bench.network, bench.pixels(block), labels)


def _attack(bench: Bench, task: Task, block: int) -> Columns:
    attack: Any = attack_of(task, bench.plan.seed_of(task, block))
    if task.name == "transfer":
        attack = replace(attack, source=bench.source)
    return _strike(bench, task, block, attack, bench.network)


def _adaptive(bench: Bench, task: Task, block: int) -> Columns:
    chosen = bench.attacked(task, block)
    guides = torch.from_numpy(bench.material.guides).to(bench.device).float().div_(255)
    attack: Any = build_adaptive(
        task.name,
        parse_threat(task.threat),
        seed=bench.plan.seed_of(task, block),
        effort=Effort(task.effort),
        guides=guides,
        guide_labels=torch.from_numpy(bench.material.guide_labels).to(bench.device),
    )
    attack = replace(attack, starts=bench.starts(task, block, chosen))
    return _strike(bench, task, block, attack, JointModel(bench.model))


def _strike(bench: Bench, task: Task, block: int, attack: Attack, target: nn.Module) -> Columns:
    """Attack the images of a block that the task attacks, and see what is served of them."""
    chosen = bench.attacked(task, block)
    places = torch.from_numpy(np.flatnonzero(chosen)).to(bench.device)
    images, labels = bench.pixels(block)[places], bench.labels(block)[chosen]
    twins = attack(target, images, torch.from_numpy(labels).to(bench.device)).images
    found: dict[str, NDArray[Any]] = observe(bench.model, twins.cpu().numpy(), labels)
    found |= moved(images, twins) | {"images": twins.cpu().numpy()}
    return spread(found, chosen) | {"attacked": chosen}


def _corruption(bench: Bench, task: Task, block: int) -> Columns:
    places = bench.plan.places(block)
    corrupted = corrupt(
        bench.material.images[places],
        task.name,
        int(task.options["severity"]),
        seed=bench.plan.seed,
        first=bench.plan.first + places.start,
    )
    return observe(bench.model, corrupted, bench.labels(block))


def _defence(bench: Bench, task: Task, block: int) -> Columns:
    """Put a defence before the bare network, and attack both as one (Athalye et al. 2018)."""
    defended = Defended(parse(task.name), bench.model.classifier)
    images, labels = bench.pixels(block), torch.from_numpy(bench.labels(block)).to(bench.device)
    attack: Any = attack_of(replace(task, name=DEFENCE_ATTACK), bench.plan.seed_of(task, block))
    limit = bench.plan.images_of(task, block)
    with torch.no_grad():
        right = defended(images).argmax(1) == labels
    right[limit:] = False
    fooled = torch.zeros_like(right)
    fooled[right] = attack(defended, images[right], labels[right]).successful
    counted = np.arange(len(images)) < limit
    return {
        "counted": counted,
        "right_clean": right.cpu().numpy(),
        "right": (right & ~fooled).cpu().numpy(),
    }


def _certificate(bench: Bench, task: Task, block: int) -> Columns:
    """Prove what can be proved of the bare network, at radii up to the one trained against."""
    limit = bench.plan.images_of(task, block)
    images = bench.pixels(block)[:limit]
    labels = torch.from_numpy(bench.labels(block)[:limit]).to(bench.device)
    radii = certificate_radii(task.threat)
    counted = np.arange(len(bench.labels(block))) < limit
    proved = np.zeros((len(counted), len(radii)), np.bool_)
    if limit:
        proved[:limit] = certified_at(task.name, bench.model.classifier, images, labels, radii)
    return {"counted": counted, "proved": proved}


_KINDS: Mapping[Kind, Callable[[Bench, Task, int], Columns]] = {
    Kind.CLEAN: _clean,
    Kind.SUSPICION: _suspicion,
    Kind.ATTACK: _attack,
    Kind.ADAPTIVE: _adaptive,
    Kind.CORRUPTION: _corruption,
    Kind.DEFENCE: _defence,
    Kind.CERTIFICATE: _certificate,
}
