"""`torchkeep alerts`: the rules in the settings, and whether their alerts arrive."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from torchkeep.errors import UserError
from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from monitoring.alerts.config import AlertsConfig

alerts = typer.Typer(name="alerts", no_args_is_help=True, rich_markup_mode="rich")


@alerts.callback()
def _alerts() -> None:
    """Look at the alert rules in torchkeep.toml, and try where their alerts go.

    `torchkeep monitor` evaluates them.

    Examples:
        torchkeep alerts rules

        torchkeep alerts try

    """


@alerts.command()
def rules(as_json: AsJson = False) -> None:
    """Show the rules, checked, and the kinds of sinks.

    Examples:
        torchkeep alerts rules

        torchkeep alerts rules --json

    """
    config = _config()
    sinks = {
        "log": config.log,
        "webhook": config.webhook_url is not None,
        "alertmanager": config.alertmanager_url is not None,
    }
    names = [name for name, wanted in sinks.items() if wanted]
    if as_json:
        print_json({"rules": [asdict(rule) for rule in config.rules], "sinks": names})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("rule", "fires if", "evaluations", "seconds", "severity"):
        table.add_column(column, overflow="fold")
    for rule in config.rules:
        table.add_row(
            rule.name,
            rule.condition,
            str(rule.for_evaluations),
            f"{rule.for_s:g}",
            rule.severity.value,
        )
    console = Console(highlight=False)
    console.print(
        table if config.rules else "no rules: see [alerts] in torchkeep.toml", markup=False
    )
    console.print(f"told to: {', '.join(names) or 'nobody'}")


@alerts.command(name="try")
def try_(as_json: AsJson = False) -> None:
    """Send a trial alert to every sink; an error if one does not take it.

    Examples:
        torchkeep alerts try

        torchkeep alerts try --json

    """
    from monitoring.alerts.trial import try_sinks

    sent = try_sinks(_config())
    if as_json:
        print_json({"sinks": {one.sink: one.fault or "told" for one in sent}})
    else:
        for one in sent:
            Console(highlight=False).print(f"{one.sink}: {one.fault or 'told'}", markup=False)
    if failed := [one for one in sent if one.fault]:
        raise UserError(
            f"{failed[0].sink} did not take the trial alert: {failed[0].fault}",
            remedy="See [alerts] in torchkeep.toml.",
        )


def _config() -> AlertsConfig:
    from monitoring.alerts.config import AlertsConfig
    from torchkeep.settings import Settings

    return Settings.load().section("alerts", AlertsConfig)
