"""What was measured, as a table that Markdown shows and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtests.benchmarks.serving.aims import Aim, aims_of
from loadtests.benchmarks.serving.rounds import Cell, Measured, Sample, median
from loadtests.benchmarks.serving.system import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The requests that Torchkeep answered, and the records that they left: two for each."""

    answered: int
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One case: an artifact behind all servers. `left_out` says which are missing, and why."""

    architecture: str
    plan: Plan
    measured: Measured
    left_out: Mapping[str, str]
    logged: Logged | None

    @property
    def aims(self) -> Sequence[Aim]:
        """The aims, and what became of them."""
        return aims_of(self.architecture, self.measured)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plan = self.plan
        return {
            "architecture": self.architecture,
            "image": list(plan.image.shape),
            "workers": plan.workers,
            "threads": plan.threads,
            "max_batch": plan.max_batch,
            "max_wait_ms": plan.max_wait_ms,
            "raw_forward_items_per_s": list(self.measured.forward),
            "figures": [
                {**asdict(cell), "runs": [_run_json(run) for run in runs]}
                for cell, runs in self.measured.samples.items()
            ],
            "aims": [{**asdict(aim), "met": aim.met} for aim in self.aims],
            "left_out": dict(self.left_out),
            "logged": None if self.logged is None else asdict(self.logged),
        }


def _run_json(run: Sample | str) -> dict[str, Any]:
    if isinstance(run, str):
        return {"void": run}
    load = run.load
    return {
        "requests": load.requests,
        "seconds": round(load.seconds, 3),
        "items_per_s": round(load.rate, 1),
        "p50_ms": round(load.p50_ms, 3),
        "p99_ms": round(load.p99_ms, 3),
        "cpu_s_per_1000_items": round(run.cpu_s, 3),
    }


def lines_of(result: Result) -> Iterator[str]:
    """Yield the lines of a report."""
    plan, measured = result.plan, result.measured
    channels, height, width = plan.image.shape
    yield (
        f"## {result.architecture}, {channels} × {height} × {width}: {plan.workers} worker(s) of "
        f"{plan.threads} thread(s), batches of up to {plan.max_batch} within "
        f"{plan.max_wait_ms:g} ms, medians of {len(measured.forward)} round(s)"
    )
    yield ""
    yield "| server | protocol | clients | items/s | p50 ms | p99 ms | CPU s per 1,000 items |"
    yield "|---|---|---|---|---|---|---|"
    for cell in measured.samples:
        yield _row(cell, measured)
    yield ""
    yield (
        f"Raw forward passes of {plan.max_batch} images: {median(measured.forward):,.0f} items/s."
    )
    for name, reason in result.left_out.items():
        yield f"Left out: {name}: {reason}"
    if result.logged is not None:
        logged = result.logged
        yield f"Torchkeep answered {logged.answered:,} items and logged {logged.records:,} records."
    yield from _aims(result.aims)


def _row(cell: Cell, measured: Measured) -> str:
    name = f"| {cell.server} | {cell.protocol} | {cell.clients} |"
    runs = measured.good(cell)
    if runs is None:
        reasons = [run for run in measured.samples[cell] if isinstance(run, str)]
        return (
            f"{name} void ({len(reasons)} of {len(measured.samples[cell])}): {reasons[0]} | | | |"
        )
    loads = [run.load for run in runs]
    return (
        f"{name} {median([load.rate for load in loads]):,.0f} "
        f"| {median([load.p50_ms for load in loads]):.2f} "
        f"| {median([load.p99_ms for load in loads]):.2f} "
        f"| {median([run.cpu_s for run in runs]):.2f} |"
    )


def _aims(aims: Sequence[Aim]) -> Iterator[str]:
    if not aims:
        return
    yield ""
    yield "| ratio | measured | aim | |"
    yield "|---|---|---|---|"
    for aim in aims:
        measured = "not measured" if aim.ratio is None else f"{aim.ratio:.2f}"
        sign = "≥" if aim.at_least else "≤"
        word = {True: "met", False: "**missed**", None: ""}[aim.met]
        yield f"| {aim.what} | {measured} | {sign} {aim.bound:g} | {word} |"
