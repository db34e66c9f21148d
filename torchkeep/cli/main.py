"""Entry point of the `torchkeep` command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from torchkeep import __version__
from torchkeep.cli.alerts import alerts
from torchkeep.cli.attack import attack
from torchkeep.cli.certify import certify
from torchkeep.cli.compare_reports import compare_reports
from torchkeep.cli.data import data
from torchkeep.cli.down import down
from torchkeep.cli.evaluate import evaluate
from torchkeep.cli.fit_detectors import fit_detectors
from torchkeep.cli.import_ import import_
from torchkeep.cli.key import key
from torchkeep.cli.labels import labels
from torchkeep.cli.learning_curve import learning_curve
from torchkeep.cli.log import log
from torchkeep.cli.logs import logs
from torchkeep.cli.monitor import monitor
from torchkeep.cli.package import package
from torchkeep.cli.playground import playground
from torchkeep.cli.predict import predict
from torchkeep.cli.report import report
from torchkeep.cli.scan_poison import scan_poison
from torchkeep.cli.screen_report import screen_report
from torchkeep.cli.status import status
from torchkeep.cli.token import token
from torchkeep.cli.train import train
from torchkeep.cli.training_set import training_set
from torchkeep.cli.up import up
from torchkeep.command_line import run

VERBS: tuple[Callable[..., Any], ...] = (
    up,
    down,
    status,
    predict,
    log,
    screen_report,
    monitor,
    report,
    data,
    scan_poison,
    train,
    learning_curve,
    import_,
    fit_detectors,
    evaluate,
    attack,
    certify,
    compare_reports,
    playground,
    training_set,
    package,
    token,
)

GROUPS: tuple[typer.Typer, ...] = (alerts, key, labels, logs)
"""Verbs that have verbs of their own."""


def command() -> typer.Typer:
    """Build the command with all its verbs."""
    app = typer.Typer(
        name="torchkeep",
        help="Serve PyTorch models that are screened, logged and hard to fool.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for verb in VERBS:
        app.command(name=verb_name(verb))(verb)
    for group in GROUPS:
        app.add_typer(group)
    return app


def verb_name(verb: Callable[..., Any]) -> str:
    """Return what a verb is called on the command line: `import_` is `import`."""
    return verb.__name__.rstrip("_").replace("_", "-")


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Serve PyTorch models that are screened, logged and hard to fool."""


def _print_version(wanted: bool) -> None:
    if wanted:
        Console().print(__version__, highlight=False)
        raise typer.Exit


def main() -> None:
    """Run the command; a known error is one line on stderr and its exit code."""
    run(command())
