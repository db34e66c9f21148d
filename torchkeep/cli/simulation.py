"""Real traffic with a known fault: held-out images, shifted, sent through the running server.

N images, C channels, H W pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.examination import Keeping
from monitoring.health import Health, Span
from monitoring.log_reader import read_records
from monitoring.scope import SIMULATION
from release.asking import local_door
from release.status import status
from torchkeep.cli.monitored import Place
from torchkeep.cli.preparation import recorded_splits
from torchkeep.client import Client
from torchkeep.data import ImageSet
from torchkeep.errors import ServerError
from torchkeep.ids import new_id
from torchkeep.progress import Report

Images = NDArray[np.uint8]  # N C H W

BRIGHTNESS = 0.6
"""Factor on every pixel."""
SIGMA = 0.2
"""Standard deviation of the noise, on the 0..1 scale."""
TIMES = 3
"""By this the share of one class is multiplied."""
_LEVELS = 255


class Shift(StrEnum):
    """What is done to the images."""

    NONE = "none"  # nothing
    BRIGHTNESS = "brightness"  # every pixel × 0.6
    NOISE = "noise"  # Gaussian noise, sigma 0.2, cut off at black and white
    CLASS = "class"  # the first class has three times its share


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What was sent: `requests` of one image each, all under one correlation id."""

    shift: Shift
    correlation_id: str
    requests: int


def simulate(
    place: Place, shift: Shift, count: int, *, seed: int, data: str | None, report: Report
) -> tuple[Simulated, Health]:
    """Send shifted test images through the server that runs here, and look at exactly these.

    Raises `ServerError` if nothing runs here, or something else than the artifact.
    """
    server = status(place.home)
    if not server.running:
        raise ServerError(server.reason, remedy="Start one: torchkeep up.")
    if server.artifact_digest != place.artifact.digest:
        raise ServerError(
            f"{place.artifact.path} is not what is being served",
            remedy="Name the folder that is with --artifact.",
        )
    images = shifted(recorded_splits(place.artifact, data).test, shift, count, seed=seed)
    door = local_door(place.home, server)
    with Client(door.rest, model=server.model, token=door.token, timeout=60) as client:
        sent = drive(client, images, shift, Path(server.request_log), report)
    span = Span(correlation_id=sent.correlation_id, version=server.version)
    log = replace(place, log_directory=Path(server.request_log))
    return sent, log.look(span, Keeping(path=True))


def shifted(images: ImageSet, shift: Shift, count: int, *, seed: int) -> Images:
    """Draw `count` of the images and shift them; the same seed gives the same images.

    None is drawn twice as long as there are enough of its kind.
    """
    generator = np.random.default_rng(seed)
    if shift is Shift.CLASS:
        return images.images[_with_one_class_tripled(images.labels, count, generator)]
    drawn = images.images[_draw(np.arange(len(images)), count, generator)]
    if shift is Shift.BRIGHTNESS:
        return _to_levels(drawn * BRIGHTNESS)
    if shift is Shift.NOISE:
        return _to_levels(drawn + generator.normal(0, SIGMA * _LEVELS, drawn.shape))
    return drawn


def _with_one_class_tripled(
    labels: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    chosen = np.flatnonzero(labels == labels.min())
    others = np.flatnonzero(labels != labels.min())
    of_chosen = min(count, round(count * TIMES * len(chosen) / len(labels)))
    if not len(others):
        of_chosen = count
    parts = (_draw(chosen, of_chosen, generator), _draw(others, count - of_chosen, generator))
    return generator.permutation(np.concatenate(parts))


def _draw(
    indices: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    return generator.choice(indices, size=count, replace=count > len(indices))


def _to_levels(images: NDArray[np.floating[Any]]) -> Images:
    levels: Images = np.rint(images).clip(0, _LEVELS).astype(np.uint8)
    return levels


def drive(
    client: Client, images: Images, shift: Shift, request_log: Path, report: Report
) -> Simulated:
    """Send N images, one a request, as users would; return when all of them are in the log.

    Raises `ServerError` if an answered request left no record there.
    """
    run = f"{SIMULATION}{shift}-{new_id()}"
    step = f"send images ({shift})"
    for number, image in enumerate(images):
        report(step, number, len(images))
        client.predict(image, request_id=f"{run}-{number}", correlation_id=run)
    report(step, len(images), len(images))
    _require_records(request_log, run, range(len(images)))
    return Simulated(shift=shift, correlation_id=run, requests=len(images))


def _require_records(request_log: Path, run: str, numbers: Sequence[int]) -> None:
    """What is answered is logged before its answer leaves, so there is nothing to wait for."""
    found = {
        record["request_id"]
        for record in read_records(request_log)
        if record.get("correlation_id") == run
    }
    missing = {f"{run}-{number}" for number in numbers} - found
    if missing:
        raise ServerError(
            f"{len(missing)} of {len(numbers)} answered requests are not in {request_log}",
            remedy="Is this the log of the server that was asked?",
        )
