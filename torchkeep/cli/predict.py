"""`torchkeep predict`: ask a running server what is on images, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from torchkeep.errors import ServerError
from torchkeep.output import AsJson, print_json
from torchkeep.paths import Home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from release.status import ServerStatus
    from torchkeep.client import Client, ExplainResult, Item, PredictResult

_SHADES = " ░▒▓█"
_MAP_SIDE = 28
"""Rows and columns of a printed attribution, at most; a larger one is drawn coarser."""
_STYLES = {"suspicious": "yellow", "failed": "yellow"}
_NOT_PREDICTED = 2


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP images, or .npy files."),
    ],
    url: Annotated[
        str | None,
        typer.Option(help="Address: http(s):// or grpc(s)://. Default: the server running here."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="TORCHKEEP_TOKEN", help="The API key, if the server runs elsewhere."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the model. Default: the one served here.")
    ] = None,
    model_version: Annotated[
        str | None, typer.Option(help="Version of the model. Default: the server's default.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show which pixels spoke for the class.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Ask a running server what is on images, all of them in one request.

    Exits with code 2 if an image was not predicted: screened out, or no image.

    Examples:
        torchkeep predict digit.png

        torchkeep predict digit.png --explain --json

        torchkeep predict a.png b.png --url grpc://127.0.0.1:8001

    """
    with open_client(url, token, model, model_version, timeout) as client:
        asked = images[0] if len(images) == 1 else images
        result = client.explain(asked) if explain else client.predict(asked)
    names = _names(images, len(result.items))
    if as_json:
        print_json(_as_json(result, names))
    else:
        _tell(result, names)
    if not all(item.ok for item in result.items):
        raise typer.Exit(_NOT_PREDICTED)


def open_client(
    url: str | None, token: str | None, model: str | None, version: str | None, timeout: float
) -> Client:
    """Return a client of the server at `url`, or of the one that runs here, with its key."""
    from torchkeep.client import Client

    here = _server_here()
    current: str | Callable[[], str] | None = token
    if here:
        from release.asking import door_at, local_door

        home = Home.default()
        door = local_door(home, here) if url is None else door_at(home, here, url)
        if door:
            url, model, current = url or door.rest, model or here.model, token or door.token
    if url is None:
        remedy = "Start one: torchkeep up. Or name one elsewhere: --url."
        raise ServerError("no server is running here", remedy=remedy)
    return Client(url, model=model or "mnist", version=version, token=current, timeout=timeout)


def _server_here() -> ServerStatus | None:
    """Return the server of this home; None if none runs, or only the client is installed."""
    try:
        from release.status import status
    except ImportError:
        return None
    server = status(Home.default())
    return None if server.over else server


def _names(images: Sequence[Path], items: int) -> list[str]:
    """Return a name for each item; one .npy file may have held several."""
    if len(images) == items:
        return [str(image) for image in images]
    return [f"{images[0]}[{i}]" for i in range(items)]


def _as_json(result: PredictResult | ExplainResult, names: Sequence[str]) -> dict[str, Any]:
    items = [{"image": name} | asdict(item) for name, item in zip(names, result.items, strict=True)]
    return {
        "request_id": result.request_id,
        "model": result.model,
        "model_version": result.model_version,
        "items": items,
    }


def _tell(result: PredictResult | ExplainResult, names: Sequence[str]) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    for column in ("image", "prediction", "probability", "screening", ""):
        table.add_column(column)
    for name, item in zip(names, result.items, strict=True):
        table.add_row(Text(name), *_row(item))
    console.print(table)
    for name, item in zip(names, result.items, strict=True):
        attribution = getattr(item, "attribution", None)
        if attribution:
            console.print(Text(f"\n{name}: what spoke for {item.label} ({attribution.method})"))
            console.print(Text("\n".join(heat_map(attribution.values))))
    answered = f"\n{result.model} {result.model_version}, request {result.request_id}"
    console.print(Text(answered), soft_wrap=True)


def _row(item: Item) -> tuple[Text, Text, Text, Text]:
    verdict = str(item.screening.verdict) if item.screening else "not told"
    probability = "" if item.probability is None else f"{item.probability:.1%}"
    return (
        Text(item.label or str(item.status), style="" if item.ok else "red"),
        Text(probability),
        Text(verdict, style=_STYLES.get(verdict, "")),
        Text(item.error or ""),
    )


def heat_map(values: NDArray[np.float32]) -> list[str]:
    """Draw the strength of an attribution (C H W) in text, two characters a cell."""
    import numpy as np

    strength = np.nan_to_num(np.abs(values).sum(axis=0))
    height, width = strength.shape
    step = math.ceil(max(height, width) / _MAP_SIDE)
    padded = np.pad(strength, ((0, -height % step), (0, -width % step)))
    rows, columns = padded.shape[0] // step, padded.shape[1] // step
    cells = padded.reshape(rows, step, columns, step).max(axis=(1, 3))
    levels = np.rint(cells / max(cells.max(), 1e-12) * (len(_SHADES) - 1)).astype(int)
    return ["".join(_SHADES[level] * 2 for level in row) for row in levels]
