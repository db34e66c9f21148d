"""`torchkeep playground`: what it refuses before it serves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from torchkeep.cli.playground import asking, check_host, listening
from torchkeep.errors import SettingsError
from torchkeep.paths import Home

if TYPE_CHECKING:
    from torchkeep.artifact import ModelArtifact


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - it is refused
def test_an_open_address_must_be_asked_for_twice(host: str) -> None:
    with pytest.raises(SettingsError, match="--i-know-this-is-open"):
        check_host(host, known_to_be_open=False)
    check_host(host, known_to_be_open=True)


def test_loopback_is_fine_and_a_name_is_not() -> None:
    check_host("127.0.0.1", known_to_be_open=False)
    check_host("::1", known_to_be_open=False)
    with pytest.raises(SettingsError, match="Give an address"):
        check_host("example.org", known_to_be_open=True)


def test_a_port_in_use_is_one_line_with_a_remedy() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="--port"),
    ):
        listening("127.0.0.1", taken.getsockname()[1])


def test_port_0_takes_a_free_one() -> None:
    with listening("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_where_nothing_runs_there_is_no_server(
    choice: str, digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    with asking(choice, None, digits_artifact, Home(tmp_path)) as server:
        assert server is None


def test_a_named_server_is_taken_as_it_is(digits_artifact: ModelArtifact, tmp_path: Path) -> None:
    with asking("http://127.0.0.1:9", "t0ken", digits_artifact, Home(tmp_path)) as server:
        assert server is not None
        assert (server.url, server.same) == ("http://127.0.0.1:9", None)


def test_what_is_no_address_is_refused(digits_artifact: ModelArtifact, tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match="http"),
        asking("example", None, digits_artifact, Home(tmp_path)),
    ):
        pass


def test_a_server_elsewhere_must_be_ones_own(
    digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    url, home = "https://example.org", Home(tmp_path)
    with (
        pytest.raises(SettingsError, match="--i-own-this-endpoint"),
        asking(url, None, digits_artifact, home),
    ):
        pass
    with asking(url, None, digits_artifact, home, own=True) as server:
        assert server is not None


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(
    ending: signal.Signals, digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "torchkeep.cli", "playground", str(digits_artifact.path)]
    with subprocess.Popen(
        [*words, "--port", "0"],
        env=os.environ | {"TORCHKEEP_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "server: none\n"
            url = process.stdout.readline().split()[2]
            assert "Torchkeep playground" in httpx.get(url, trust_env=False).text
            process.send_signal(ending)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "error" not in told


def test_without_an_artifact_one_is_asked_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torchkeep.cli", "playground", "--port", "0"],
        cwd=tmp_path,
        env=os.environ | {"TORCHKEEP_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "torchkeep up" in done.stderr
    assert done.stderr.count("\n") == 1
