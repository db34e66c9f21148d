"""`torchkeep playground`: a local web page to try out attacks on."""

from __future__ import annotations

import signal
import socket
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.errors import ArtifactError, SettingsError

if TYPE_CHECKING:
    import numpy as np
    import uvicorn
    from numpy.typing import NDArray

    from torchkeep.artifact import ModelArtifact
    from torchkeep.client import Client, Item
    from torchkeep.paths import Home

ASK_SECONDS = 10.0
"""How long the server may take for one image."""
GRACE_SECONDS = 3
"""How long a trial may go on after Ctrl-C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that can be asked; `same` is whether it serves the artifact (None: unknown)."""

    url: str
    same: bool | None
    client: Client

    def predict(self, image: NDArray[np.float32]) -> Item:
        """Return the server's answer to one image C H W in 0..1."""
        return self.client.predict(image).items[0]


def playground(
    artifact: Annotated[
        Path | None, typer.Argument(help="Folder of the artifact.  [default: what `up` makes]")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data it was trained on; by default as recorded.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    endpoint: Annotated[
        str,
        typer.Option(help="Server to try out: its address, none, or auto: the one running here."),
    ] = "auto",
    token: Annotated[
        str | None,
        typer.Option(envvar="TORCHKEEP_TOKEN", help="The API key, if the server runs elsewhere."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = False,
    i_know_this_is_open: Annotated[
        bool, typer.Option(help="Let others on the network use the page, without a password.")
    ] = False,
    own: Annotated[
        bool,
        typer.Option("--i-own-this-endpoint", help="Allow an --endpoint beyond this machine."),
    ] = False,
) -> None:
    """Serve a page on which one image, an attack and the screening's verdict can be tried out.

    Examples:
        torchkeep playground

        torchkeep playground .torchkeep/artifacts/mnist-1.0 --port 0 --open

        torchkeep playground --endpoint grpc://127.0.0.1:8001

    """
    from torchkeep.cli.preparation import artifact_path, recorded_splits, torch_device

    check_host(host, i_know_this_is_open)
    folder = artifact or artifact_path("mnist", "1.0")
    if artifact is None and not folder.exists():
        raise ArtifactError(
            f"there is no artifact in {folder}",
            remedy="Make one with `torchkeep up`, or name its folder.",
        )
    import uvicorn

    from robustness.playground.application import application
    from robustness.playground.lab import Lab
    from torchkeep.artifact import ModelArtifact
    from torchkeep.paths import Home

    model = ModelArtifact.load(_short(folder))
    asked_at = asking(endpoint, token, model, Home.default(), own=own)
    with listening(host, port) as listener, asked_at as asked:
        lab = Lab(model, recorded_splits(model, data).test, torch_device(device), asked)
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}/"
        console = Console(soft_wrap=True, highlight=False)
        if i_know_this_is_open and not _is_loopback(host):
            console.print("Anyone who reaches this address can use the page.", style="yellow")
        console.print(f"server: {asked.url if asked else 'none'}")
        console.print(f"playground at {url} (Ctrl-C ends it)")
        if open_:
            webbrowser.open(url)
        config = uvicorn.Config(
            application(lab),
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = uvicorn.Server(config)
        with ended_by_signals(server):
            server.run(sockets=[listener])


@contextmanager
def ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server, and be no error: uvicorn raises them once more."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def end(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def asking(
    choice: str,
    token: str | None,
    artifact: ModelArtifact,
    home: Home,
    *,
    own: bool = False,
) -> Iterator[RunningServer | None]:
    """Yield the server that was chosen: `auto` is the one in `home`, if it serves.

    Raises `SettingsError` for what is no address, or one beyond this machine unless it is `own`.
    """
    from release.asking import door_at, local_door
    from release.status import status
    from robustness.black_box.address import require_loopback
    from torchkeep.client import Client

    here = status(home)
    if choice == "none" or (choice == "auto" and not here.running):
        yield None
        return
    url, model, same = choice, artifact.manifest.name, None
    opens: str | Callable[[], str] | None = token
    door = local_door(home, here) if choice == "auto" else door_at(home, here, choice)
    if here.running and door:
        url, model = door.rest if choice == "auto" else choice, here.model
        same = here.artifact_digest == artifact.digest
        opens = token or door.token
    require_loopback(url, own=own)
    with Client(url, model=model, token=opens, timeout=ASK_SECONDS) as client:
        yield RunningServer(url=url, same=same, client=client)


def check_host(host: str, known_to_be_open: bool) -> None:
    """Raise `SettingsError` for what is no address, or an open one that was not asked for twice."""
    try:
        loopback = _is_loopback(host)
    except ValueError as error:
        raise SettingsError(f"--host {host}", remedy="Give an address, as 127.0.0.1.") from error
    if not loopback and not known_to_be_open:
        raise SettingsError(
            f"--host {host} lets others on the network use the page",
            remedy="If that is wanted, add --i-know-this-is-open.",
        )


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound. Raises `SettingsError` if it cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # a browser that is quick to ask waits until we serve
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            remedy="Give another one with --port, or 0 for any.",
        ) from error
    return listener


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback


def _short(folder: Path) -> Path:
    """Return a folder below the current one as one would write it; the page shows it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
