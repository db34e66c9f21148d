"""`python -m training`: what torchrun starts in each process; alone it is `torchkeep train`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from torchkeep.command_line import complain, run
from torchkeep.errors import TorchkeepError, TrainingError
from training.command import train


def main() -> None:
    """Run the command; of several processes the leader alone tells what all know."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(name="training")(train)
    run(app if os.environ.get("WORLD_SIZE", "1") == "1" else lambda: _beside_others(app))


def _beside_others(app: typer.Typer) -> None:
    from training.distributed import ProcessLostError

    signal.signal(signal.SIGTERM, _ended_by_launcher)
    try:
        app()
    except TorchkeepError as error:
        # The launcher ends those that are left: too late to change how this one ends.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if isinstance(error, ProcessLostError) or os.environ.get("RANK", "0") == "0":
            raise
        sys.exit(error.exit_code)


def _ended_by_launcher(number: int, _: FrameType | None) -> None:
    """End as one whose neighbour died: torchrun sends SIGTERM to all that are left."""
    signal.signal(number, signal.SIG_IGN)
    complain(f"process {os.environ.get('RANK')} was ended by its launcher")
    sys.exit(TrainingError.exit_code)


if __name__ == "__main__":
    main()
