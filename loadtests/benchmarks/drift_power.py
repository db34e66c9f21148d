"""How often the analysis of drift is right on a real model: false alarms, and power by shift.

Run `python -m loadtests.benchmarks.drift_power ARTIFACT [--json]`. Test images of the data that the
artifact was trained on, which neither training nor reference saw, go through the screened model, as
they are and shifted. Windows of a few of them are drawn, each with its seed, and analysed against
the reference of the artifact's calibration images.

One class tripled is told in two ways: its share of the window is tripled (of ten classes, from 10 %
to 30 %), or its images come three times as often as the others (to 25 %). Each repeat triples the
next class. If the power wanted is not reached, larger windows are tried.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from loadtests.benchmarks.screening_overhead import machine
from loadtests.benchmarks.sequential import brightness, noise
from loadtests.benchmarks.served import served_window
from monitoring.drift_analysis import DriftConfig, analyse
from monitoring.drift_report import Kind, Outcome
from monitoring.proportion import IntervalMethod, proportion
from monitoring.reference import Reference
from monitoring.window import Window
from robustness.screened_model import load_screened_model
from torchkeep.artifact import ModelArtifact
from training.material import Material
from training.reference import make_reference

NO_SHIFT = "none"
WANTED_POWER = 0.95
LARGER = (1.2, 1.5, 2.0, 3.0)
"""Windows so many times as large are tried where the power is not reached."""

Draw = Callable[[np.random.Generator, int, int], NDArray[np.int64]]
"""Of a random generator, the number of the repeat and that of items: rows of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """How often drift was found in `repeats` windows of `items`; without a shift, falsely."""

    shift: str
    items: int
    repeats: int
    found: int
    share: float
    low: float  # Clopper-Pearson 95 % interval of the share
    high: float
    by_test: Mapping[str, float]  # share of the windows in which each test rejected
    likeliest: Mapping[str, int]  # how often each kind of drift was named first
    seconds: float  # an analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifted:
    """A pool of images as served, and how windows are drawn from it."""

    name: str
    pool: Window
    draw: Draw
    expected: Kind | None


def evenly(size: int) -> Draw:
    """Return the draw of different rows, all alike."""
    return lambda random, _, items: random.choice(size, items, replace=False)


def tripled(labels: NDArray[np.int64], *, share: bool) -> Draw:
    """Return the draw in which a class has three times its share, or comes three times as often."""
    classes = int(labels.max()) + 1

    def draw(random: np.random.Generator, repeat: int, items: int) -> NDArray[np.int64]:
        member = labels == repeat % classes
        usual = float(member.mean())
        wanted = 3 * usual if share else 3 * usual / (1 + 2 * usual)
        of_class = random.choice(np.flatnonzero(member), items)
        others = random.choice(np.flatnonzero(~member), items)
        return np.where(random.random(items) < wanted, of_class, others)

    return draw


def power(
    reference: Reference, shifted: Shifted, items: int, repeats: int, config: DriftConfig
) -> Power:
    """Analyse `repeats` windows and count those in which drift was found.

    The seed of the config is that of the windows, too.
    """
    rejections: Counter[str] = Counter()
    likeliest: Counter[str] = Counter()
    found, start = 0, time.perf_counter()
    for repeat in range(repeats):
        random = np.random.default_rng([config.seed, items, repeat])
        window = shifted.pool.take(shifted.draw(random, repeat, items))
        report = analyse(reference, window, config=config)
        found += report.outcome is Outcome.DRIFT
        rejections.update(str(test.name) for test in report.tests if test.rejected)
        likeliest.update(str(kind.kind) for kind in report.kinds[:1])
    seconds = (time.perf_counter() - start) / repeats
    interval = proportion(found, repeats, method=IntervalMethod.EXACT)
    return Power(
        shift=shifted.name,
        items=items,
        repeats=repeats,
        found=found,
        share=found / repeats,
        low=interval.low or 0.0,
        high=1.0 if interval.high is None else interval.high,
        by_test={name: count / repeats for name, count in sorted(rejections.items())},
        likeliest=dict(likeliest.most_common()),
        seconds=round(seconds, 3),
    )


