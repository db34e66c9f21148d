"""A look at a model as text for a terminal: is anything wrong, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitoring.drift_report import DriftReport, Outcome
from monitoring.findings import State, findings, headline
from monitoring.health import Health
from monitoring.moment import moment
from monitoring.novelty import NoveltyReport
from torchkeep.printable import printable

if TYPE_CHECKING:
    from torchkeep.cli.simulation import Simulated

_STYLES = {State.WRONG: "bold red", State.LOOK: "yellow", State.UNKNOWN: "dim", State.GOOD: "green"}
_LISTED = 5


def tell(console: Console, health: Health) -> None:
    """Print the answer, a line a part, and what speaks for it."""
    _line(console, _title(health))
    wrong = headline(health).startswith("something")
    _line(console, headline(health), _STYLES[State.WRONG if wrong else State.GOOD])
    table = Table(box=None, show_header=False, pad_edge=False, collapse_padding=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings(health):
        table.add_row(
            Text(printable(one.part)),
            Text(one.state, style=_STYLES[one.state]),
            Text(printable(one.says)),
        )
    console.print(table)
    for line in _reasons(health):
        _line(console, line)


def tell_briefly(console: Console, health: Health) -> None:
    """Print one line: when, of how many items, and whether anything is wrong."""
    at = moment(health.examined_at_ns)
    _line(console, f"{at}  {health.log.items:,} items  {headline(health)}")


def tell_outcome(console: Console, sent: Simulated, *, detected: bool) -> None:
    """Print whether a simulation ended as it should."""
    expected = detected is (sent.shift != "none")
    outcome = "detected" if detected else "nothing detected"
    says = f"simulated {sent.shift} with {sent.requests} requests: {outcome}"
    _line(
        console,
        f"\n{says}, {'as it should be' if expected else 'which is wrong'}",
        _STYLES[State.GOOD if expected else State.WRONG],
    )
    _line(console, f"look again: torchkeep monitor --correlation-id {sent.correlation_id}")


def _title(health: Health) -> str:
    title = f"{health.model} {health.version}, artifact {health.artifact_digest[:12]}: "
    title += f"{health.log.items:,} items"
    if older := health.log.left_out.get("not_last"):
        title += f", the latest of {health.log.items + older:,},"
    if health.start_ns is not None and health.end_ns is not None:
        title += f" from {moment(health.start_ns)} to {moment(health.end_ns)} UTC"
    if health.log.other_versions:
        title += f", {health.log.other_versions:,} of other versions"
    return title


def _reasons(health: Health) -> Iterator[str]:
    """What speaks for a drift, and the most novel requests."""
    drift, novel = health.drift, health.novelty
    if isinstance(drift, DriftReport) and drift.outcome is Outcome.DRIFT:
        yield "\nwhat differs:"
        yield from (f"  {test.name}: {test.says}" for test in drift.tests if test.rejected)
        if drift.kinds:
            yield "what kind of change it may be:"
        for kind in drift.kinds:
            if kind.share > 0:
                yield f"  {kind.share:4.0%} {kind.kind}"
                yield from (f"       {one.weight:+.1f} {one.says}" for one in kind.evidence)
    if isinstance(novel, NoveltyReport) and novel.novel and novel.share_low > novel.level:
        yield "\nthe most novel requests (torchkeep log --request-id ID):"
        for one in novel.most_novel[:_LISTED]:
            apart = ", ".join(out.feature for out in one.standing_out[:3])
            yield f"  {one.request_id} item {one.item}: p {one.p_value:.4f} {apart}".rstrip()


def _line(console: Console, text: str, style: str = "") -> None:
    lines = text.split("\n")
    console.print(Text("\n".join(map(printable, lines)), style=style), soft_wrap=True)
