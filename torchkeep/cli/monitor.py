"""`torchkeep monitor`: is anything wrong with the model? And why."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.command_line import complain
from torchkeep.errors import UserError
from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from monitoring.health import Health, Span
    from torchkeep.cli.monitored import Place
    from torchkeep.cli.simulation import Shift as SimulatedShift

FAILED = 5
"""Exit code where something is wrong, or a simulation did not end as it should."""


class FailOn(StrEnum):
    """What makes the exit code 5."""

    DRIFT = "drift"
    ALERT = "alert"
    NOTHING = "nothing"


class Simulation(StrEnum):
    """What is done to the images of a simulation."""

    NONE = "none"
    BRIGHTNESS = "brightness"
    NOISE = "noise"
    CLASS = "class"


def monitor(
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of the artifact.  [default: of what runs here]")
    ] = None,
    since: Annotated[
        str, typer.Option(help="From then: 90m, 24h, 7d before now, or a date and time (UTC).")
    ] = "24h",
    until: Annotated[str | None, typer.Option(help="Until then, in the same way.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="The last items alone.")] = None,
    version: Annotated[str | None, typer.Option(help="Items of this version alone.")] = None,
    correlation_id: Annotated[
        str | None, typer.Option(help="Items of this correlation id alone.")
    ] = None,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(help="What makes the exit code 5.  [default: drift and alert]"),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact/--no-compact", help="Take closed segments into the store.")
    ] = True,
    follow: Annotated[
        float | None, typer.Option(min=1, help="Look again every so many seconds, until Ctrl-C.")
    ] = None,
    simulate: Annotated[
        Simulation | None,
        typer.Option(help="Send shifted test images through the running server first."),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="How many images to simulate with.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Which images to simulate with.")] = 0,
    data: Annotated[
        str | None, typer.Option(help="The data it was trained on; by default as recorded.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether anything is wrong with the model that runs here, from its request log.

    Exit codes: 0 nothing is wrong; 5 drift, or an alert fires; 2 nothing to look at. What cannot be
    known, for want of labels, a reference or enough items, is said and is no failure.

    --simulate sends test images as real traffic, under a correlation id of its own, and looks at
    exactly these. Exit code 0 if a shift was detected, or none was where there was none; else 5.
    Later looks leave such traffic out.

    Examples:
        torchkeep monitor

        torchkeep monitor --since 7d --json

        torchkeep monitor --fail-on alert

        torchkeep monitor --follow 60

        torchkeep monitor --simulate brightness

    """
    from torchkeep.cli.look_span import parse_span
    from torchkeep.cli.monitored import Place, require_items

    place = Place.find(artifact, version)
    if simulate is not None:
        _refuse_with_simulation(follow, last, correlation_id)
        _simulate(place, simulate, count, seed, data, as_json=as_json)
        return
    wanted = set(fail_on or (FailOn.DRIFT, FailOn.ALERT))

    def look() -> Health:
        span = parse_span(since, until, last, version, correlation_id, now_ns=time.time_ns())
        return _look(place, span, compact=compact)

    if follow is not None:
        if fail_on:
            raise UserError(
                "--follow goes on whatever it finds, so --fail-on says nothing",
                remedy="Leave out one of them.",
            )
        _follow(look, follow, as_json=as_json)
        return
    health = look()
    require_items(health)
    _show(health, as_json=as_json)
    if failed(health, wanted):
        raise typer.Exit(FAILED)


def failed(health: Health, fail_on: set[FailOn]) -> bool:
    """Whether a look is a failure, by what was asked to be one."""
    from monitoring.findings import alerting, drifted

    found = {FailOn.DRIFT: drifted(health), FailOn.ALERT: alerting(health)}
    return any(is_so and what in fail_on for what, is_so in found.items())


def _look(place: Place, span: Span, *, compact: bool) -> Health:
    from monitoring.examination import Keeping
    from torchkeep.cli.monitored import take_closed_segments

    if compact:
        take_closed_segments(place)
    goes_on = not span.narrowed
    return place.look(span, Keeping(state=place.state if goes_on else None, tell=goes_on))


def _show(health: Health, *, as_json: bool) -> None:
    from monitoring.findings import findings, headline
    from torchkeep.cli.health_text import tell

    if as_json:
        told = [
            {"part": one.part, "state": one.state, "says": one.says} for one in findings(health)
        ]
        print_json({"headline": headline(health), "findings": told} | health.to_json())
    else:
        tell(Console(), health)


def _follow(look: Callable[[], Health], seconds: float, *, as_json: bool) -> None:
    """Look again and again until Ctrl-C; a look that is under way is finished first."""
    ended = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one does not wait
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    told = ""
    while not ended.is_set():
        began = time.monotonic()
        try:
            told = _show_next(look(), told, as_json=as_json)
        except (UserError, OSError) as error:  # a disk that is full for a while
            if not told:
                raise  # it never worked
            complain(str(error))
        ended.wait(max(0.0, seconds - (time.monotonic() - began)))


def _show_next(health: Health, told: str, *, as_json: bool) -> str:
    """Print one look of several, in full if its answer is not that of before; return the answer."""
    import orjson

    from monitoring.findings import headline
    from torchkeep.cli.health_text import tell, tell_briefly

    answer = headline(health)
    if as_json:
        line = orjson.dumps({"headline": answer} | health.to_json(), default=str)
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()
    elif answer != told:
        tell(Console(), health)
    else:
        tell_briefly(Console(), health)
    return answer


def _refuse_with_simulation(
    follow: float | None, last: int | None, correlation_id: str | None
) -> None:
    if follow is not None or last is not None or correlation_id is not None:
        raise UserError(
            "--simulate looks at its own traffic alone",
            remedy="Leave out --follow, --last and --correlation-id.",
        )


def _simulate(
    place: Place, kind: Simulation, count: int, seed: int, data: str | None, *, as_json: bool
) -> None:
    from monitoring.findings import drifted
    from torchkeep.cli.simulation import Shift, simulate
    from torchkeep.progress import progress

    shift: SimulatedShift = Shift(kind)
    with progress() as report:
        sent, health = simulate(place, shift, count, seed=seed, data=data, report=report)
    detected = drifted(health)
    expected = detected is (shift is not Shift.NONE)
    if as_json:
        print_json(
            {
                "simulated": {
                    "shift": shift,
                    "correlation_id": sent.correlation_id,
                    "requests": sent.requests,
                    "detected": detected,
                    "as_expected": expected,
                }
            }
            | health.to_json()
        )
    else:
        from torchkeep.cli.health_text import tell, tell_outcome

        tell(Console(), health)
        tell_outcome(Console(), sent, detected=detected)
    if not expected:
        raise typer.Exit(FAILED)
