"""The sequential alarm on a real model: how late it is, and how often it is wrong.

Run `python -m loadtests.benchmarks.sequential ARTIFACT [--json]`. Images of the data that the
artifact was trained on, which neither training nor reference saw, go through the screened model.
Streams are drawn from them with replacement, each with its seed.

Delays: 1,000 images as they are, then shifted ones; how many of these until the alarm. An alarm
before is false, and counted. Run length: nothing changes; items judged a false alarm. That is told
of streams of test images against the artifact's own reference, which is of other images than these
and may differ a little, and of a reference and a stream that are halves of the test images, divided
anew by each seed, which differ by chance alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from loadtests.benchmarks.screening_overhead import machine
from loadtests.benchmarks.served import served_window
from monitoring.betting.follower import Follower
from monitoring.betting.scores import Scorer, fit_scorer
from monitoring.reference import Reference
from monitoring.sequential import SequentialAlarm, SequentialConfig
from monitoring.window import Window
from robustness.screened_model import ScreenedModel, load_screened_model
from torchkeep.artifact import ModelArtifact
from torchkeep.data import ImageSet
from training.material import Material
from training.reference import make_reference

Images = NDArray[np.uint8]

LEAD = 1000
WAITED = 4000
"""Shifted images of a stream, at most; one without an alarm by then counts as so late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Images from the change to the alarm, over `streams` streams."""

    shift: str
    streams: int
    median: float
    worst: float
    missed: int
    """Streams without an alarm after the change; they count as the longest delay."""
    confirmed: int
    """Streams with a false alarm so shortly before that the change confirmed it; not in delays."""
    false_before: int
    witness: str
    """The commonest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLength:
    """Items without a change, and the alarms among them."""

    what: str
    streams: int
    items: int
    alarms: int
    run_length: float
    """Items an alarm; if there was none, all items."""
    to_first: float
    """Items until the first alarm of a stream, or its end, an alarm that was the first."""
    us_an_item: float
    """CPU time, from scores on."""


def brightness(factor: float) -> Callable[[Images, np.random.Generator], Images]:
    """Return the shift that multiplies all pixels."""
    return lambda images, _: (images * factor).round().astype(np.uint8)


def noise(sigma: float) -> Callable[[Images, np.random.Generator], Images]:
    """Return the shift that adds Gaussian noise of this deviation on the 0..1 scale."""

    def shifted(images: Images, random: np.random.Generator) -> Images:
        noisy = images / 255 + random.normal(0, sigma, images.shape)
        return np.asarray((noisy.clip(0, 1) * 255).round().astype(np.uint8))

    return shifted


def partly(
    share: float, shift: Callable[[Images, np.random.Generator], Images]
) -> Callable[[Images, np.random.Generator], Images]:
    """Return the shift that befalls a share of the images."""

    def shifted(images: Images, random: np.random.Generator) -> Images:
        hit = random.random(len(images)) < share
        return np.where(hit[:, None, None, None], shift(images, random), images)

    return shifted


SHIFTS = {
    "brightness × 0.6": brightness(0.6),
    "Gaussian noise σ 0.2": noise(0.2),
    "brightness × 0.98": brightness(0.98),
    "Gaussian noise σ 0.02": noise(0.02),
    "brightness × 0.6, of 1 in 20": partly(0.05, brightness(0.6)),
}


def delays(
    reference: Reference,
    before: Window,
    after: Window,
    shift: str,
    chances: NDArray[Any],
    streams: int,
) -> Delay:
    """Measure the delays of streams that change from `before` to `after`, drawn with `chances`."""
    found, witnesses, false_before, confirmed = [], [], 0, 0
    for seed in range(streams):
        random = np.random.default_rng([seed, 1])
        detector = SequentialAlarm.start(reference, SequentialConfig(seed=seed))
        lead = before.take(random.integers(0, len(before), LEAD))
        false_before += len(detector.update(_numbered(lead, 0), now_ns=0))
        rows = random.choice(len(after), WAITED, p=chances)
        raised = detector.update(_numbered(after.take(rows), LEAD), now_ns=0)
        if raised:
            found.append(raised[0].number - LEAD)
            witnesses.append(raised[0].witness)
        elif detector.counts.confirmations:
            confirmed += 1
        else:
            found.append(WAITED)
    return Delay(
        shift=shift,
        streams=streams,
        median=statistics.median(found),
        worst=max(found),
        missed=streams - len(witnesses) - confirmed,
        confirmed=confirmed,
        false_before=false_before,
        witness=statistics.mode(witnesses) if witnesses else "",
    )


def _numbered(window: Window, first: int) -> Window:
    """Return a window whose items stand in their order, as if logged one ns after another."""
    numbers = np.arange(first, first + len(window), dtype=np.int64)
    return replace(window, timestamp_ns=numbers, request_id=numbers.astype(str))


