"""A real TorchServe around an entry module that only echoes, and the gateway; all share one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from typer.testing import CliRunner

from gateway.identity.local_key import local_key
from gateway.upstream import Upstream
from handlers.config import LimitsConfig
from release.asking import back_door, door_at, front_door, local_door
from release.package import package
from release.run_folder import RunFolder
from release.server import start, status, stop
from release.state import Restarts
from release.status import ServerStatus
from release.tokens import current_token, read_keys
from tests.release.conftest import ECHO, settings
from tests.release.serving import assert_nothing_left, infer, port_of, predict
from torchkeep.artifact import ModelArtifact
from torchkeep.cli.main import command
from torchkeep.client.stubs.inference_pb2 import PredictionsRequest
from torchkeep.client.stubs.inference_pb2_grpc import InferenceAPIsServiceStub
from torchkeep.errors import ArtifactError, ServerError
from torchkeep.keys import envelope_key_file, read_key
from torchkeep.paths import Home

pytestmark = pytest.mark.torchserve


@pytest.fixture(scope="module")
def shared(
    toy_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Home, Path, ServerStatus]]:
    """A server in a folder with an awkward name, started from an environment full of traps."""
    folder = tmp_path_factory.mktemp("shared")
    home = Home(folder / "höme, one's own")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("release.package", "release.vet"):
            patch.setattr(f"{module}.entry_source", ECHO.encode)
        patch.setenv("TS_CONFIG_FILE", "/nowhere")
        patch.setenv("LOCAL_RANK", "3")
        patch.setenv("LC_ALL", "C")
        patch.delenv("JAVA_HOME", raising=False)
        archive = package(toy_artifact, folder / "store")
        yield home, archive, start(home, archive, settings=settings())
        running = status(home)
        assert stop(home)
        assert_nothing_left(home, running)
        assert status(home) == ServerStatus(reason="no server is running here")
        assert not stop(home)


@pytest.fixture
def home(shared: tuple[Home, Path, ServerStatus]) -> Home:
    return shared[0]


@pytest.fixture
def running(shared: tuple[Home, Path, ServerStatus]) -> ServerStatus:
    return shared[2]


def test_it_tells_what_it_serves_and_where(home: Home, running: ServerStatus) -> None:
    assert running.healthy
    assert (running.model, running.version) == ("toy", "1.0")
    assert running.request_log == str(home.request_log)
    assert running.memory_bytes.frontend > 0
    assert running.memory_bytes.gateway > 0
    assert [size > 0 for size in running.memory_bytes.workers] == [True]
    assert running.restarts == Restarts()
    commands = {
        pid: " ".join(psutil.Process(pid).cmdline())
        for pid in (
            running.pids.supervisor,
            running.pids.gateway,
            running.pids.frontend,
            *running.pids.workers,
        )
    }
    assert f"-m gateway {RunFolder(home.run).upstream}" in commands[running.pids.gateway]
    assert "release.supervisor" in commands[running.pids.supervisor]
    assert "org.pytorch.serve.ModelServer" in commands[running.pids.frontend]
    assert "model_service_worker" in commands[running.pids.workers[0]]
    assert json.loads(json.dumps(running.to_json()))["pids"]["workers"]


def test_a_prediction_over_rest_needs_the_token(home: Home, running: ServerStatus) -> None:
    for token in (None, "wrong"):
        refused = predict(running, token)
        assert refused.status_code == 400, "TorchServe has no 401"
        assert refused.json()["type"] == "InvalidKeyException"
    answer = predict(running, current_token(home))
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["bytes"] == 5


def test_a_prediction_over_grpc_needs_the_token(home: Home, running: ServerStatus) -> None:
    question = PredictionsRequest(model_name="toy", input={"data": b"1234567"})
    with grpc.insecure_channel(running.torchserve_grpc.removeprefix("grpc://")) as channel:
        stub = InferenceAPIsServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predictions(question, timeout=10)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        metadata = [("authorization", f"Bearer {current_token(home)}")]
        answer = stub.Predictions(question, timeout=10, metadata=metadata)
    assert json.loads(answer.prediction)["predictions"][0]["bytes"] == 7


def test_bodies_reach_the_handler_undecoded(home: Home, running: ServerStatus) -> None:
    body = b'{"instances": [1, 2, 3]}'
    headers = {"Authorization": f"Bearer {current_token(home)}"}
    for kind in ("application/json", "text/plain", "image/png"):
        answer = httpx.post(
            f"{running.torchserve_rest}/predictions/toy",
            content=body,
            headers=headers | {"Content-Type": kind},
        )
        assert answer.json()["predictions"][0]["bytes"] == len(body)


def test_a_body_above_the_limit_is_refused_and_the_server_lives(
    home: Home, running: ServerStatus
) -> None:
    token = current_token(home)
    large = predict(running, token, bytes(60 * 2**20))
    assert large.json()["predictions"][0]["bytes"] == 60 * 2**20
    with pytest.raises(httpx.HTTPError):
        predict(running, token, bytes(65 * 2**20)).raise_for_status()
    assert predict(running, token).status_code == 200


def test_models_can_be_neither_registered_nor_removed(home: Home, running: ServerStatus) -> None:
    keys = read_keys(RunFolder(home.run).keys)
    assert keys is not None
    headers = {"Authorization": f"Bearer {keys.management}"}
    url = f"{running.management}/models"
    assert httpx.get(url, headers=headers).json()["models"][0]["modelName"] == "toy"
    register = httpx.post(url, params={"url": "http://127.0.0.1/x.mar"}, headers=headers)
    assert register.status_code == 405
    assert httpx.delete(f"{url}/toy", headers=headers).status_code == 405


def test_it_listens_on_the_loopback_interface_only(running: ServerStatus) -> None:
    pids = [running.pids.frontend, running.pids.gateway, running.pids.supervisor]
    pids += running.pids.workers
    listening = [
        connection.laddr
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 5 + 3
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_keys_and_sockets_are_for_this_user_alone(home: Home) -> None:
    run = RunFolder(home.run)
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert run.scratch.stat().st_mode & 0o777 == 0o700
    assert run.keys.stat().st_mode & 0o777 == 0o600
    assert run.state.stat().st_mode & 0o777 == 0o600
    assert run.upstream.stat().st_mode & 0o777 == 0o600
    assert read_key(envelope_key_file(home))


def test_metrics_are_there_for_prometheus(home: Home, running: ServerStatus) -> None:
    predict(running, current_token(home))
    assert "ts_inference_requests_total" in httpx.get(running.metrics).text


def test_requests_write_no_log_lines(home: Home, running: ServerStatus) -> None:
    log, token = RunFolder(home.run).log, current_token(home)
    before = log.read_bytes()
    for _ in range(20):
        assert predict(running, token).status_code == 200
    assert log.read_bytes() == before


def test_the_same_archive_and_settings_are_not_started_twice(
    shared: tuple[Home, Path, ServerStatus],
) -> None:
    home, archive, running = shared
    said: list[str] = []
    began = time.monotonic()
    again = start(home, archive, settings=settings(), progress=said.append)
    assert time.monotonic() - began < 5
    assert again.pids == running.pids
    assert said == ["toy 1.0 is being served already"]


def test_a_port_in_use_is_named_before_anything_is_started(
    shared: tuple[Home, Path, ServerStatus], tmp_path: Path
) -> None:
    _, archive, running = shared
    other, port = Home(tmp_path / "other"), port_of(running.torchserve_rest)
    with pytest.raises(ServerError, match=rf"port {port} is in use.*rest_port in \[server\]"):
        start(other, archive, settings=settings(rest_port=port))
    for name, address in (("http_port", running.rest), ("observe_port", running.observe)):
        port = port_of(address)
        with pytest.raises(ServerError, match=rf"port {port} is in use.*{name} in \[gateway\]"):
            start(other, archive, settings=settings({name: port}))
    assert_nothing_left(other)
    assert status(other).phase is None


def test_an_archive_that_may_not_be_served_leaves_the_server_alone(
    shared: tuple[Home, Path, ServerStatus], tmp_path: Path
) -> None:
    home, _, running = shared
    (tmp_path / "bad.mar").write_bytes(b"PK")
    with pytest.raises(ArtifactError, match=r"bad\.mar may not be served"):
        start(home, tmp_path / "bad.mar", settings=settings())
    assert status(home).pids == running.pids


def test_two_commands_do_not_start_it_at_once(shared: tuple[Home, Path, ServerStatus]) -> None:
    home, archive, _ = shared
    with RunFolder(home.run).locked(), pytest.raises(ServerError, match="another command"):
        start(home, archive, settings=settings())


def test_the_verbs_tell_what_runs(
    home: Home, running: ServerStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHKEEP_HOME", str(home.root))
    told = CliRunner().invoke(command(), ["status", "--json"])
    assert told.exit_code == 0
    said = json.loads(told.stdout)
    assert {"rest", "grpc", "model", "version", "request_log", "pids"} <= said.keys()
    assert {"observe", "torchserve_rest", "torchserve_grpc", "restarts"} <= said.keys()
    assert said["rest"] == running.rest
    assert said["pids"]["gateway"] == running.pids.gateway
    assert said["pids"]["frontend"] == running.pids.frontend

    text = CliRunner().invoke(command(), ["status"]).stdout
    assert running.rest in text
    assert running.torchserve_rest in text
    assert f"pid {running.pids.supervisor}" in text
    assert f"pid {running.pids.gateway}" in text

    assert CliRunner().invoke(command(), ["token"]).stdout == f"{local_key(home)}\n"


def test_the_gateway_is_told_what_stands_behind_it(
    home: Home, running: ServerStatus, toy_artifact: ModelArtifact
) -> None:
    told = Upstream.read(RunFolder(home.run).upstream)
    assert f"http://{told.http_address}" == running.torchserve_rest
    assert Path(told.envelope_key) == envelope_key_file(home)
    assert Path(told.token_file) == RunFolder(home.run).keys
    (served,) = told.models
    assert (served.name, served.version, served.digest) == ("toy", "1.0", toy_artifact.digest)
    assert served.input == (1, 8, 8)
    assert served.classes == ("no", "yes")
    assert (served.workers, served.screened) == (1, False)
    assert served.max_items == LimitsConfig().max_items


def test_the_gateway_is_ready_and_answers_the_local_key_only(
    home: Home, running: ServerStatus
) -> None:
    assert httpx.get(f"{running.observe}/readyz").status_code == 200
    assert infer(running, "").status_code == 401
    answer = infer(running, local_key(home))
    assert answer.status_code == 200
    assert [output["data"] for output in answer.json()["outputs"] if output["name"] == "label"] == [
        ["yes"]
    ]


def test_the_ways_in_of_this_machine(home: Home, running: ServerStatus) -> None:
    front, back = front_door(home, running), back_door(home, running)
    assert local_door(home, running).rest == front.rest == running.rest
    assert front.token() == local_key(home)
    assert back.token() == current_token(home)
    for url in (running.torchserve_rest, f"{running.torchserve_grpc}/"):
        found = door_at(home, running, url)
        assert found is not None
        assert found.rest == back.rest
    assert door_at(home, running, "http://127.0.0.1:1") is None
    behind_tls = replace(running, rest="https://127.0.0.1:1", grpc="grpcs://127.0.0.1:2")
    assert local_door(home, behind_tls).rest == running.torchserve_rest
