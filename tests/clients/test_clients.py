"""Unmodified clients of the Open Inference Protocol against a real server.

`peer.py` makes the libraries' own calls in an environment of their own; here it is judged what they
saw. `make test-clients` runs this; `make test` does not, because it installs half a gigabyte.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monitoring.log_reader import Kind, read_records
from tests.clients.environment import peer_python
from tests.gateway.served import Served, forward
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits

pytestmark = [pytest.mark.clients, pytest.mark.torchserve, pytest.mark.timeout(1500)]

PEER = Path(__file__).with_name("peer.py")
IMAGES = 4
EXACT = 1e-6
HALF = {"infer FP16": 1e-3, "infer BF16": 0.02}
"""How far an answer may be off where the images lose bits on the way."""
OUTPUTS = {
    "item_status": "BYTES",
    "label": "BYTES",
    "class_index": "INT32",
    "probability": "FP32",
    "probabilities": "FP32",
    "verdict": "BYTES",
    "score": "FP32",
    "p_value": "FP32",
    "message": "BYTES",
    "attribution": "FP32",
}
REFUSALS = {
    "no key": ("401", "UNAUTHENTICATED", "no API key was sent"),
    "no model": ("404", "NOT_FOUND", "no model 'nothing' is served here"),
    "no version": ("404", "NOT_FOUND", "has no version '9'; served: 1.0"),
    "no shape": ("400", "INVALID_ARGUMENT", "shape [4, 4]; expected [N, 1, 8, 8]"),
    "no output": ("400", "INVALID_ARGUMENT", "there is no output 'nothing'; there are"),
    "classes": ("501", "UNIMPLEMENTED", "label"),
    "no time": ("504", "DEADLINE_EXCEEDED", "the deadline had passed"),
    "load": ("501", "UNIMPLEMENTED", "`torchkeep up`"),
    "unload": ("501", "UNIMPLEMENTED", "`torchkeep up`"),
    "memory": ("501", "UNIMPLEMENTED", "shared memory is not offered"),
    "traces": ("501", "UNIMPLEMENTED", "[gateway]"),
    "logs": ("501", "UNIMPLEMENTED", "torchkeep"),
}


@pytest.fixture(scope="module", autouse=True)
def recorded_before(served: Served) -> int:
    """How many access records there were before these tests."""
    return len(list(read_records(served.log, kind=Kind.ACCESS)))


@pytest.fixture(scope="module")
def images(digits: Splits) -> Any:
    return digits.test.images[:IMAGES]


@pytest.fixture(scope="module")
def material(images: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    np.save(folder / "images.npy", images)
    for place, image in enumerate(images):
        Image.fromarray(image[0]).save(folder / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def expected(digits_artifact: ModelArtifact, images: Any) -> Any:
    return forward(digits_artifact, images)


def ask(served: Served, way: str, material: Path) -> dict[str, Any]:
    """Have a peer ask everything; return what it saw."""
    addresses = (served.running.rest, served.running.grpc)
    done = subprocess.run(
        [peer_python(), PEER, way, *addresses, served.running.model, material],
        env={"PATH": os.environ["PATH"], "KEY": served.key},
        cwd=material,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.fixture(scope="module", params=["http", "grpc"])
def triton(
    request: pytest.FixtureRequest, served: Served, material: Path
) -> tuple[str, dict[str, Any]]:
    return request.param, ask(served, f"triton-{request.param}", material)


@pytest.fixture(scope="module")
def kserve(served: Served, material: Path) -> dict[str, Any]:
    return ask(served, "kserve", material)


def assert_same(answer: Any, expected: Any, artifact: ModelArtifact, within: float = EXACT) -> None:
    """Hold an answer against the forward pass of the model itself."""
    assert "error" not in answer, answer
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=0, atol=within)
    classes = artifact.manifest.classes
    assert answer["label"] == [classes[index] for index in expected.argmax(1)]


Triton = tuple[str, dict[str, Any]]


def test_triton_is_told_what_is_served(triton: Triton, served: Served) -> None:
    protocol, seen = triton
    assert [seen[name] for name in ("live", "ready", "model ready", "version ready")] == [True] * 4
    assert seen["server"]["name"] == "torchkeep"
    assert "binary_tensor_data" in seen["server"]["extensions"]
    model = seen["model"]
    assert (model["name"], model["versions"]) == ("digits", ["1.0"])
    assert [tensor["name"] for tensor in model["inputs"]] == ["image"]
    assert [int(side) for side in model["inputs"][0]["shape"]] == [-1, 1, 8, 8]
    assert {tensor["name"]: tensor["datatype"] for tensor in model["outputs"]} == OUTPUTS
    config = seen["config"] if protocol == "http" else seen["config"]["config"]
    assert config["max_batch_size"] == 10_000
    assert config["input"][0]["data_type"] == "TYPE_UINT8"
    index = seen["index"] if protocol == "http" else seen["index"]["models"]
    assert [(one["name"], one["version"], one["state"]) for one in index] == [
        ("digits", "1.0", "READY")
    ]
    for statistics in (seen["statistics"], seen["all statistics"]):
        assert statistics["model_stats"][0]["name"] == served.running.model


def test_triton_gets_what_the_model_says(
    triton: Triton, expected: Any, digits_artifact: ModelArtifact
) -> None:
    protocol, seen = triton
    asked = [name for name in seen if name.startswith("infer ") and name != "infer two outputs"]
    assert len(asked) == (10 if protocol == "http" else 8)
    for name in asked:
        assert_same(seen[name], expected, digits_artifact, HALF.get(name, EXACT))
    if protocol == "http":
        assert_same(seen["answer gzip"], expected, digits_artifact)
    assert seen["infer UINT8"]["item_status"] == ["ok"] * IMAGES
    assert seen["answer's id"] == "theirs"


def test_triton_gets_the_outputs_it_asks_for_and_no_others(
    triton: Triton, expected: Any, digits_artifact: ModelArtifact
) -> None:
    answer = triton[1]["infer two outputs"]
    assert_same(answer, expected, digits_artifact)
    assert answer["another"] is None


def test_triton_is_told_why_not(triton: Triton) -> None:
    protocol, seen = triton
    for name, (http, grpc, message) in REFUSALS.items():
        error = seen[name]
        assert error["type"] == "InferenceServerException", name
        assert error["error"].startswith(
            f"[{http}]" if protocol == "http" else f"[StatusCode.{grpc}]"
        )
        assert message in error["error"]
    if protocol == "grpc":
        assert "UNIMPLEMENTED] streams are not offered" in seen["a stream"]["error"]


def test_triton_asks_many_things_at_once(
    served: Served, material: Path, expected: Any, digits_artifact: ModelArtifact
) -> None:
    seen = ask(served, "triton-aio", material)
    for protocol in ("http", "grpc"):
        assert seen[f"ready {protocol}"] is True
        assert len(seen[f"infer {protocol}"]) == 8
        for answer in seen[f"infer {protocol}"]:
            assert_same(answer, expected, digits_artifact)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_kserve_sees_a_server_that_is_ready(kserve: dict[str, Any], protocol: str) -> None:
    for name in ("live", "ready", "model ready"):
        assert kserve[f"{protocol} {name}"] is True


@pytest.mark.parametrize(
    "way",
    [
        *(f"rest {name}" for name in ("JSON", "JSON floats", "binary", "two outputs", "files")),
        *(f"grpc {name}" for name in ("typed", "typed floats", "raw", "two outputs", "files")),
    ],
)
def test_kserve_gets_what_the_model_says(
    kserve: dict[str, Any], way: str, expected: Any, digits_artifact: ModelArtifact
) -> None:
    assert_same(kserve[way], expected, digits_artifact)
    if way.endswith("two outputs"):
        assert set(kserve[way]) == {"label", "probabilities"}


def test_kserve_is_told_why_not(kserve: dict[str, Any]) -> None:
    assert kserve["rest no key"]["type"] == kserve["rest no model"]["type"] == "HTTPStatusError"
    assert "no API key was sent" in kserve["rest no key"]["error"]
    assert "no model 'nothing' is served here" in kserve["rest no model"]["error"]
    assert "UNAUTHENTICATED" in kserve["grpc no key"]["error"]
    assert "NOT_FOUND" in kserve["grpc no model"]["error"]


def test_every_request_of_theirs_has_one_record(
    triton: Triton, kserve: dict[str, Any], served: Served, recorded_before: int
) -> None:
    records = list(read_records(served.log, kind=Kind.ACCESS))[recorded_before:]
    theirs = Counter(record["request_id"] for record in records)
    del theirs["theirs"]  # each library was told to use this one
    assert set(theirs.values()) == {1}
    codes = {record["code"] for record in records}
    assert codes == {"OK"} | {grpc for _, grpc, _ in REFUSALS.values()}
