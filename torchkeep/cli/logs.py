"""`torchkeep logs`: the request log as a table that is asked in SQL, compacted and exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from torchkeep.cli.log import log
from torchkeep.cli.log_store_output import print_csv, print_json_rows, print_report, print_rows
from torchkeep.cli.replay import replay
from torchkeep.errors import UserError
from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from monitoring.store import LogStore

Store = Annotated[
    str | None,
    typer.Option(help="Folder or s3://bucket/prefix of the store, in place of the settings'."),
]
Directory = Annotated[
    Path | None, typer.Option(help="Directory of the log, in place of the settings'.")
]
Since = Annotated[
    str | None, typer.Option(help="From then on: 2026-01-31 or 2026-01-31T12:00:00+01:00.")
]
Until = Annotated[str | None, typer.Option(help="Before then. Without a zone, both are UTC.")]

logs = typer.Typer(name="logs", no_args_is_help=True, rich_markup_mode="rich")


@logs.callback()
def _logs() -> None:
    """Ask, compact and export the request log; replay what was logged.

    Queries and exports read the log store and the live log together: nothing needs to be compacted
    before, but millions of records are read faster once they are.

    Examples:
        torchkeep logs query "SELECT status, count(*) FROM inference GROUP BY status"

        torchkeep logs tail --follow

        torchkeep logs compact

        torchkeep logs export --format csv --output items.csv --since 2026-01-01

    """


@logs.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT of the views inference and access.")],
    store: Store = None,
    directory: Directory = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to show at most, as a table.")] = 100,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the request log in SQL.

    The columns are the fields of the records, with `time` and `date` (UTC) beside them;
    `DESCRIBE inference` lists them. A query reads the log and no other file.

    Examples:
        torchkeep logs query "DESCRIBE inference"

        torchkeep logs query "SELECT date, quantile_cont(total_ms, 0.99) FROM access GROUP BY date"

        torchkeep logs query "SELECT screening.verdict, count(*) FROM inference GROUP BY 1" --json

    """
    from monitoring.storing.select import errors_told, select

    if as_csv and as_json:
        raise UserError("--csv and --json exclude each other", remedy="Give one of them.")
    with _store(store, directory).connect() as connection, errors_told():
        result = select(connection, sql)
        columns = [str(column[0]) for column in result.description or ()]
        if as_json:
            print_json_rows(columns, result.fetchall())
        elif as_csv:
            print_csv(columns, result)
        else:
            print_rows(columns, result.fetchmany(rows), more=result.fetchone() is not None)


logs.command(name="tail")(log)


@logs.command()
def compact(
    store: Store = None,
    directory: Directory = None,
    keep_segments: Annotated[
        bool | None,
        typer.Option(
            "--keep-segments/--remove-segments",
            help="What becomes of segments that the store holds whole.  [default: the settings']",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn the closed segments of the request log into Parquet, each record once.

    Lines that are no records are set aside and counted; run it as often as you like, or from cron.

    Examples:
        torchkeep logs compact

        torchkeep logs compact --store s3://logs/torchkeep --remove-segments --json

    """
    from monitoring.config import MonitoringConfig
    from torchkeep.progress import progress
    from torchkeep.settings import Settings

    if keep_segments is None:
        keep_segments = Settings.load().section("monitoring", MonitoringConfig).keep_segments
    opened = _store(store, directory)
    with progress() as report:
        done = opened.compact(keep_segments=keep_segments, progress=report)
    if as_json:
        print_json({"store": opened.location, **done.to_json()})
    else:
        print_report(opened.location, done)


@logs.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    form: Annotated[
        str, typer.Option("--format", help="parquet, csv (flat columns) or jsonl (as logged).")
    ] = "parquet",
    kind: Annotated[
        str, typer.Option(help="Records of items (inference) or of requests (access).")
    ] = "inference",
    model: Annotated[str | None, typer.Option(help="Of this model alone.")] = None,
    version: Annotated[str | None, typer.Option(help="Of this version alone.")] = None,
    since: Since = None,
    until: Until = None,
    store: Store = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Write records to one file, oldest first: whole, or not at all.

    Examples:
        torchkeep logs export --output items.parquet

        torchkeep logs export --format csv --kind access --since 2026-01-01 --output requests.csv

        torchkeep logs export --format jsonl --model mnist --version 1.0 --output mnist.jsonl

    """
    from monitoring.logs import Span
    from monitoring.storing.export import ExportFormat
    from monitoring.storing.export import export as write
    from torchkeep.schema import LOGGED

    _choice(form, [str(one) for one in ExportFormat], "--format")
    _choice(kind, list(LOGGED), "--kind")
    span = Span(model=model, version=version, since=since, until=until)
    opened = _store(store, directory)
    with opened.connect(start_ns=span.start_ns, end_ns=span.end_ns) as connection:
        rows = write(connection, kind, *span.condition(), ExportFormat(form), output)
    if as_json:
        print_json({"output": str(output), "records": rows})
    else:
        Console().print(Text(f"{rows} records in {output}"), soft_wrap=True)


logs.command()(replay)


def _store(store: str | None, directory: Path | None) -> LogStore:
    from monitoring.store import LogStore

    return LogStore.from_settings(location=store, log_directory=directory)


def _choice(given: str, choices: list[str], option: str) -> None:
    if given not in choices:
        raise UserError(f"{option} is {given!r}", remedy=f"Choose from: {', '.join(choices)}.")
