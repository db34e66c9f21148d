"""`torchkeep status`: what is being served, where, and by which processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from release.status import ServerStatus

NOT_HEALTHY = 1
MIB = 1024 * 1024


def status(as_json: AsJson = False) -> None:
    """Show what is being served; the exit code is 1 if anything of it does not run.

    Examples:
        torchkeep status

        torchkeep status --json

    """
    from release.status import status as look
    from torchkeep.paths import Home

    now = look(Home.default())
    if as_json:
        print_json(now.to_json())
    else:
        _tell(now)
    if not now.healthy:
        raise typer.Exit(NOT_HEALTHY)


def _tell(now: ServerStatus) -> None:
    console = Console()
    if now.reason:
        console.print(now.reason, markup=False, highlight=False, soft_wrap=True)
    if now.phase is None:
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(now).items():
        table.add_row(name, value)
    console.print(table)


def _rows(now: ServerStatus) -> dict[str, str]:
    workers = zip(now.pids.workers, now.memory_bytes.workers, strict=True)
    return {
        "model": f"{now.model} {now.version}",
        "phase": str(now.phase),
        "started": now.started,
        "REST": now.rest,
        "gRPC": now.grpc,
        "observe": f"{now.observe} (/readyz, /metrics)",
        "TorchServe": f"{now.torchserve_rest}\n{now.torchserve_grpc}",
        "request log": now.request_log,
        "server log": now.log,
        "gateway log": now.gateway_log,
        "supervisor": f"pid {now.pids.supervisor or '-'}",
        "gateway": _process(now.pids.gateway, now.memory_bytes.gateway),
        "frontend": _process(now.pids.frontend, now.memory_bytes.frontend),
        "workers": "\n".join(_process(pid, size) for pid, size in workers) or "-",
        "restarts": f"gateway {now.restarts.gateway}, TorchServe {now.restarts.torchserve}",
    }


def _process(pid: int | None, size: int) -> str:
    return f"pid {pid}, {size // MIB} MiB" if pid else "-"