def run_length(
    what: str, sides: Iterator[tuple[Scorer, NDArray[np.float32], NDArray[np.int64]]], length: int
) -> RunLength:
    """Count the alarms in streams of `length` items in which nothing changes."""
    first, alarms, streams, spent = [], 0, 0, 0.0
    for seed, (scorer, scores, predicted) in enumerate(sides):
        rows = np.random.default_rng([seed, 2]).integers(0, len(scores), length)
        follower = Follower(
            scorer.calibration,
            scorer.predicted,
            classes=int(max(predicted.max(), scorer.predicted.max())) + 1,
            config=SequentialConfig(seed=seed),
        )
        start = time.process_time()
        rises = follower.take(scores[rows], predicted[rows], np.arange(length))
        spent += time.process_time() - start
        alarms += len(rises)
        first.append(rises[0].number if rises else length)
        streams += 1
    raised = sum(number < length for number in first)
    return RunLength(
        what=what,
        streams=streams,
        items=streams * length,
        alarms=alarms,
        run_length=round(streams * length / max(1, alarms)),
        to_first=round(sum(first) / max(1, raised)),
        us_an_item=round(spent / (streams * length) * 1e6, 1),
    )


def against(
    reference: Reference, window: Window, streams: int
) -> Iterator[tuple[Scorer, NDArray[np.float32], NDArray[np.int64]]]:
    """Yield streams of the window against one reference, which each divides anew."""
    for seed in range(streams):
        scorer = fit_scorer(reference, neighbours=SequentialConfig().neighbours, seed=seed)
        yield scorer, scorer.of(window), window.predicted


def halves(
    model: ScreenedModel, artifact: ModelArtifact, test: ImageSet, window: Window, streams: int
) -> Iterator[tuple[Scorer, NDArray[np.float32], NDArray[np.int64]]]:
    """Yield streams of one half of the test images against the other, divided anew for each."""
    for seed in range(streams):
        order = np.random.default_rng([seed, 3]).permutation(len(window))
        known, rest = order[: len(order) // 2], order[len(order) // 2 :]
        reference = make_reference(artifact, model, test.subset(known), lambda *_: None)
        scorer = fit_scorer(reference, neighbours=SequentialConfig().neighbours, seed=seed)
        stream = window.take(rest)
        yield scorer, scorer.of(stream), stream.predicted


def measure(
    path: Path, streams: int, long_streams: int, length: int
) -> tuple[list[Delay], list[RunLength]]:
    """Measure an artifact."""
    artifact = ModelArtifact.load(path)
    record = artifact.manifest.train_record["dataset"]
    source = record["source"]
    place = source if Path(source).is_absolute() else record["name"]
    splits = Material.recorded(place, record.get("cleaned")).splits
    model = load_screened_model(artifact, "cpu")
    reference = make_reference(artifact, model, splits.calibration_b, lambda *_: None)
    test = served_window(artifact, model, splits.test.images)
    even = np.full(len(test), 1 / len(test))
    late = []
    for shift, apply in SHIFTS.items():
        images = apply(splits.test.images, np.random.default_rng(0))
        shifted = served_window(artifact, model, images)
        late.append(delays(reference, test, shifted, shift, even, streams))
    tripled = np.where(splits.test.labels == 3, 3.0, 1.0)
    chances = tripled / tripled.sum()
    late.append(delays(reference, test, test, "class 3 tripled", chances, streams))
    own = against(reference, test, long_streams)
    divided = halves(model, artifact, splits.test, test, long_streams)
    return late, [
        run_length("test images against the artifact's reference", own, length),
        run_length("halves of the test images", divided, length),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print delays and run lengths."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path, help="folder of an artifact with detectors")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--streams", type=int, default=100, help="streams a shift (default 100)")
    parser.add_argument("--long-streams", type=int, default=50, help="without a shift (default 50)")
    parser.add_argument("--length", type=int, default=50_000, help="of these (default 50000)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    late, lengths = measure(chosen.artifact, chosen.streams, chosen.long_streams, chosen.length)
    design = SequentialConfig().average_run_length
    if chosen.json:
        rows = {"delays": [asdict(row) for row in late], "run": [asdict(row) for row in lengths]}
        document = {"machine": machine(), "average_run_length": design, **rows}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return 0
    sys.stdout.write(f"{machine()}\ndesigned average run length {design:,} items\n")
    for row in late:
        sys.stdout.write(
            f"{row.shift}: median delay {row.median:.0f}, worst {row.worst:.0f}, "
            f"{row.missed} of {row.streams} missed, {row.confirmed} confirmed an alarm before, "
            f"mostly by {row.witness or 'nothing'}; "
            f"{row.false_before} false alarms in {row.streams * LEAD:,} images before\n"
        )
    for run in lengths:
        sys.stdout.write(
            f"{run.what}: {run.alarms} alarms in {run.streams} streams of "
            f"{run.items // run.streams:,}: one in {run.run_length:,} items, the first after "
            f"{run.to_first:,}; {run.us_an_item} µs an item\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
