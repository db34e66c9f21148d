from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release.model_config import Device, ModelConfig
from release.ports import GatewayPorts, Ports
from release.server_config import PORTS, ServerConfig
from release.ts_config import LOG4J2, render_properties
from torchkeep.errors import ArtifactError, ServerError, SettingsError
from torchkeep.settings import Settings

ports_strategy = st.lists(
    st.integers(1, 65_534), min_size=len(PORTS), max_size=len(PORTS), unique=True
).map(lambda numbers: dict(zip(PORTS, numbers, strict=True)))

GATEWAY = GatewayPorts(http_port=6, grpc_port=7, observe_port=8)


def read_properties(text: str) -> dict[str, str]:
    """Read a file as java.util.Properties does: `key=value`, backslash escapes, Latin-1."""
    values = {}
    for line in text.encode("latin-1").decode("latin-1").splitlines():
        key, _, raw = line.partition("=")
        value = re.sub(
            r"\\(?:u([0-9a-f]{4})|(.))",
            lambda match: chr(int(match[1], 16)) if match[1] else _unescaped(match[2]),
            raw.lstrip(" \t\f"),
        )
        values[key] = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return values


def _unescaped(char: str) -> str:
    return {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}.get(char, char)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    numbers=ports_strategy,
    workers=st.integers(1, 64),
    queue=st.integers(1, 10_000),
    request_bytes=st.integers(64 * 1024, 2**30),
    minutes=st.floats(0.1, 500_000),
)
def test_what_is_configured_is_what_torchserve_reads(
    numbers: dict[str, int], workers: int, queue: int, request_bytes: int, minutes: float
) -> None:
    config = ServerConfig(
        **numbers,
        workers=workers,
        job_queue_size=queue,
        max_request_bytes=request_bytes,
        token_minutes=minutes,
    )
    said = read_properties(
        render_properties(config, Ports(**numbers, gateway=GATEWAY), Path("/run/store"), "toy.mar")
    )
    assert said["inference_address"] == f"http://127.0.0.1:{numbers['rest_port']}"
    assert said["grpc_inference_port"] == str(numbers["grpc_port"])
    assert int(said["default_workers_per_model"]) == workers
    assert int(said["job_queue_size"]) == queue
    assert int(said["max_request_size"]) == request_bytes
    assert float(said["token_expiration_min"]) == minutes
    assert said["load_models"] == "toy.mar"


def test_it_listens_on_the_loopback_interface_only_and_lets_nobody_register_models() -> None:
    ports = Ports(**dict(zip(PORTS, range(1, 6), strict=True)), gateway=GATEWAY)
    said = read_properties(render_properties(ServerConfig(), ports, Path("/run"), "toy.mar"))
    addresses = {key: value for key, value in said.items() if key.endswith("_address")}
    assert len(addresses) == 5
    assert all(re.sub(r"http://|:\d+$", "", text) == "127.0.0.1" for text in addresses.values())
    assert said["enable_model_api"] == "false"
    assert said["disable_token_authorization"] == "false"  # noqa: S105
    assert said["install_py_dep_per_model"] == "false"
    assert said["decode_input_request"] == "false"
    assert said["metrics_mode"] == "prometheus"


folders = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=30
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(name=folders)
def test_any_folder_name_reaches_torchserve_whole(name: str) -> None:
    store = Path("/") / name.replace("/", "_") / "store"
    ports = Ports(**dict(zip(PORTS, range(1, 6), strict=True)), gateway=GATEWAY)
    if "$$" in str(store):
        with pytest.raises(ServerError, match="environment variable"):
            render_properties(ServerConfig(), ports, store, "toy.mar")
        return
    said = read_properties(render_properties(ServerConfig(), ports, store, "toy.mar"))
    assert said["model_store"] == str(store)
    pattern = re.sub(
        r"\\x\{([0-9a-f]+)\}", lambda hex_: re.escape(chr(int(hex_[1], 16))), said["allowed_urls"]
    )
    assert "," not in said["allowed_urls"], "TorchServe splits its patterns at commas"
    assert re.fullmatch(pattern, f"file://{store}/toy.mar")
    assert not re.fullmatch(pattern, "file:///etc/passwd")
    assert not re.fullmatch(pattern, f"http://{store}/toy.mar")


def test_the_log_configuration_is_quiet_and_bounded() -> None:
    root = ElementTree.fromstring(LOG4J2)  # noqa: S314
    levels = {logger.get("name"): logger.get("level") for logger in root.iter("Logger")}
    assert levels["ACCESS_LOG"] == levels["TS_METRICS"] == levels["MODEL_METRICS"] == "off"
    assert root.find("./Loggers/Root").get("level") == "warn"
    assert root.find(".//SizeBasedTriggeringPolicy").get("size") == "10 MB"
    assert root.find(".//DefaultRolloverStrategy").get("max") == "3"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rest_port", -1),
        ("grpc_port", 65_535),
        ("workers", 0),
        ("job_queue_size", 0),
        ("max_request_bytes", 2**31),
        ("response_timeout_s", 0),
        ("token_minutes", 0.0),
        ("token_minutes", float("nan")),
        ("java_heap_mib", 1),
    ],
)
def test_a_setting_out_of_bounds_is_named(field: str, value: float) -> None:
    with pytest.raises(SettingsError, match=rf"\[server\] {field} is .*Give"):
        replace(ServerConfig(), **{field: value})


def test_two_services_on_one_port_are_refused_and_two_free_ports_are_not() -> None:
    with pytest.raises(SettingsError, match="port 8081 twice"):
        ServerConfig(rest_port=8081)
    ServerConfig(rest_port=0, grpc_port=0)


def test_the_section_is_filled_from_file_and_variables() -> None:
    settings = Settings({"server": {"workers": 3}}, {"TORCHKEEP_SERVER_REST_PORT": "0"}, "t.toml")
    config = settings.section("server", ServerConfig)
    assert (config.workers, config.rest_port, config.grpc_port) == (3, 0, 7070)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    device=st.sampled_from(Device),
    workers=st.integers(1, 1024),
    response=st.integers(1, 86_400),
    startup=st.integers(1, 86_400),
    retry=st.integers(1, 1_728_000),
)
def test_a_model_config_reads_back(
    device: Device, workers: int, response: int, startup: int, retry: int
) -> None:
    config = ModelConfig(
        device=device,
        workers=workers,
        response_timeout_s=response,
        startup_timeout_s=startup,
        retry_timeout_s=retry,
    )
    assert ModelConfig.from_yaml(config.to_yaml()) == config


@settings(deadline=None, max_examples=200, derandomize=True)
@given(content=st.binary(max_size=200))
def test_other_yaml_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        ModelConfig.from_yaml(ModelConfig(device=Device.CPU).to_yaml() + b"x" + content)
    if content != ModelConfig(device=Device.CPU).to_yaml():
        with pytest.raises(ArtifactError):
            ModelConfig.from_yaml(content)
