"""`torchkeep up`: from nothing to a screened, logged answer; what is there is used again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.cli.output import AsJson, print_json
from torchkeep.cli.progress import progress

if TYPE_CHECKING:
    from torchkeep.artifact import ModelArtifact
    from torchkeep.data import Splits
    from torchkeep.paths import Home

LOOK_EVERY_S = 1.0


def up(
    recipe: Annotated[str, typer.Option(help="Named training that makes the model.")] = (
        "mnist-quick"
    ),
    device: Annotated[str, typer.Option(help="Device to train and serve on: cpu or cuda.")] = "cpu",
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until SIGTERM or Ctrl-C, then stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Get data, train, fit detectors, pack, serve, and show that it works.

    Whatever is there already and still fits is used again: a second `up` only starts the server.

    Examples:
        torchkeep up

        torchkeep up --recipe digits-quick --json

    """
    from release.package import package
    from release.server import start
    from release.server_config import ServerConfig
    from torchkeep.cli.demonstration import demonstrate, find_pair, tell
    from torchkeep.cli.train import tell as tell_accuracy
    from torchkeep.paths import Home
    from torchkeep.settings import Settings

    home, settings, steps = Home.default(), Settings.load(), Console(stderr=True)
    artifact, splits = prepare(recipe, device)
    archive = package(artifact, settings.section("server", ServerConfig).model_store)
    server = start(home, archive, settings=settings, progress=steps.print)
    pair = find_pair(artifact, splits.test)
    shown = demonstrate(home, server, pair)
    if as_json:
        print_json({**server.to_json(), "demonstration": [one.to_json() for one in shown]})
    else:
        console = Console()
        tell_accuracy(console, artifact)
        tell(console, pair, shown)
        console.print(f"\nREST         {server.rest}\ngRPC         {server.grpc}")
        console.print(f"request log  {server.request_log}", soft_wrap=True)
        console.print("stop with    make down (or torchkeep down)")
    if foreground:
        _stay(home)


def prepare(recipe: str, device: str) -> tuple[ModelArtifact, Splits]:
    """Return the recipe's artifact, trained and with detectors, and the data it came of."""
    from robustness.fitting import DetectorConfig
    from torchkeep.cli.preparation import fitted, load_splits, reusable, torch_device, trained
    from training.recipes import recipe as find_recipe

    config, target = find_recipe(recipe), torch_device(device)
    dataset, splits = load_splits(config.data)
    with progress() as report:
        artifact = reusable(config, dataset.digest, "1.0") or trained(
            dataset, splits, config, "1.0", None, target, report
        )
        detectors = DetectorConfig(seed=config.seed)
        artifact = fitted(artifact, splits, detectors, target, report)
    return artifact, splits


def _stay(home: Home) -> None:
    """Wait for SIGTERM or SIGINT, then stop. Raises `ServerError` if the server dies before."""
    from release.server import stop
    from release.status import status
    from torchkeep.errors import ServerError

    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        while (now := status(home)).running:
            if signal.sigtimedwait(ends, LOOK_EVERY_S):
                return
        raise ServerError(f"the server has ended: {now.reason}", remedy=f"Its log is {now.log}.")
    finally:
        stop(home)
