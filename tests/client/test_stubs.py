"""The stubs are those of our protos, and our protos are TorchServe's on the wire."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from torchkeep.client.stubs import inference_pb2

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "torchkeep" / "client" / "stubs"

LEFT_OUT = {
    "PredictionsRequest.sequence_id",
    "PredictionResponse.sequence_id",
    "PredictionResponse.status",
    "InferenceAPIsService.StreamPredictions2",
}


@pytest.fixture(scope="module")
def generate_stubs() -> ModuleType:
    """The script, as a module."""
    path = ROOT / "scripts" / "generate_stubs.py"
    spec = spec_from_file_location("generate_stubs", path)
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture(scope="module")
def fresh(generate_stubs: ModuleType) -> dict[str, bytes]:
    made: dict[str, bytes] = generate_stubs.generate()
    return made


def test_the_stubs_are_not_stale(generate_stubs: ModuleType, fresh: dict[str, bytes]) -> None:
    assert len(fresh) == 8
    assert generate_stubs.stale(fresh, STUBS) == []


def test_a_stale_stub_is_found_and_mended(
    generate_stubs: ModuleType, fresh: dict[str, bytes], tmp_path: Path
) -> None:
    generate_stubs.write(fresh, tmp_path)
    assert generate_stubs.stale(fresh, tmp_path) == []
    (tmp_path / "inference_pb2.py").write_bytes(b"# edited\n")
    (tmp_path / "inference_pb2.pyi").unlink()
    (tmp_path / "gone_pb2.py").write_bytes(b"")
    stale = ["gone_pb2.py", "inference_pb2.py", "inference_pb2.pyi"]
    assert generate_stubs.stale(fresh, tmp_path) == stale
    generate_stubs.write(fresh, tmp_path)
    assert generate_stubs.stale(fresh, tmp_path) == []


def test_check_tells_by_its_exit_code(
    generate_stubs: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert generate_stubs.main(["--check"]) == 0
    protos = tmp_path / "protos"
    protos.mkdir()
    (protos / "other.proto").write_text('syntax = "proto3";\nmessage Other { string name = 1; }\n')
    monkeypatch.setattr(generate_stubs, "PROTOS", protos)
    assert generate_stubs.main(["--check"]) == 1
    assert "stale: torchkeep/client/stubs/other_pb2.py" in capsys.readouterr().err
    (protos / "other.proto").write_text("message {")
    assert generate_stubs.main(["--check"]) == 1
    assert "protoc failed" in capsys.readouterr().err


def folder_of(package: str) -> Path:
    """Return where an installed package lies, without importing it."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="module")
def torchserve(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptor:
    """TorchServe's own inference.proto, out of its jar, compiled into a pool of its own."""
    folder = tmp_path_factory.mktemp("torchserve")
    jar = folder_of("ts") / "frontend" / "model-server.jar"
    with zipfile.ZipFile(jar) as archive:
        (folder / "inference.proto").write_bytes(archive.read("proto/inference.proto"))
    compiled = folder / "descriptors.bin"
    includes = [folder, folder_of("google.rpc").parents[1], folder_of("grpc_tools") / "_proto"]
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"--proto_path={include}" for include in includes),
        *(f"--descriptor_set_out={compiled}", "--include_imports", "inference.proto"),
    ]
    subprocess.run(command, check=True)
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(compiled.read_bytes()).file:
        pool.Add(file)
    return pool.FindFileByName("inference.proto")


def test_our_protos_are_those_of_torchserve_on_the_wire(torchserve: FileDescriptor) -> None:
    ours, theirs = wire(inference_pb2.DESCRIPTOR), wire(torchserve)
    assert set(theirs) - set(ours) == LEFT_OUT
    assert ours == {name: shape for name, shape in theirs.items() if name not in LEFT_OUT}


def wire(file: FileDescriptor) -> dict[str, tuple[object, ...]]:
    """Return what decides the bytes of each field and the path of each method, by its name."""
    shapes: dict[str, tuple[object, ...]] = {"package": (file.package,)}
    for message in file.message_types_by_name.values():
        for field in message.fields:
            shapes[f"{message.name}.{field.name}"] = wire_of_field(field)
    for service in file.services_by_name.values():
        for method in service.methods:
            ends = (method.input_type.full_name, method.output_type.full_name)
            streams = (method.client_streaming, method.server_streaming)
            shapes[f"{service.name}.{method.name}"] = (service.full_name, *ends, *streams)
    return shapes


def wire_of_field(field: FieldDescriptor) -> tuple[object, ...]:
    inner = field.message_type
    entries = tuple(wire_of_field(each) for each in inner.fields) if inner else ()
    name = inner.full_name if inner else None
    return field.number, field.type, field.is_repeated, name, entries
