"""`torchkeep up`: from nothing to a screened, logged answer; what is there is used again."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.cli.foreground import staying
from torchkeep.output import AsJson, print_json
from torchkeep.progress import progress

if TYPE_CHECKING:
    from release.server_config import ServerConfig
    from torchkeep.artifact import ModelArtifact
    from torchkeep.data import Splits
    from torchkeep.paths import Home
    from torchkeep.settings import Settings


def up(
    recipe: Annotated[str, typer.Option(help="Named training that makes the model.")] = (
        "mnist-quick"
    ),
    artifact: Annotated[
        Path | None, typer.Option(help="Serve this artifact; train nothing.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="With --artifact: its data, if not where its record says.")
    ] = None,
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

        torchkeep up --artifact .torchkeep/artifacts/my_model-1.1

    """
    from release.package import package
    from release.server import start
    from release.server_config import ServerConfig
    from torchkeep.cli.demonstration import demonstrate, find_pair, tell
    from torchkeep.cli.train import tell as tell_accuracy
    from torchkeep.paths import Home
    from torchkeep.settings import Settings

    home, settings = Home.default(), Settings.load()
    config = settings.section("server", ServerConfig)
    _require_ports(home, config, settings)
    model, splits = _given(artifact, data) if artifact else _from_recipe(recipe, device)
    pair = find_pair(model, splits.test)
    archive = package(model, config.model_store)
    steps = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with staying(home) if foreground else nullcontext():
        server = start(home, archive, settings=settings, progress=steps.print)
        shown = demonstrate(home, server, pair)
        if as_json:
            print_json({**server.to_json(), "demonstration": [one.to_json() for one in shown]})
        else:
            console = Console(soft_wrap=True)
            tell_accuracy(console, model)
            tell(console, pair, shown)
            console.print(f"\nREST         {server.rest}\ngRPC         {server.grpc}")
            console.print(f"observe      {server.observe} (/readyz, /metrics)")
            console.print("API key      torchkeep token")
            console.print(f"request log  {server.request_log}")
            console.print("stop with    make down (or torchkeep down)")


def _require_ports(home: Home, config: ServerConfig, settings: Settings) -> None:
    """Find out that a port is in use before the training, not after it."""
    from gateway.config import GatewayConfig
    from release.ports import Ports
    from release.status import status

    if status(home).over:
        Ports.reserve(config, settings.section("gateway", GatewayConfig))


def _given(folder: Path, data: str | None) -> tuple[ModelArtifact, Splits]:
    from torchkeep.artifact import ModelArtifact
    from torchkeep.cli.preparation import recorded_splits

    artifact = ModelArtifact.load(folder)
    return artifact, recorded_splits(artifact, data)


def _from_recipe(recipe: str, device: str) -> tuple[ModelArtifact, Splits]:
    """Return the recipe's artifact, trained and with detectors, and the data it came of."""
    from robustness.fitting import DetectorConfig
    from torchkeep.cli.preparation import fitted, load_splits, reusable, torch_device
    from torchkeep.paths import Home
    from training.order import Order
    from training.session import carry_out_alone

    order, target = Order(recipe=recipe, device=device), torch_device(device)
    config = order.config()
    dataset, splits = load_splits(config.data)
    with progress() as report:
        artifact = reusable(config, dataset.digest, order.version) or carry_out_alone(
            order, Home.default(), report
        )
        artifact = fitted(artifact, splits, DetectorConfig(seed=config.seed), target, report)
    return artifact, splits
