"""What the playground does, without any web: try out one trial at a time.

Shapes: C H W the model's input, K classes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustness.attacks.attack import Attack
from robustness.attacks.catalogue import budget
from robustness.attacks.perturbation import distances
from robustness.evaluation.bench import load_model
from robustness.playground.answering import Said, ask_defended, ask_served, ask_server
from robustness.playground.commands import command_for
from robustness.playground.menu import (
    TITLES,
    asks_the_server,
    attack_for,
    attacks_offered,
    defences,
    server_budget,
    threats_offered,
)
from robustness.playground.pictures import data_url, magnified, png, to_uint8
from robustness.playground.target import SECONDS, Asked, Endpoint, Timed
from robustness.playground.trial import Place, Trial
from robustness.playground.upload import decode_upload
from robustness.preprocessing import Defended
from torchkeep.artifact import ModelArtifact
from torchkeep.data import ImageSet
from torchkeep.errors import SettingsError, UserError
from torchkeep.threat_model import PATCH, Norm

WAIT_SECONDS = 20.0
NOT_CALIBRATED = "no verdict: the detectors were calibrated without this defence"
NO_DETECTORS = "no verdict: the artifact has no detectors"


class BusyError(UserError):
    """Another trial runs, and went on for longer than one waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An image before and after; `difference` is the perturbation, magnified, around grey.

    `queries` is what the attack asked of the server, None if it did not ask.
    """

    before: Said
    after: Said
    pictures: tuple[str, str]
    difference: str
    factor: float
    change: str
    summary: str
    fooled: bool
    budget: dict[str, int | float]
    queries: int | None
    notes: tuple[str, ...]
    command: str
    command_note: str


class Lab:
    """An artifact, its test images, perhaps the server of it, and one trial at a time."""

    def __init__(
        self,
        artifact: ModelArtifact,
        test: ImageSet,
        device: torch.device,
        endpoint: Endpoint | None = None,
        *,
        wait: float = WAIT_SECONDS,
        seconds: float = SECONDS,
    ) -> None:
        self._artifact, self._test, self._endpoint = artifact, test, endpoint
        self._wait, self._seconds = wait, seconds
        self._model = load_model(artifact, device)
        self._defences = defences(self._model.preprocessing)
        self._served = next(iter(self._defences))
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """Return what the page offers, as plain JSON values."""
        manifest, endpoint = self._artifact.manifest, self._endpoint
        server = None if endpoint is None else {"url": endpoint.url, "same": endpoint.same}
        return {
            "model": manifest.name,
            "digest": self._artifact.digest[:12],
            "images": len(self._test),
            "attacks": attacks_offered(),
            "trained": manifest.threat_model and str(manifest.threat_model.norm),
            "threats": threats_offered(self._model.input_shape, manifest.threat_model),
            "defences": list(self._defences),
            "detectors": self._model.fusion is not None,
            "server": server and {**server, "budget": server_budget()},
            "seconds": self._seconds,
        }

    def picture(self, index: int) -> bytes:
        """Return a test image as a PNG file. Raises `SettingsError` if there is no such image."""
        return png(self._pixels(index))

    def try_out(self, trial: Trial) -> Outcome:
        """Run a trial. Raises `BusyError` if another one does not end in time."""
        if not self._lock.acquire(timeout=self._wait):
            raise BusyError("another trial is running", remedy="Try again in a moment.")
        try:
            return self._run(trial)
        finally:
            self._lock.release()

    def _run(self, trial: Trial) -> Outcome:
        attack, defence = attack_for(trial), self._defence(trial)
        pixels, notes = self._chosen(trial)
        clean = torch.from_numpy(pixels[None]).to(self._model.device) / 255
        before = self._ask(trial, defence, clean)
        label = self._label(trial, before)
        target = self._target(trial, defence, label)
        attacked = clean
        if attack is not None:
            labels = torch.tensor([label], device=clean.device)
            attacked = attack(Timed(target, self._seconds), clean, labels).images
        after = self._ask(trial, defence, attacked)
        difference, factor = magnified((attacked - clean)[0].cpu().numpy())
        command, command_note = command_for(
            trial, self._artifact, self._endpoint, served=defence == self._served
        )
        name = self._model.classes[label]
        return Outcome(
            before=before,
            after=after,
            pictures=(_shown(clean), _shown(attacked)),
            difference=data_url(difference),
            factor=factor,
            change=_change(trial, clean, attacked),
            summary=_summary(name, before, after, attack),
            fooled=bool(after.labels) and after.labels[0][0] != name,
            budget={} if attack is None else budget(attack),
            queries=target.asked if isinstance(target, Asked) else None,
            notes=(*notes, *self._notes(trial, defence)),
            command=command,
            command_note=command_note,
        )

    def _defence(self, trial: Trial) -> str:
        """Return the name of the defence; a server has its own, which nothing here changes."""
        name = trial.defence or self._served
        if name not in self._defences:
            raise SettingsError(
                f"no defence {name!r} here", remedy=f"There are {', '.join(self._defences)}."
            )
        if trial.place is Place.SERVER and name != self._served:
            raise SettingsError(
                "a defence cannot be put before the running server",
                remedy="Let the artifact here answer.",
            )
        return name

    def _chosen(self, trial: Trial) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        if trial.upload is None:
            return self._pixels(trial.index), ()
        pixels, notes = decode_upload(trial.upload, self._model.input_shape)
        told = (f"the upload was {note}" for note in notes)
        return pixels, (*told, "the upload's label is the first prediction")

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if not 0 <= index < len(self._test):
            raise SettingsError(
                f"there is no test image {index}", remedy=f"Give 0 to {len(self._test) - 1}."
            )
        pixels: NDArray[np.uint8] = self._test.images[index].copy()  # torch wants it writable
        return pixels

    def _ask(self, trial: Trial, defence: str, images: Tensor) -> Said:
        image: NDArray[np.float32] = images[0].detach().cpu().numpy()
        if trial.place is Place.SERVER:
            return ask_server(self._server(), image, self._model.classes)
        if defence == self._served:
            return ask_served(self._model, image, trial.policy)
        return ask_defended(self._network(defence), self._model, image)

    def _label(self, trial: Trial, before: Said) -> int:
        """Return the label that an attack flees from: the true one, of an upload the first said."""
        if trial.upload is None:
            return int(self._test.labels[trial.index])
        name = before.labels[0][0] if before.labels else ""
        if name not in self._model.classes:
            raise SettingsError(
                "the server gives the upload no label of this model, so there is none to flee from",
                remedy="Try another image.",
            )
        return self._model.classes.index(name)

    def _target(self, trial: Trial, defence: str, label: int) -> nn.Module:
        if asks_the_server(trial):
            return Asked(self._server(), label, len(self._model.classes))
        return self._network(defence)

    def _network(self, defence: str) -> nn.Module:
        preprocessing = self._defences[defence]
        if preprocessing is None:
            return self._model.classifier
        return Defended(preprocessing, self._model.classifier)

    def _server(self) -> Endpoint:
        if self._endpoint is None:
            raise SettingsError(
                "the playground was started without a server",
                remedy="Start one with `torchkeep up`, then the playground again.",
            )
        return self._endpoint

    def _notes(self, trial: Trial, defence: str) -> tuple[str, ...]:
        if trial.place is Place.SERVER:
            other = "the server serves another artifact: the attack is made on one and tried on two"
            return (other,) if self._server().same is False else ()
        if self._model.fusion is None:
            return (NO_DETECTORS,)
        return () if defence == self._served else (NOT_CALIBRATED,)


def _shown(images: Tensor) -> str:
    return data_url(to_uint8(images[0].cpu().numpy()))


def _change(trial: Trial, clean: Tensor, attacked: Tensor) -> str:
    """Say how large the perturbation is, in the terms of its threat."""
    if trial.threat == PATCH:
        share = float((clean != attacked).any(1).float().mean())
        return f"{share:.1%} of the pixels changed"
    distance = float(distances(clean, attacked, Norm(trial.threat))[0])
    return f"{TITLES[trial.threat]} distance {distance:.3g}"


def _summary(name: str, before: Said, after: Said, attack: Attack | None) -> str:
    """Say in a sentence what became of the prediction."""
    if not after.labels:
        return "The server gives no prediction for this image."
    first, last = before.labels[0][0] if before.labels else "", after.labels[0][0]
    if first and first != name:
        return f"The model was wrong before any attack: it says “{first}”, not “{name}”."
    if last != name:
        return f"The model no longer says “{name}” but “{last}”."
    return f"The model {'says' if attack is None else 'still says'} “{name}”, as it should."
