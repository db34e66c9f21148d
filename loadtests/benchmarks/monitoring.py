"""Monitoring beside its peers: distances of 100 features x 1,000,000 rows, and the log store.

    python -m loadtests.benchmarks.monitoring [--rows N] [--features F] [--records N] [--json]

Torchkeep, Evidently and NannyML take turns, each in a process of its own, all on the same cores and
the same Parquet files. Peers are installed in environments of their own below `.torchkeep/peers`;
one that cannot be is left out, and told. What the alarm and the tests of drift find needs an
artifact: see `loadtests.benchmarks.sequential` and `loadtests.benchmarks.drift_power`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from loadtests.benchmarks import log_store
from loadtests.benchmarks.drift import distances
from loadtests.benchmarks.drift.contestants import PEERS
from loadtests.benchmarks.part import Part
from torchkeep.command_line import run
from torchkeep.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a part after the other."""
    chosen = _parser().parse_args(arguments)
    if min(chosen.rows, chosen.features, chosen.rounds, chosen.cores, chosen.checked) < 1:
        raise UserError("rows, features, rounds, cores and checked features must be above 0")
    cores = sorted(os.sched_getaffinity(0))[: chosen.cores]
    os.sched_setaffinity(0, cores)  # whoever is measured inherits it
    parts: list[Part] = [distances.measure(_options(chosen, len(cores)))]
    if chosen.records:
        parts.append(log_store.measure(chosen.records, chosen.records))
    if chosen.json:
        document = {"machine": machine(), "parts": [part.to_json() for part in parts]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    sys.stdout.write(f"{machine()}\n")
    for part in parts:
        sys.stdout.write("\n" + part.text())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--rows", type=int, default=distances.FULL_ROWS)
    add("--features", type=int, default=distances.FULL_FEATURES)
    add("--rounds", type=int, default=3)
    add("--cores", type=int, default=2, help="that everyone may use (default 2)")
    add("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="beside whom")
    add("--evidently-features", type=int, default=4, help="scaled to all (default 4)")
    add("--whole", action="store_true", help="let Evidently compare all features, too (minutes)")
    add("--checked", type=int, default=10, help="features compared with SciPy (default 10)")
    add("--records", type=int, default=1_000_000, help="of each kind, for the log store; 0: none")
    add("--environment", nargs="*", default=[], metavar="NAME=VALUE", help="set for everyone")
    add("--pip-arguments", default="", help="for the peers' environments, such as an index")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def _options(chosen: argparse.Namespace, cores: int) -> distances.Options:
    return distances.Options(
        rows=chosen.rows,
        features=chosen.features,
        rounds=chosen.rounds,
        threads=cores,
        peers=chosen.peers,
        evidently_features=chosen.features if chosen.whole else chosen.evidently_features,
        checked=chosen.checked,
        pip=shlex.split(chosen.pip_arguments),
        environment=_environment(chosen.environment),
    )


def _environment(pairs: Sequence[str]) -> Mapping[str, str]:
    if any("=" not in pair for pair in pairs):
        raise UserError(f"--environment takes NAME=VALUE, not {' '.join(pairs)}")
    return dict(pair.split("=", 1) for pair in pairs)


def machine() -> dict[str, str | int]:
    """Describe what the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    run(main)
