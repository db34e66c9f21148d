"""A reference comes out of its file as it went in, or not at all."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from monitoring.reference import MAX_SAMPLE, QUANTILES, Reference
from monitoring.reference_file import (
    NoReferenceError,
    load_reference,
    parse_reference,
    reference_file,
)
from release.package import package, vet
from tests.monitoring.reference.references import a_reference, an_artifact
from torchkeep.artifact import MANIFEST, MODEL, REFERENCE, ModelArtifact
from torchkeep.errors import ArtifactError, UserError

Edit = Callable[[dict[str, NDArray[Any]]], object]


def written(path: Path, reference: Reference) -> ModelArtifact:
    artifact = an_artifact(path, len(reference.classes))
    return artifact.with_reference(*reference_file(reference, split="calibration_b"))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> ModelArtifact:
    return written(tmp_path_factory.mktemp("artifacts") / "tiny", a_reference())


@pytest.fixture(scope="module")
def packed(artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(artifact, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for one archive after the other."""
    return tmp_path_factory.mktemp("scratch") / "tiny.mar"


@pytest.mark.parametrize(("images", "classes"), [(60, 3), (1, 2), (5000, 2), (30, 120)])
def test_what_is_written_is_what_is_read(images: int, classes: int, tmp_path: Path) -> None:
    made = a_reference(images, classes)
    if images > MAX_SAMPLE:
        made = _sampled(made)
    written_to = written(tmp_path / "tiny", made)
    again = load_reference(tmp_path / "tiny")
    assert again.artifact_digest == written_to.digest
    assert again.quantiles.shape == (24, min(images, QUANTILES))
    for field in fields(Reference):
        if field.name != "artifact_digest":
            np.testing.assert_array_equal(getattr(again, field.name), getattr(made, field.name))
            if isinstance(getattr(made, field.name), np.ndarray):
                assert getattr(again, field.name).dtype == getattr(made, field.name).dtype


def _sampled(made: Reference) -> Reference:
    kept = ("features", "embedding", "probabilities", "labels", "score")
    return replace(made, **{name: getattr(made, name)[:MAX_SAMPLE] for name in kept})


def test_the_archive_carries_it(artifact: ModelArtifact, tmp_path: Path) -> None:
    of_archive, of_folder = (
        load_reference(package(artifact, tmp_path)),
        load_reference(artifact.path),
    )
    assert of_archive.artifact_digest == of_folder.artifact_digest == artifact.digest
    np.testing.assert_array_equal(of_archive.quantiles, of_folder.quantiles)


def test_it_is_vouched_for_by_the_digest(artifact: ModelArtifact, tmp_path: Path) -> None:
    other = written(tmp_path / "tiny", a_reference(seed=1))
    assert other.digest != artifact.digest
    assert other.hashes[MODEL] == artifact.hashes[MODEL]


def test_new_detectors_make_an_old_reference_go(tmp_path: Path) -> None:
    screened = written(tmp_path / "tiny", a_reference()).with_screening({"heads": []}, {})
    assert REFERENCE not in screened.hashes
    with pytest.raises(NoReferenceError, match="fit-detectors"):
        load_reference(screened.path)


def test_no_reference_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    bare = an_artifact(tmp_path / "tiny")
    for place in (bare.path, package(bare, tmp_path / "store")):
        with pytest.raises(NoReferenceError, match=r"has no reference .* fit-detectors") as caught:
            load_reference(place)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tiny.mar"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"tiny\.mar"):
        load_reference(path)
    with pytest.raises(ArtifactError, match=r"nothing\.mar"):
        load_reference(tmp_path / "nothing.mar")


