"""An artifact is whole, unchanged and of a known schema, or it is refused with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.artifact import MANIFEST, MODEL, SCREENING, Manifest, ModelArtifact
from torchkeep.errors import ArtifactError, UserError
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel


def manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "name": "tiny",
        "version": "1.0",
        "architecture": "small_cnn",
        "options": {"width": 2},
        "input": ImageShape(channels=1, height=8, width=8),
        "classes": ("no", "yes"),
        "threat_model": ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1)),
        "train_record": {"rows": 3},
        "metrics": {},
        "screening": None,
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]


def write(path: Path) -> ModelArtifact:
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1)}
    return ModelArtifact.write(path, manifest(), {MODEL: weights})


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    artifact = write(tmp_path / "tiny")
    again = ModelArtifact.load(tmp_path / "tiny")
    assert again == artifact
    assert again.manifest == manifest()
    assert torch.equal(again.tensors(MODEL)["a"], torch.arange(6.0).view(2, 3))


def test_writing_twice_gives_the_same_digest(tmp_path: Path) -> None:
    assert write(tmp_path / "one").digest == write(tmp_path / "two").digest


def test_screening_is_added_in_place(tmp_path: Path) -> None:
    artifact = write(tmp_path / "tiny")
    screened = artifact.with_screening({"heads": []}, {"c": torch.zeros(1)})
    assert screened.digest != artifact.digest
    assert set(screened.hashes) == {MODEL, SCREENING}
    assert torch.equal(screened.tensors(MODEL)["b"], torch.ones(1))
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("position", [0, 5, -1])
def test_one_changed_bit_in_the_weights_is_found(tmp_path: Path, position: int) -> None:
    write(tmp_path / "tiny")
    file = tmp_path / "tiny" / MODEL
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.safetensors was changed: SHA-256"):
        ModelArtifact.load(tmp_path / "tiny")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "tiny")
    (tmp_path / "tiny" / MODEL).unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        ModelArtifact.load(tmp_path / "tiny")
    with pytest.raises(ArtifactError, match="the manifest of an artifact"):
        ModelArtifact.load(tmp_path / "nothing")


def test_tensors_that_were_never_written_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="fit-detectors"):
        write(tmp_path / "tiny").tensors(SCREENING)


def edit(path: Path, **changes: object) -> None:
    file = path / MANIFEST
    raw = json.loads(file.read_text())
    for key, value in changes.items():
        if value is ...:
            del raw[key]
        else:
            raw[key] = value
    file.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": ...},
        {"files": {}},
        {"files": {MODEL: "0", "../../etc/passwd": "0"}},
        {"files": {MODEL: "0", "evil.pkl": "0"}},
        {"name": "../up"},
        {"name": 3},
        {"version": "new"},
        {"classes": ["one"]},
        {"classes": ["same", "same"]},
        {"input": {"channels": 1, "height": 10**9, "width": 10**9}},
        {"input": {"channels": 1}},
        {"input": {"channels": "1", "height": 8, "width": 8}},
        {"threat_model": {"norm": "l7", "eps": 1}},
        {"threat_model": {"norm": "l2", "eps": -1}},
        {"threat_model": "none"},
        {"options": []},
        {"screening": 7},
        {"train_record": ...},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, changes: dict) -> None:
    write(tmp_path / "tiny")
    edit(tmp_path / "tiny", **changes)
    with pytest.raises(ArtifactError):
        ModelArtifact.load(tmp_path / "tiny")


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["schema", "files", "name", "x"]), inner)
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_no_manifest_raises_anything_but_an_artifact_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError):
        ModelArtifact.load(folder)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_artifact import manifest
from torchkeep.artifact import MODEL, ModelArtifact
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    ModelArtifact.write(Path({path!r}), manifest(), {{MODEL: {{"a": torch.zeros(50_000)}}}})
except OSError:
    sys.exit(7)
"""


def test_a_full_disk_leaves_the_old_artifact_and_nothing_else(tmp_path: Path) -> None:
    before = write(tmp_path / "tiny")
    tests = str(Path(__file__).parent)
    script = FULL_DISK.format(tests=tests, path=str(tmp_path / "tiny"))
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
    assert done.returncode == 7
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert ModelArtifact.load(tmp_path / "tiny") == before


def test_errors_are_for_users() -> None:
    assert issubclass(ArtifactError, UserError)
    assert ArtifactError("it broke", remedy="Mend it.").exit_code == 2
    assert str(ArtifactError("it broke", remedy="Mend it.")) == "it broke. Mend it."
