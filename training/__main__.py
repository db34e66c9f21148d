"""`python -m training`: what torchrun starts in each process; alone it is `torchkeep train`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from torchkeep.command_line import run
from torchkeep.errors import TorchkeepError, TrainingError, TrainingPausedError
from training.command import train
from training.first_word import has_the_word


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
    signal.signal(signal.SIGTERM, _ended_by_launcher)
    try:
        app()
    except TorchkeepError as error:
        # The launcher ends those that are left: too late to change how this one ends.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if _speaks(error):
            raise
        sys.exit(error.exit_code)


def _speaks(error: TorchkeepError) -> bool:
    """Say whether this process tells the error; what all know alike the leader tells."""
    from training.distributed import ProcessLostError

    first = has_the_word()
    if first is not None:
        return first
    known_to_all = isinstance(error, TrainingError | TrainingPausedError)
    lost = isinstance(error, ProcessLostError)
    return lost or not known_to_all or os.environ.get("RANK", "0") == "0"


def _ended_by_launcher(number: int, _: FrameType | None) -> None:
    """End as one whose neighbour died: torchrun sends SIGTERM to all that are left."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(TrainingError.exit_code)


if __name__ == "__main__":
    main()
