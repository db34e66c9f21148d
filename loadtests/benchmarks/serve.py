"""Torchkeep beside bare TorchServe, LitServe and MLServer: same machine, weights and load client.

    python -m loadtests.benchmarks.serve [--quick] [--json]

All servers run at once and are asked in turns, round after round, by `h2load`; what is compared
are medians. A run in which a request failed is void. Torchkeep serves with API keys, screening and
the request log on; the others compute the same network and do no more. Peers are installed in
environments of their own below `.torchkeep/peers`; one that cannot be is left out, and told.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from loadtests.benchmarks.screening_overhead import machine
from loadtests.benchmarks.serving import peers, torchkeep, torchserve
from loadtests.benchmarks.serving.h2load import require_h2load
from loadtests.benchmarks.serving.results import Logged, Result, lines_of
from loadtests.benchmarks.serving.rounds import Measured, Rounds, Schedule
from loadtests.benchmarks.serving.system import (
    DEFAULT,
    LITSERVE,
    MLSERVER,
    NAMES,
    PEERS,
    TORCHKEEP,
    TUNED,
    Plan,
    Running,
    Start,
)
from loadtests.benchmarks.serving.untrained import untrained_resnet18
from loadtests.images import draw
from torchkeep.artifact import ModelArtifact
from torchkeep.command_line import run
from torchkeep.errors import ArtifactError, ServerError, UserError
from torchkeep.paths import Home

CLIENTS = (1, 8, 32, 128)
QUICK = Schedule(rounds=1, seconds=1.0, clients=(1, 32, 128))
BENCHMARKS = "benchmarks"
"""Folder of Torchkeep's home that keeps what was made to measure with."""


def main() -> None:
    """Measure, and print a table of each case."""
    chosen = _parser().parse_args()
    require_h2load()
    schedule = QUICK if chosen.quick else _schedule(chosen)
    results = [_case(plan, schedule, chosen) for plan in _plans(chosen)]
    if chosen.json:
        document = {"machine": machine(), "results": [result.to_json() for result in results]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    sys.stdout.write(f"{machine()}\n")
    for result in results:
        sys.stdout.write("\n" + "\n".join(lines_of(result)) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--artifact", type=Path, help="what is served (default: the newest with detectors)")
    add("--data", help="its data, if not where its record says")
    add("--only", choices=["artifact", "resnet18"], help="measure one of the two cases")
    add("--servers", nargs="+", choices=NAMES, default=NAMES, help="measure these servers")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=4.0, help="of one run, about (default 4)")
    add("--clients", type=int, nargs="+", default=CLIENTS)
    add("--workers", type=int, default=1, help="of each server (default 1)")
    add("--threads", type=int, default=1, help="of each worker (default 1)")
    add("--max-batch", type=int, default=64, help="of all but TorchServe (default 64)")
    add("--max-wait-ms", type=float, default=2.0, help="likewise (default 2)")
    add("--pip-arguments", default="", help="for the peers' environments, such as an index")
    add("--quick", action="store_true", help="one short round: does it all work?")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def _schedule(chosen: argparse.Namespace) -> Schedule:
    if chosen.rounds < 1 or chosen.seconds <= 0 or min(chosen.clients) < 1:
        raise UserError("rounds, seconds and clients must be above 0")
    return Schedule(
        rounds=chosen.rounds, seconds=chosen.seconds, clients=tuple(sorted(set(chosen.clients)))
    )


def _plans(chosen: argparse.Namespace) -> list[Plan]:
    artifacts: list[tuple[ModelArtifact, str | None]] = []
    if chosen.only != "resnet18":
        artifacts.append((_artifact(chosen.artifact), chosen.data))
    if chosen.only != "artifact":
        folder = Home.default().root / BENCHMARKS / "resnet18"
        artifacts.append((untrained_resnet18(folder, _progress), None))
    return [
        Plan(
            artifact=artifact.path.absolute(),
            data=data,
            image=draw(1, artifact.manifest.input.chw, seed=0)[0],
            workers=chosen.workers,
            threads=chosen.threads,
            max_batch=chosen.max_batch,
            max_wait_ms=chosen.max_wait_ms,
        )
        for artifact, data in artifacts
    ]


def _artifact(path: Path | None) -> ModelArtifact:
    """Return the artifact to be served: the one given, or the newest of the home.

    Raises `ArtifactError` if there is none with detectors.
    """
    if path is not None:
        given = ModelArtifact.load(path)
        if given.manifest.screening is None:
            raise ArtifactError(
                f"{path} has no detectors", remedy="Run `torchkeep fit-detectors` on it."
            )
        return given
    folders = sorted(
        Home.default().artifacts.glob("*/artifact.json"),
        key=lambda file: file.stat().st_mtime,
        reverse=True,
    )
    artifacts = (ModelArtifact.load(file.parent) for file in folders)
    newest = next((one for one in artifacts if one.manifest.screening is not None), None)
    if newest is None:
        raise ArtifactError(
            f"{Home.default().artifacts} has no artifact with detectors",
            remedy="Run make up, or give one with --artifact.",
        )
    return newest


def _case(plan: Plan, schedule: Schedule, chosen: argparse.Namespace) -> Result:
    """Start all servers for one artifact, measure them, and end them."""
    architecture = ModelArtifact.load(plan.artifact).manifest.architecture
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tk-bench-")))
        starts = _starts(shlex.split(chosen.pip_arguments), chosen.servers)
        servers = _started(starts, plan, scratch, stack, left_out)
        before = _records(servers)
        load = scratch / "load"
        load.mkdir()
        measured = Rounds(servers, plan, load, _progress).measure(schedule)
        logged = _logged(servers, measured, before)
    return Result(
        architecture=architecture,
        plan=plan,
        measured=measured,
        left_out=left_out,
        logged=logged,
    )


def _starts(pip: Sequence[str], names: Sequence[str]) -> Mapping[str, Start]:
    known: dict[str, Start] = {
        DEFAULT: torchserve.as_it_comes,
        TUNED: torchserve.well_tuned,
        TORCHKEEP: torchkeep.serve,
        LITSERVE: partial(peers.litserve, pip),
        MLSERVER: partial(peers.mlserver, pip),
    }
    return {name: start for name, start in known.items() if name in names}


def _started(
    starts: Mapping[str, Start],
    plan: Plan,
    scratch: Path,
    stack: ExitStack,
    left_out: dict[str, str],
) -> list[Running]:
    """Start the servers; a peer that does not start is noted in `left_out`."""
    servers = []
    for number, (name, start) in enumerate(starts.items()):
        _progress(f"starting {name} ...")
        folder = scratch / str(number)
        folder.mkdir()
        try:
            servers.append(stack.enter_context(start(plan, folder)))
        except ServerError as error:
            if name not in PEERS:
                raise
            left_out[name] = str(error)
            _progress(f"left out: {name}: {error}")
    return servers


def _records(servers: Sequence[Running]) -> int:
    return sum(server.records() for server in servers if server.records is not None)


def _logged(servers: Sequence[Running], measured: Measured, before: int) -> Logged | None:
    if TORCHKEEP not in measured.requests:
        return None
    return Logged(answered=measured.requests[TORCHKEEP], records=_records(servers) - before)


def _progress(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    run(main)
