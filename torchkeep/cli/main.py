"""Entry point of the `torchkeep` command."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from torchkeep import __version__
from torchkeep.cli.data import data
from torchkeep.cli.down import down
from torchkeep.cli.fit_detectors import fit_detectors
from torchkeep.cli.log import log
from torchkeep.cli.package import package
from torchkeep.cli.predict import predict
from torchkeep.cli.screen_report import screen_report
from torchkeep.cli.status import status
from torchkeep.cli.token import token
from torchkeep.cli.train import train
from torchkeep.cli.up import up
from torchkeep.errors import TorchkeepError, UserError

VERBS: tuple[Callable[..., Any], ...] = (
    up,
    down,
    status,
    predict,
    log,
    screen_report,
    data,
    train,
    fit_detectors,
    package,
    token,
)

OUR_SURROUNDINGS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""Errors that are the machine's, not ours: a full disk, a place that may not be written."""


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
        app.command(name=verb.__name__.replace("_", "-"))(verb)
    return app


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
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _end)
    try:
        command()()
    except TorchkeepError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        if error.errno not in OUR_SURROUNDINGS:
            raise
        _complain(f"{error.strerror}: {error.filename or 'while writing'}")
        sys.exit(UserError.exit_code)


def _end(number: int, _: FrameType | None) -> None:
    """End by an exception, so that what was begun is cleaned up; a second signal does not wait."""
    signal.signal(number, signal.SIG_DFL)
    _complain("interrupted")
    sys.exit(128 + number)


def _complain(message: str) -> None:
    console = Console(stderr=True, soft_wrap=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(message, markup=False, highlight=False)
