"""Five measures of many features: Torchkeep beside Evidently and NannyML, in turns.

What a peer needed for some of the features is scaled to all of them; that is told.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtests.benchmarks.drift.agreement import Agreement, agreements, by_scipy
from loadtests.benchmarks.drift.contestants import (
    EVIDENTLY,
    MEASURES,
    NANNYML,
    TORCHKEEP,
    Contestant,
    Turn,
    ours,
    peer,
    take_turn,
)
from loadtests.benchmarks.drift.features import DRIFT, KINDS, write_features
from loadtests.benchmarks.part import Goal, Part
from torchkeep.errors import ServerError

FULL_ROWS, FULL_FEATURES = 1_000_000, 100
MOST_SECONDS, MOST_MIB, TIMES_EVIDENTLY, MOST_OFF = 4.0, 1024.0, 100.0, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is measured, and how often."""

    rows: int
    features: int
    rounds: int
    threads: int
    peers: Sequence[str]
    evidently_features: int
    checked: int
    pip: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A contestant's medians; `seconds` is for all features, scaled by `scaled` where above 1."""

    name: str
    measures: int
    features: int
    scaled: float
    seconds: float
    cpu_seconds: float
    rounds: Sequence[float]
    prepare_seconds: float
    peak_mib: float
    versions: Mapping[str, str]

    def line(self) -> str:
        """Return it for people."""
        extra = f", once before: {self.prepare_seconds:.2f} s" if self.prepare_seconds else ""
        text = (
            f"{self.name}: {self.measures} measures in {self.seconds:.2f} s (median of "
            f"{len(self.rounds)}: {', '.join(f'{each:.2f}' for each in self.rounds)}{extra}), "
            f"{self.cpu_seconds:.2f} s of CPU, {self.peak_mib:.0f} MiB"
        )
        if self.scaled != 1:
            text += (
                f"; {self.features} features were measured, the seconds scaled by {self.scaled:g}"
            )
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{text} [{packages}]"


def measure(options: Options) -> Part:
    """Write the files, run everyone in turns, and compare."""
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tk-drift-") as folder:
        files = [Path(folder) / name for name in ("reference.parquet", "current.parquet")]
        _progress(f"writing 2 x {options.rows:,} rows of {options.features} features ...")
        for file in files:
            write_features(file, options.rows, options.features, current=file == files[1])
        turns = _turns(list(_contestants(files, options, left_out)), options, left_out)
        _progress("asking SciPy ...")
        scipy = by_scipy(files, min(options.checked, options.features))
    agreed = [
        each
        for one, taken in turns.items()
        for each in agreements(one.name, taken[0].values, scipy)
    ]
    return _part(
        [_speed(one, taken, options) for one, taken in turns.items()], agreed, left_out, options
    )


def _part(
    speeds: Sequence[Speed],
    agreed: Sequence[Agreement],
    left_out: Mapping[str, str],
    options: Options,
) -> Part:
    size = f"{options.features} features x {options.rows:,} rows"
    return Part(
        title=f"Distances of {size}, Parquet read included",
        lines=[
            f"features: float32; {', '.join(KINDS)}; every second one drifted by {DRIFT} std",
            *(speed.line() for speed in speeds),
            *(f"left out: {name}: {why}" for name, why in left_out.items()),
            *(_line(each) for each in agreed),
        ],
        goals=_goals(speeds, agreed, options),
        numbers={
            "rows": options.rows,
            "features": options.features,
            "environment": dict(options.environment),
            "speeds": [asdict(speed) for speed in speeds],
            "agreements": [asdict(each) for each in agreed],
            "left_out": dict(left_out),
        },
    )


def _contestants(
    files: Sequence[Path], options: Options, left_out: dict[str, str]
) -> Iterator[Contestant]:
    yield ours(files, options.features, options.threads)
    for name in options.peers:
        features = options.features
        if name == EVIDENTLY:
            features = min(features, options.evidently_features)
        try:
            _progress(f"the environment of {name} ...")
            yield peer(name, files, features, options.pip)
        except ServerError as error:
            left_out[name] = str(error)


def _turns(
    contestants: Sequence[Contestant], options: Options, left_out: dict[str, str]
) -> dict[Contestant, list[Turn]]:
    """Run the contestants one after the other, round after round; a peer may fail and is out."""
    turns: dict[Contestant, list[Turn]] = {one: [] for one in contestants}
    for number in range(options.rounds):
        for one in contestants:
            if one.name in left_out:
                continue
            _progress(f"round {number + 1}: {one.name} ...")
            try:
                turns[one].append(take_turn(one, options.environment))
            except ServerError as error:
                if one.name == TORCHKEEP:
                    raise
                left_out[one.name] = str(error)
    return {one: taken for one, taken in turns.items() if taken}


def _speed(one: Contestant, taken: Sequence[Turn], options: Options) -> Speed:
    scaled = options.features / one.features
    return Speed(
        name=one.name,
        measures=MEASURES[one.name],
        features=one.features,
        scaled=scaled,
        seconds=statistics.median(turn.seconds for turn in taken) * scaled,
        cpu_seconds=statistics.median(turn.cpu_seconds for turn in taken) * scaled,
        rounds=[round(turn.seconds, 3) for turn in taken],
        prepare_seconds=statistics.median(turn.prepare_seconds for turn in taken) * scaled,
        peak_mib=max(turn.peak_mib for turn in taken),
        versions=taken[0].versions,
    )


def _line(each: Agreement) -> str:
    return (
        f"{each.name}'s {each.measure}: off SciPy's by at most {100 * each.drifted_relative:.3f} % "
        f"of it where there is drift, by {each.quiet_absolute:.2g} where there is none"
    )


def _goals(speeds: Sequence[Speed], agreed: Sequence[Agreement], options: Options) -> list[Goal]:
    by_name = {speed.name: speed for speed in speeds}
    own = by_name[TORCHKEEP]
    goals = [
        (f"at most {MOST_SECONDS:g} s", own.seconds <= MOST_SECONDS),
        (f"at most {MOST_MIB:g} MiB", own.peak_mib <= MOST_MIB),
        (
            f"within {MOST_OFF:.0%} of SciPy where there is drift",
            all(each.drifted_relative <= MOST_OFF for each in agreed if each.name == TORCHKEEP),
        ),
    ]
    for name, least in ((EVIDENTLY, TIMES_EVIDENTLY), (NANNYML, 1.0)):
        if name in by_name:
            times = by_name[name].seconds / own.seconds
            goals.append(
                (f"at least {least:g} times as fast as {name} ({times:.1f})", times >= least)
            )
    full = options.rows >= FULL_ROWS and options.features >= FULL_FEATURES
    return [Goal(f"aim at full size: {what}", met if full else None) for what, met in goals]


def _progress(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