@given(data=st.data())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_any_bytes_are_an_archive_or_refused(
    packed: Path, scratch: Path, data: st.DataObject
) -> None:
    content = bytearray(packed.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(directory, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    scratch.write_bytes(content)
    try:
        assert load_reference(scratch).images == 60
    except ArtifactError as error:
        assert str(scratch) in str(error)  # noqa: PT017


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\u00e9", b"")
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xff"))
    for read in (load_reference, vet):
        with pytest.raises(ArtifactError, match=r"tiny\.mar"):
            read(path)


def test_a_changed_member_of_an_archive_is_found(artifact: ModelArtifact, tmp_path: Path) -> None:
    contents = {name: (artifact.path / name).read_bytes() for name in (MANIFEST, REFERENCE)}
    other = contents | {REFERENCE: save({"quantiles": np.zeros(3)})}
    for name, members, kind, fault in (
        ("a", other, zipfile.ZIP_STORED, "was changed"),
        ("b", contents, zipfile.ZIP_DEFLATED, "compressed"),
        ("c", {MANIFEST: contents[MANIFEST]}, zipfile.ZIP_STORED, "has no reference"),
    ):
        path = tmp_path / f"{name}.mar"
        with zipfile.ZipFile(path, "w", kind) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        with pytest.raises(ArtifactError, match=fault):
            load_reference(path)


def test_a_reference_without_its_entry_is_refused(artifact: ModelArtifact, tmp_path: Path) -> None:
    manifest = replace(artifact.manifest, reference=None)
    files = {name: artifact.read_file(name) for name in artifact.hashes}
    with pytest.raises(ArtifactError, match="or neither"):
        ModelArtifact.write(tmp_path / "tiny", manifest, files)


EDITS: dict[str, tuple[Edit, str]] = {
    "missing": (lambda a: a.pop("score"), "it holds"),
    "more": (lambda a: a.update(other=np.zeros(1)), "it holds"),
    "type": (lambda a: a.update(score=a["score"].astype(np.float32)), "score is"),
    "shape": (lambda a: a.update(features=a["features"][1:]), "features is"),
    "width": (lambda a: a.update(embedding=a["embedding"][:, 1:]), "embedding is"),
    "nan": (lambda a: a["features"].__setitem__((0, 0), np.nan), "not finite"),
    "infinity": (lambda a: a["embedding"].__setitem__((0, 0), np.inf), "not finite"),
    "order": (lambda a: a["quantiles"].__setitem__((2, 0), 9.0), "not sorted"),
    "counts": (lambda a: a["class_counts"].__setitem__(0, -1), "no counts"),
    "sum": (lambda a: a["class_counts"].__setitem__(0, 0), "add up to the images"),
    "cells": (lambda a: a["confusion"].__setitem__((0, 0), 7), "cells outside"),
    "cell counts": (lambda a: a["confusion"].__setitem__((0, 2), 0), "no counts"),
    "twice": (lambda a: a["confusion"].__setitem__(0, a["confusion"][1]), "cell twice"),
    "too few": (lambda a: a["confusion"].__isub__([0, 0, 1]), "counts"),
    "labels": (lambda a: a["labels"].__setitem__(0, 3), "no classes"),
    "classes": (lambda a: a["ranked_classes"].__setitem__((0, 0), -1), "no classes"),
    "same class": (lambda a: a["ranked_classes"].__setitem__((0, slice(None)), 1), "class twice"),
    "negative": (lambda a: a["ranked_probabilities"].__setitem__((0, 0), -0.1), "that are none"),
    "sum of 2": (lambda a: a["ranked_probabilities"].__setitem__((0, 0), 2.0), "that are none"),
}


@pytest.mark.parametrize("name", EDITS)
def test_arrays_that_are_no_reference_are_refused(
    name: str, artifact: ModelArtifact, tmp_path: Path
) -> None:
    edit, fault = EDITS[name]
    arrays = {key: value.copy() for key, value in load(artifact.read_file(REFERENCE)).items()}
    edit(arrays)
    with pytest.raises(ArtifactError, match=fault) as caught:
        parse_reference(save(arrays), artifact.manifest, artifact.digest, artifact.path)
    assert "fit-detectors" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"schema": 2}, "has schema 2"),
        ({"images": 0}, "images are 0"),
        ({"images": True}, "images are True"),
        ({"images": 61}, "for 61 images"),
        ({"feature_names": None}, "feature names are"),
        ({"feature_names": []}, "feature names are"),
        ({"feature_names": ["a", 3]}, "feature names are"),
        ({"feature_names": ["a", "a"]}, "one name"),
        ({"feature_names": ["a"]}, "quantiles is"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(
    changes: dict[str, object], fault: str, artifact: ModelArtifact
) -> None:
    entry = dict(artifact.manifest.reference or {}) | changes
    manifest = replace(artifact.manifest, reference=entry)
    with pytest.raises(ArtifactError, match=fault):
        parse_reference(artifact.read_file(REFERENCE), manifest, "", artifact.path)


@given(data=st.data())
@settings(deadline=None, max_examples=250, derandomize=True)
def test_any_bytes_are_a_reference_or_refused(artifact: ModelArtifact, data: st.DataObject) -> None:
    content = bytearray(artifact.read_file(REFERENCE))
    header = int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, header + 8), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    try:
        found = parse_reference(bytes(content[:cut]), artifact.manifest, "", artifact.path)
    except ArtifactError:
        return
    assert found.confusion.sum() == found.images == 60
    assert np.isfinite(found.features).all()
    assert found.probabilities.shape == (60, 3)


def test_it_is_read_without_torch(artifact: ModelArtifact) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from monitoring.reference_file import load_reference\n"
        "import monitoring.windows, monitoring.window_columns, monitoring.features\n"
        "assert load_reference(Path(sys.argv[1])).images == 60\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(artifact.path)], check=True, timeout=120)
