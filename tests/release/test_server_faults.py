"""Real processes that are killed, that cannot start, or whose starter is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from gateway.config import GatewayConfig
from gateway.identity.local_key import local_key
from release.package import package
from release.ports import Ports
from release.process import ProcessId
from release.run_folder import RunFolder
from release.server import start, status, stop
from release.server_config import ServerConfig
from release.state import Launch, Phase, ServerState
from release.status import ServerStatus
from release.tokens import Keys, current_token, read_keys
from tests.release.conftest import ECHO, settings
from tests.release.serving import assert_nothing_left, has_ended, infer, predict, until
from torchkeep.artifact import ModelArtifact
from torchkeep.errors import ServerError
from torchkeep.paths import Home

pytestmark = pytest.mark.torchserve


def keys_of(home: Home) -> Keys:
    """Return the keys in the file, which is half-written for a moment when they are renewed."""
    for _ in range(40):
        if (keys := read_keys(RunFolder(home.run).keys)) is not None:
            return keys
        time.sleep(0.05)
    raise AssertionError("there is no whole key file")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    stop(home)


@pytest.fixture
def echo_archive(
    toy_artifact: ModelArtifact, with_entry: Callable[[str], None], tmp_path: Path
) -> Path:
    with_entry(ECHO)
    return package(toy_artifact, tmp_path / "store")


def test_tokens_are_renewed_and_the_gateway_follows(home: Home, echo_archive: Path) -> None:
    short_lived = settings(token_minutes=0.15)
    running = start(home, echo_archive, settings=short_lived)
    first = keys_of(home).inference
    assert until(lambda: keys_of(home).inference != first, 12)
    assert predict(running, first).status_code == 400
    assert predict(running, current_token(home)).status_code == 200
    assert infer(running, local_key(home)).status_code == 200
    assert stop(home)
    assert_nothing_left(home, running)
    with pytest.raises(ServerError, match="no server is running"):
        current_token(home)


@pytest.fixture(scope="module")
def mortal(
    toy_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Home, ServerStatus]]:
    """A server whose processes are killed; stopped, it must leave nothing all the same."""
    folder = tmp_path_factory.mktemp("mortal")
    home = Home(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("release.package", "release.vet"):
            patch.setattr(f"{module}.entry_source", ECHO.encode)
        running = start(home, package(toy_artifact, folder / "store"), settings=settings())
    yield home, running
    last = status(home)
    assert stop(home)
    assert_nothing_left(home, last)
    assert status(home).phase is None


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_killed_torchserve_is_reported_and_started_again(
    mortal: tuple[Home, ServerStatus],
) -> None:
    home, before = mortal[0], status(mortal[0])
    old_keys = keys_of(home)
    kill(before.pids.frontend)
    killed_at = time.monotonic()
    assert until(lambda: not status(home).healthy, 0.5)
    assert until(lambda: status(home).phase is Phase.RESTARTING, 2)
    assert time.monotonic() - killed_at < 2
    down = status(home)
    assert down.reason == "TorchServe was killed by signal 9"
    assert down.supervised
    assert not down.running
    assert not down.over
    assert down.pids.gateway == before.pids.gateway
    assert until(lambda: httpx.get(f"{before.observe}/readyz").status_code == 503, 2)
    assert infer(before, local_key(home)).status_code == 503

    assert until(lambda: status(home).healthy, 60)
    again = status(home)
    assert again.phase is Phase.SERVING
    assert again.reason == ""
    assert again.restarts.torchserve > before.restarts.torchserve
    assert again.restarts.gateway == before.restarts.gateway
    assert again.pids.frontend != before.pids.frontend
    assert (again.rest, again.torchserve_rest) == (before.rest, before.torchserve_rest)
    assert all(has_ended(worker) for worker in before.pids.workers)
    assert httpx.get(f"{again.observe}/readyz").status_code == 200
    assert infer(again, local_key(home)).status_code == 200
    assert keys_of(home).api != old_keys.api
    assert predict(again, current_token(home)).status_code == 200


def test_a_killed_gateway_is_started_again_at_once(mortal: tuple[Home, ServerStatus]) -> None:
    home, before = mortal[0], status(mortal[0])
    kill(before.pids.gateway)
    assert until(lambda: status(home).restarts.gateway == before.restarts.gateway + 1, 2)
    assert until(lambda: status(home).healthy, 30)
    again = status(home)
    assert again.pids.gateway != before.pids.gateway
    assert again.pids.frontend == before.pids.frontend
    assert again.rest == before.rest
    assert infer(again, local_key(home)).status_code == 200


def test_a_gateway_that_hangs_is_started_again(mortal: tuple[Home, ServerStatus]) -> None:
    home, before = mortal[0], status(mortal[0])
    assert before.pids.gateway is not None
    os.kill(before.pids.gateway, signal.SIGSTOP)
    assert until(lambda: status(home).restarts.gateway == before.restarts.gateway + 1, 30)
    assert until(lambda: status(home).healthy, 30)
    assert infer(status(home), local_key(home)).status_code == 200


def test_a_torchserve_that_hangs_is_started_again(mortal: tuple[Home, ServerStatus]) -> None:
    home, before = mortal[0], status(mortal[0])
    assert before.pids.frontend is not None
    os.kill(before.pids.frontend, signal.SIGSTOP)
    assert until(lambda: status(home).restarts.torchserve > before.restarts.torchserve, 40)
    assert until(lambda: status(home).healthy, 60)
    assert status(home).pids.frontend != before.pids.frontend
    assert infer(status(home), local_key(home)).status_code == 200


def test_both_killed_at_once_come_back(mortal: tuple[Home, ServerStatus]) -> None:
    home, before = mortal[0], status(mortal[0])
    kill(before.pids.frontend)
    kill(before.pids.gateway)
    assert until(lambda: status(home).phase is Phase.RESTARTING, 2)
    assert until(lambda: status(home).healthy, 60)
    assert infer(status(home), local_key(home)).status_code == 200


def test_a_torchserve_that_does_not_come_back_is_tried_again_and_again(
    mortal: tuple[Home, ServerStatus],
) -> None:
    home, before = mortal[0], status(mortal[0])
    store = RunFolder(home.run).store
    hidden = store.rename(store.with_name("hidden"))
    kill(before.pids.frontend)
    tried = before.restarts.torchserve + 2
    assert until(lambda: status(home).restarts.torchserve >= tried, 60)
    down = status(home)
    assert down.phase is Phase.RESTARTING
    assert down.reason.startswith("TorchServe "), down.reason
    assert "\n" not in down.reason
    assert down.pids.gateway == before.pids.gateway
    hidden.rename(store)
    assert until(lambda: status(home).healthy, 90)
    assert status(home).restarts.torchserve > tried - 1
    assert infer(status(home), local_key(home)).status_code == 200


def test_a_stop_while_torchserve_is_down_leaves_nothing(home: Home, echo_archive: Path) -> None:
    running = start(home, echo_archive, settings=settings())
    kill(running.pids.frontend)
    assert until(lambda: status(home).phase is Phase.RESTARTING, 2)
    assert stop(home)
    assert_nothing_left(home, running)
    assert has_ended(running.pids.gateway)


def test_a_gateway_that_does_not_start_gives_its_reason_in_one_line(
    home: Home, echo_archive: Path, tmp_path: Path
) -> None:
    for name in ("server.pem", "server.key"):
        (tmp_path / name).write_text("no certificate")
        (tmp_path / name).chmod(0o600)
    tls = {"tls_certificate": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    as_variables = {f"TORCHKEEP_GATEWAY_{name.upper()}": str(file) for name, file in tls.items()}
    broken = replace(settings(), variables=as_variables)
    began = time.monotonic()
    with pytest.raises(ServerError) as caught:
        start(home, echo_archive, settings=broken)
    assert time.monotonic() - began < 60, "no timeout was waited for"
    message = str(caught.value)
    assert "the server did not start: the gateway ended with exit code 2: " in message
    assert "server.pem" in message
    assert str(RunFolder(home.run).gateway_log) in message
    assert "\n" not in message
    assert_nothing_left(home)
    assert status(home).phase is Phase.FAILED


@pytest.fixture(scope="module")
def replaced(
    toy_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Home, ServerStatus, ServerStatus]]:
    """A server, and the one of two workers that took its place; far down in the file system."""
    folder = tmp_path_factory.mktemp("replaced")
    home = Home(folder / ("far-" * 20) / "home")
    free = settings()
    port = Ports.reserve(
        free.section("server", ServerConfig), free.section("gateway", GatewayConfig)
    ).rest_port
    with pytest.MonkeyPatch.context() as patch:
        for module in ("release.package", "release.vet"):
            patch.setattr(f"{module}.entry_source", ECHO.encode)
        archive = package(toy_artifact, folder / "store")
        first = start(home, archive, settings=settings(rest_port=port))
        second = start(home, archive, settings=settings(rest_port=port, workers=2))
    yield home, first, second
    stop(home)


def test_other_settings_take_the_place_of_a_running_server(
    replaced: tuple[Home, ServerStatus, ServerStatus],
) -> None:
    _, first, second = replaced
    assert second.torchserve_rest == first.torchserve_rest
    assert second.fingerprint != first.fingerprint
    assert len(second.pids.workers) == 2
    assert has_ended(first.pids.supervisor)
    assert has_ended(first.pids.frontend)
    assert has_ended(first.pids.gateway)


def test_a_killed_supervisor_leaves_nothing_that_stop_cannot_end(
    replaced: tuple[Home, ServerStatus, ServerStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _, running = replaced
    assert running.pids.supervisor is not None
    os.kill(running.pids.supervisor, signal.SIGKILL)
    assert until(lambda: not status(home).supervised, 2)
    orphaned = status(home)
    assert orphaned.running
    assert not orphaned.healthy
    assert "supervisor has died" in orphaned.reason

    old = keys_of(home)
    monkeypatch.setattr("release.tokens.SHORT_S", old.seconds_left + 1)  # as if it were old
    renewed = current_token(home)
    assert renewed == keys_of(home).inference != old.inference
    assert predict(running, renewed).status_code == 200

    RunFolder(home.run).state.unlink()  # not even the state is needed
    assert stop(home)
    assert_nothing_left(home, running)


def test_a_worker_that_does_not_load_gives_its_reason_in_one_line(
    home: Home, toy_artifact: ModelArtifact, with_entry: Callable[[str], None], tmp_path: Path
) -> None:
    with_entry("import a_module_that_is_not_there\n\n\ndef handle(data, context):\n    pass\n")
    archive = package(toy_artifact, tmp_path / "store")
    with pytest.raises(ServerError) as caught:
        start(home, archive, settings=settings())
    message = str(caught.value)
    assert "ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in message
    assert str(RunFolder(home.run).log) in message
    assert "\n" not in message
    assert_nothing_left(home)
    assert status(home).phase is Phase.FAILED
    assert not status(home).running


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_caller_that_ends_takes_the_starting_server_with_it(
    blow: signal.Signals,
    home: Home,
    toy_artifact: ModelArtifact,
    with_entry: Callable[[str], None],
    tmp_path: Path,
) -> None:
    source = "import time\n\n\ndef handle(data, context):\n    time.sleep(60)\n"
    with_entry(source)
    archive = package(toy_artifact, tmp_path / "store")
    program = (
        "import sys, release.vet; from pathlib import Path; from release.server import start;"
        "from tests.release.conftest import settings; from torchkeep.paths import Home;"
        f"release.vet.entry_source = {source!r}.encode;"
        "start(Home(Path(sys.argv[1])), Path(sys.argv[2]), settings=settings())"
    )
    root = Path(__file__).parents[2]
    caller = subprocess.Popen(
        [sys.executable, "-c", program, str(home.root), str(archive)], cwd=root
    )
    run = RunFolder(home.run)
    assert until(lambda: bool(status(home).pids.workers), 30)
    assert status(home).phase is Phase.STARTING
    supervisor = status(home).pids.supervisor
    assert supervisor is not None
    caller.send_signal(blow)
    caller.wait()
    patience_s = 20 if blow is signal.SIGKILL else 0  # after Ctrl-C the caller itself waits
    assert until(lambda: not run.state.exists(), patience_s)
    assert until(lambda: has_ended(supervisor), 2)
    assert_nothing_left(home)


def test_a_state_whose_process_numbers_were_reused_harms_nobody(home: Home, launch: Launch) -> None:
    run = RunFolder(home.run)
    run.create()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        stale = ProcessId(bystander.pid, psutil.Process(bystander.pid).create_time() - 3600)
        state = ServerState(launch=launch, phase=Phase.SERVING)
        replace(state, supervisor=stale, frontend=stale).write(run)
        assert not status(home).running
        assert not stop(home)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert status(home).phase is None