def material(path: Path) -> tuple[Reference, list[Shifted]]:
    """Return the reference of an artifact, and its test images under every shift."""
    artifact = ModelArtifact.load(path)
    record = artifact.manifest.train_record["dataset"]
    source = record["source"]
    place = source if Path(source).is_absolute() else record["name"]
    splits = Material.recorded(place, record.get("cleaned")).splits
    model = load_screened_model(artifact, "cpu")
    reference = make_reference(artifact, model, splits.calibration_b, lambda *_: None)
    images, labels = splits.test.images, splits.test.labels.astype(np.int64)
    clean = served_window(artifact, model, images)
    any_rows, random = evenly(len(images)), np.random.default_rng(0)
    dark, noisy = brightness(0.6)(images, random), noise(0.2)(images, random)
    return reference, [
        Shifted(name=NO_SHIFT, pool=clean, draw=any_rows, expected=None),
        Shifted(
            name="brightness × 0.6",
            pool=served_window(artifact, model, dark),
            draw=any_rows,
            expected=Kind.DATA_CHANGE,
        ),
        Shifted(
            name="Gaussian noise σ 0.2",
            pool=served_window(artifact, model, noisy),
            draw=any_rows,
            expected=Kind.DATA_CHANGE,
        ),
        Shifted(
            name="share of a class tripled",
            pool=clean,
            draw=tripled(labels, share=True),
            expected=Kind.SAMPLING,
        ),
        Shifted(
            name="images of a class tripled",
            pool=clean,
            draw=tripled(labels, share=False),
            expected=Kind.SAMPLING,
        ),
    ]


def measure(
    reference: Reference, shifts: Sequence[Shifted], items: int, repeats: int, config: DriftConfig
) -> Iterator[tuple[Shifted, Power]]:
    """Measure every shift; where the power is not reached, with larger windows until it is."""
    for shifted in shifts:
        sizes = [items, *(round(items * times) for times in LARGER)]
        for size in sizes:
            found = power(reference, shifted, size, repeats, config)
            yield shifted, found
            if shifted.name == NO_SHIFT or found.share >= WANTED_POWER:
                break


def told(shifted: Shifted, row: Power) -> str:
    """Return a row as a line of text."""
    what = "false alarms" if shifted.expected is None else "power"
    line = (
        f"{row.shift}, {row.items} items: {what} {row.share:.1%} "
        f"[{row.low:.1%}, {row.high:.1%}], {row.found} of {row.repeats}"
    )
    if shifted.expected is not None:
        right = row.likeliest.get(str(shifted.expected), 0)
        line += f"; {shifted.expected} named first in {right} of {row.found}"
    tests = ", ".join(f"{name} {share:.0%}" for name, share in row.by_test.items())
    return f"{line}\n    by test: {tests or 'none'}; {row.seconds:.2f} s an analysis"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print false alarms and power."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path, help="folder of an artifact with detectors")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--items", type=int, default=100, help="of a window (default 100)")
    parser.add_argument("--repeats", type=int, default=200, help="windows a shift (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the windows (default 0)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    reference, shifts = material(chosen.artifact)
    config = DriftConfig(seed=chosen.seed)
    rows = measure(reference, shifts, chosen.items, chosen.repeats, config)
    if chosen.json:
        document = {
            "machine": machine(),
            "config": asdict(config),
            "rows": [asdict(row) for _, row in rows],
        }
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return 0
    sys.stdout.write(
        f"{machine()}\nreference of {reference.images} images; designed for false alarms of at "
        f"most {config.false_alarm_rate:.1%}\n"
    )
    for shifted, row in rows:
        sys.stdout.write(told(shifted, row) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
