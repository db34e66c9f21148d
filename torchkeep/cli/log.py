"""`torchkeep log`: what the request log holds, and what is being added to it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from monitoring.log_reader import Kind
from torchkeep.cli.log_rows import print_headings, print_rows
from torchkeep.errors import UserError
from torchkeep.output import AsJson, print_json
from torchkeep.paths import Home

if TYPE_CHECKING:
    from monitoring.log_reader import ReadReport, Record

_SECONDS_BETWEEN_LOOKS = 0.25


def log(
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="How many records.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new records until Ctrl-C.")
    ] = False,
    request_id: Annotated[
        str | None, typer.Option(help="Show all of one request's records instead.")
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="Records of items, of requests (the gateway's), or both.")
    ] = Kind.INFERENCE,
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

        torchkeep log --kind access --last 5

        torchkeep log --request-id 6f1d2a --json

    """
    if follow and request_id is not None:
        raise UserError("--follow and --request-id exclude each other", remedy="Give one of them.")
    directory = directory or _directory_in_settings()
    _require_readable(directory)
    if follow:
        _follow(directory, last, kind, as_json)
    elif request_id is not None:
        _show_request(directory, request_id, kind, as_json)
    else:
        _show_last(directory, last, kind, as_json)


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


def _show_last(directory: Path, last: int, kind: Kind, as_json: bool) -> None:
    from monitoring.log_reader import tail

    records = tail(directory, last, kind=kind)
    if as_json:
        print_json({"directory": str(directory), "records": records})
    elif records:
        print_headings(kind)
        print_rows(records, kind)
    else:
        Console().print(Text(f"no records in {directory}"), soft_wrap=True)


def _show_request(directory: Path, request_id: str, kind: Kind, as_json: bool) -> None:
    from monitoring.log_reader import ReadReport, find

    report = ReadReport()
    records = find(directory, request_id, kind=kind, report=report)
    _tell_of_damage(report)
    if not records:
        raise UserError(
            f"no record of request {request_id!r} in {directory}",
            remedy="`torchkeep log` shows the last ones, --kind all those of refused requests too.",
        )
    if as_json:
        print_json({"directory": str(directory), "records": records})
        return
    print_headings(kind)
    print_rows(records, kind)
    for record in records:
        Console().print_json(data=record, ensure_ascii=True)


def _tell_of_damage(report: ReadReport) -> None:
    if report.damaged:
        first = report.examples[0]
        place = f"{first.segment}, byte {first.offset}: {first.fault}"
        message = Text(f"{report.damaged} damaged lines left out; the first: {place}")
        Console(stderr=True).print(message, soft_wrap=True)


def _follow(directory: Path, last: int, kind: Kind, as_json: bool) -> None:
    from monitoring.log_reader import Tail

    end = Tail(directory, last, kind=kind)
    records = end.poll()
    records = records[max(0, len(records) - last) :]
    if not as_json:
        print_headings(kind)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how following ends
    try:
        while True:
            if as_json:
                _print_lines(records)
            else:
                print_rows(records, kind)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            records = end.poll()
    except KeyboardInterrupt:
        return


def _print_lines(records: Iterable[Record]) -> None:
    import orjson

    for record in records:
        sys.stdout.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode())
    sys.stdout.flush()
