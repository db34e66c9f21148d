"""The command line that does what a trial did, as near as there is one."""

from __future__ import annotations

import shlex
from pathlib import Path

from robustness.black_box.address import is_loopback
from robustness.playground.menu import NO_ATTACK, QUERIES, asks_the_server
from robustness.playground.target import Endpoint
from robustness.playground.trial import Place, Trial
from torchkeep.artifact import ModelArtifact
from torchkeep.client.endpoint import Endpoint as Address
from torchkeep.threat_model import PATCH

OTHER_START = "Its random start can differ: it derives seeds of its own from the seed."

FIRST_IMAGE = "It attacks the first test image, whichever was chosen here."


def command_for(
    trial: Trial, artifact: ModelArtifact, endpoint: Endpoint | None, served: bool
) -> tuple[str, str]:
    """Return the command line ('' if there is none) and what there is to say of it.

    `served` says whether the defence is the one that the artifact is served with.
    """
    if trial.attack == NO_ATTACK:
        return "", "None: there was no attack."
    if endpoint is not None and asks_the_server(trial):
        return _attack(trial, artifact, endpoint), FIRST_IMAGE
    if trial.upload is not None:
        return "", "None: the command line takes test images, not uploads (--first counts those)."
    if not served:
        return "", "None: the command line attacks the network as it is served."
    note = OTHER_START
    if trial.place is Place.SERVER:
        note = f"It makes the attack on the artifact alone and asks no server. {note}"
    return _evaluate(trial, artifact), note


def _attack(trial: Trial, artifact: ModelArtifact, endpoint: Endpoint) -> str:
    record = artifact.manifest.train_record.get("dataset", {})
    source = str(record.get("source", ""))
    words = ["torchkeep", "attack", endpoint.url, "--attack", trial.attack, "-n", "1"]
    words += ["--queries", str(QUERIES), "--threat", _threat(trial), "--seed", str(trial.seed)]
    words += ["--data", source if Path(source).is_absolute() else str(record.get("name", ""))]
    if endpoint.same is None:  # not the one running here, whose model the command knows
        words += ["--model", artifact.manifest.name]
    if not is_loopback(Address.parse(endpoint.url).host):
        words += ["--i-own-this-endpoint"]
    return shlex.join(words)


def _evaluate(trial: Trial, artifact: ModelArtifact) -> str:
    words = ["torchkeep", "evaluate", str(artifact.path), "--attack", trial.attack]
    if trial.threat == PATCH:  # a report's first threat is one of a norm
        trained = artifact.manifest.threat_model
        words += ["--threat", f"{trained.norm}:{trained.eps:g}" if trained else "linf:0.1"]
    words += ["--threat", _threat(trial), "-n", "1", "--first", str(trial.index)]
    return shlex.join([*words, "--seed", str(trial.seed), "--quick"])


def _threat(trial: Trial) -> str:
    return f"{trial.threat}:{trial.size:.12g}"
