"""`torchkeep report`: everything monitoring knows of a model, as one static HTML page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from torchkeep.errors import SettingsError
from torchkeep.output import AsJson, print_json


def report(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; one that is there is replaced.")
    ] = Path("report.html"),
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of the artifact.  [default: of what runs here]")
    ] = None,
    since: Annotated[
        str, typer.Option(help="From then: 90m, 24h, 7d before now, or a date and time (UTC).")
    ] = "24h",
    until: Annotated[str | None, typer.Option(help="Until then, in the same way.")] = None,
    version: Annotated[str | None, typer.Option(help="Items of this version alone.")] = None,
    correlation_id: Annotated[
        str | None, typer.Option(help="Items of this correlation id alone.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page on how the model is doing: drift, novelty, accuracy, latency, alerts.

    The page is written whole or not at all; it holds no script and points nowhere. Nobody is told
    of alerts, and the alarm over the stream looks at the span of the page alone.

    Examples:
        torchkeep report

        torchkeep report --since 7d --output week.html

    """
    from monitoring.examination import Keeping
    from monitoring.findings import headline
    from monitoring.page.health_page import health_html
    from torchkeep.atomic_file import write_atomic
    from torchkeep.cli.look_span import parse_span
    from torchkeep.cli.monitored import Place, require_items, take_closed_segments

    place = Place.find(artifact, version)
    span = parse_span(since, until, None, version, correlation_id, now_ns=time.time_ns())
    take_closed_segments(place)
    health = place.look(span, Keeping(path=True))
    require_items(health)
    page = health_html(health).encode()
    try:
        write_atomic(output, page)
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"report": str(output.absolute()), "headline": headline(health)})
    else:
        console = Console()
        console.print(Text(headline(health)), soft_wrap=True)
        console.print(Text(f"report: {output}"), soft_wrap=True)
