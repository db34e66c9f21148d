"""`torchkeep log`: what the request log holds, and what is being added to it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from torchkeep.errors import UserError
from torchkeep.output import AsJson, print_json
from torchkeep.paths import Home

if TYPE_CHECKING:
    from monitoring.log_reader import ReadReport, Record

_SECONDS_BETWEEN_LOOKS = 0.25
_NANOSECONDS = 1_000_000_000
_COLUMNS = "{:<24} {:<32} {:>5} {:<10} {:<12} {:>6} {:<10} {:>8} {:>9}  {}"
_HEADINGS = (
    "time (UTC)",
    "request id",
    "item",
    "status",
    "prediction",
    "prob",
    "screening",
    "p-value",
    "ms",
    "model",
)
_STYLES = {"suspicious": "yellow", "failed": "yellow"}


def log(
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="How many records.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new records until Ctrl-C.")
    ] = False,
    request_id: Annotated[
        str | None, typer.Option(help="Show all of one request's records instead.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Directory of the log, in place of the settings'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the last records of the request log, or all there is of one request.

    With --follow and --json, prints one JSON object a line.

    Examples:
        torchkeep log --last 5

        torchkeep log --follow

        torchkeep log --request-id 6f1d2a --json

    """
    if follow and request_id is not None:
        raise UserError("--follow and --request-id exclude each other", remedy="Give one of them.")
    directory = directory or _directory_in_settings()
    _require_readable(directory)
    if follow:
        _follow(directory, last, as_json)
    elif request_id is not None:
        _show_request(directory, request_id, as_json)
    else:
        _show_last(directory, last, as_json)


def _directory_in_settings() -> Path:
    from monitoring.request_log import RequestLogConfig
    from torchkeep.settings import Settings

    config = Settings.load().section("request_log", RequestLogConfig)
    return config.location(Home.default())


def _require_readable(directory: Path) -> None:
    from monitoring.segment import segments_in

    try:
        segments_in(directory)
    except OSError as error:
        raise UserError(f"request log {directory} cannot be read: {error.strerror}") from error


def _show_last(directory: Path, last: int, as_json: bool) -> None:
    from monitoring.log_reader import tail

    records = tail(directory, last)
    if as_json:
        print_json({"directory": str(directory), "records": records})
    elif records:
        _print_headings()
        _print_rows(records)
    else:
        Console().print(Text(f"no records in {directory}"), soft_wrap=True)


def _show_request(directory: Path, request_id: str, as_json: bool) -> None:
    from monitoring.log_reader import ReadReport, find

    report = ReadReport()
    records = find(directory, request_id, report=report)
    _tell_of_damage(report)
    if not records:
        raise UserError(
            f"no record of request {request_id!r} in {directory}",
            remedy="`torchkeep log` shows the last ones.",
        )
    if as_json:
        print_json({"directory": str(directory), "records": records})
        return
    _print_headings()
    _print_rows(records)
    for record in records:
        Console().print_json(data=record, ensure_ascii=True)


def _tell_of_damage(report: ReadReport) -> None:
    if report.damaged:
        first = report.examples[0]
        place = f"{first.segment}, byte {first.offset}: {first.fault}"
        message = Text(f"{report.damaged} damaged lines left out; the first: {place}")
        Console(stderr=True).print(message, soft_wrap=True)


def _follow(directory: Path, last: int, as_json: bool) -> None:
    from monitoring.log_reader import Tail

    end = Tail(directory, last)
    records = end.poll()
    records = records[max(0, len(records) - last) :]
    if not as_json:
        _print_headings()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how following ends
    try:
        while True:
            (_print_lines if as_json else _print_rows)(records)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            records = end.poll()
    except KeyboardInterrupt:
        return


def _print_lines(records: Iterable[Record]) -> None:
    import orjson

    for record in records:
        sys.stdout.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode())
    sys.stdout.flush()


def _print_headings() -> None:
    Console().print(Text(_COLUMNS.format(*_HEADINGS), style="bold"), soft_wrap=True)


def _print_rows(records: Iterable[Record]) -> None:
    console = Console()
    for record in records:
        row = _row(record)
        verdict = _part(record, "screening", "verdict")
        console.print(Text(_COLUMNS.format(*row), style=_STYLES.get(verdict, "")), soft_wrap=True)


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of a record; "-" stands for what it does not have."""
    return (
        _time(record.get("timestamp_ns")),
        _text(record.get("request_id")),
        _text(record.get("item")),
        _text(record.get("status")),
        _text(_first(record.get("prediction"))),
        _number(_first(record.get("probability")), 3),
        _part(record, "screening", "verdict"),
        _number(_inside(record, "screening", "p_value"), 5),
        _number(_inside(record, "runtime_ms", "total"), 2),
        f"{_text(record.get('model'))} {_text(record.get('model_version'))}",
    )


def _time(timestamp_ns: object) -> str:
    if not isinstance(timestamp_ns, int):
        return "-"
    try:
        moment = datetime.fromtimestamp(timestamp_ns / _NANOSECONDS, UTC)
    except (OverflowError, ValueError, OSError):
        return "-"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def _inside(record: Mapping[str, Any], outer: str, inner: str) -> object:
    value = record.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _part(record: Mapping[str, Any], outer: str, inner: str) -> str:
    return _text(_inside(record, outer, inner))


def _first(values: object) -> object:
    return values[0] if isinstance(values, list) and values else None


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _text(value: object) -> str:
    """A value as text that cannot steer a terminal: callers chose some of what is logged."""
    if value is None:
        return "-"
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)
    )
