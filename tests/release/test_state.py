"""What is read back from the run folder, whatever is in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from release.java import environment
from release.process import ProcessId
from release.run_folder import LONGEST_SOCKET_PATH, RunFolder
from release.state import Launch, Phase, Restarts, ServerState
from release.tokens import current_token, read_keys
from tests.release.conftest import settings as server_settings
from torchkeep.errors import ServerError
from torchkeep.paths import Home
from torchkeep.settings import Settings

KEYS = """{
  "management": {"key": "m", "expiration time": "2030-01-01T00:00:00.123456789Z"},
  "inference": {"key": "i", "expiration time": "2030-01-01T00:01:00Z"},
  "API": {"key": "a"}
}"""

anything = st.one_of(
    st.binary(max_size=100),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["launch", "ports", "phase", "API", "key"]), inner)
        ),
        max_leaves=8,
    ).map(orjson.dumps),
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def test_a_state_reads_back(run: RunFolder, launch: Launch) -> None:
    state = ServerState(
        launch=launch,
        phase=Phase.RESTARTING,
        reason="why",
        restarts=Restarts(torchserve=2),
        frontend=ProcessId(7, 1.5),
        gateway=ProcessId(9, 3.5),
    )
    state.write(run)
    assert ServerState.read(run) == state
    replace(state, supervisor=ProcessId(8, 2.5)).write(run)
    assert ServerState.read(run) != state


@settings(
    deadline=None,
    max_examples=200,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=anything)
def test_whatever_lies_in_the_run_folder_is_no_state_and_no_key(
    run: RunFolder, content: bytes
) -> None:
    run.state.write_bytes(content)
    run.keys.write_bytes(content)
    assert ServerState.read(run) is None
    assert read_keys(run.keys) is None


def test_keys_are_read_whole_or_not_at_all(run: RunFolder) -> None:
    run.keys.write_text(KEYS)
    keys = read_keys(run.keys)
    assert keys is not None
    assert (keys.inference, keys.management, keys.api) == ("i", "m", "a")
    assert keys.expires == pytest.approx(1893456000.123456)
    for length in range(len(KEYS)):
        run.keys.write_text(KEYS[:length])
        assert read_keys(run.keys) is None


def test_there_is_no_token_where_no_server_runs(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="no server is running here"):
        current_token(Home(tmp_path))


def test_a_process_is_known_by_its_start_too() -> None:
    me = ProcessId.of(os.getpid())
    assert me.alive()
    assert not replace(me, started=me.started - 3600).alive()
    assert not ProcessId(2**22 + 1, time.time()).alive()


def test_a_process_that_has_ended_is_not_alive_before_its_parent_takes_note() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    identity = ProcessId.of(child.pid)
    assert identity.alive()
    child.kill()
    assert identity.wait_end(5)
    assert child.wait() == -9


@pytest.mark.parametrize("depth", [1, 60])
def test_worker_sockets_fit_however_deep_the_folder_is(tmp_path: Path, depth: int) -> None:
    run = RunFolder(tmp_path / ("x" * depth) / "run")
    run.create()
    run.furnish()
    assert len(os.fsencode(run.scratch / ".ts.sock.10000")) <= LONGEST_SOCKET_PATH
    assert run.scratch.stat().st_mode & 0o777 == 0o700
    run.clear()
    assert not run.scratch.exists()


def test_a_scratch_folder_somebody_else_has_laid_out_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = RunFolder(tmp_path / ("x" * 100) / "run")
    (tmp_path / "theirs").mkdir()
    run.scratch.symlink_to(tmp_path / "theirs")
    run.create()
    with pytest.raises(ServerError, match="not a folder of yours"):
        run.furnish()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ServerError, match=r"file/run cannot be made"):
        RunFolder(tmp_path / "file" / "run").create()


def test_workers_get_the_callers_settings_and_no_stray_variables(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("torchkeep.toml").write_text("[server]\nthreads_per_worker = 3\n")
    monkeypatch.setenv("TS_CONFIG_FILE", "x")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}/theirs")
    monkeypatch.setenv("TORCHKEEP_HOME", "elsewhere")
    caller = Settings.load(environ={"TORCHKEEP_SCREENING_POLICY": "reject"})
    home = Home(tmp_path / "home")
    given = environment(run, home, caller)
    assert given["TORCHKEEP_CONFIG"] == str(tmp_path / "torchkeep.toml")
    assert given["TORCHKEEP_SCREENING_POLICY"] == "reject"
    assert given["TORCHKEEP_HOME"] == str(home.root)
    assert given["OMP_NUM_THREADS"] == "3"
    assert given["TMPDIR"] == str(run.scratch)
    assert given["PYTHONPATH"] == f"{tmp_path / 'mine'}{os.pathsep}/theirs"
    assert not {"TS_CONFIG_FILE", "RANK"} & given.keys()
    worker = Settings.load(environ=given)
    assert (worker.tables, worker.variables) == (caller.tables, caller.variables)


def test_cores_are_shared_out_unless_the_environment_says_otherwise(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(run.path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert environment(run, home, server_settings(workers=2))["OMP_NUM_THREADS"] == "4"
    assert environment(run, home, server_settings(workers=9))["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(run, home, server_settings(workers=2))["OMP_NUM_THREADS"] == "5"
