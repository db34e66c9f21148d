"""How the process starts: its room for connections, and the one line if there is none."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __main__ as program
from gateway.config import GatewayConfig
from torchkeep.errors import SettingsError

Limits = tuple[int, int]


def room_made(
    monkeypatch: pytest.MonkeyPatch, limits: Limits, max_connections: int = 100
) -> Limits:
    """The limits after the start of a process that began with `limits`."""
    found = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda what: found[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda what, new: found.append(new))
    program.make_room(GatewayConfig(max_connections=max_connections))
    return found[-1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((256, 4096), (4096, 4096)),
        ((4096, 4096), (4096, 4096)),
        ((256, 456), (456, 456)),
        ((256, resource.RLIM_INFINITY), (456, resource.RLIM_INFINITY)),
        ((1000, resource.RLIM_INFINITY), (1000, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY,) * 2, (resource.RLIM_INFINITY,) * 2),
    ],
)
def test_the_soft_limit_is_raised(
    before: Limits, after: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room_made(monkeypatch, before) == after


def test_connections_of_both_protocols_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"max_connections is 101, .* 457 .* for 100 conn"):
        room_made(monkeypatch, (256, 457), 101)
    with pytest.raises(SettingsError, match="for 0 connections"):
        room_made(monkeypatch, (64, 64), 1)


def test_a_process_without_room_says_so_in_one_line(tmp_path: Path) -> None:
    limited = (
        "import resource, sys\n"
        "from gateway.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (900, 900))\n"
        f"sys.exit(main([{str(tmp_path / 'none.json')!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin", "TORCHKEEP_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == SettingsError.exit_code
    (line,) = done.stderr.splitlines()
    assert "[gateway] max_connections is 2000" in line
    assert "enough for 322 connections" in line
