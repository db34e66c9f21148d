"""`torchkeep down`: stop the server."""

from __future__ import annotations

from rich.console import Console


def down() -> None:
    """Stop the server that `torchkeep up` started, and all that belongs to it.

    Nothing running is no error. Data, artifacts, archives and the request log stay.

    Examples:
        torchkeep down

    """
    from release.server import stop
    from torchkeep.paths import Home

    stopped = stop(Home.default())
    Console().print("stopped" if stopped else "nothing was running")
