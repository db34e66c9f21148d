"""An artifact is written where nothing is lost by it, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_artifact import write
from torchkeep.artifact import MANIFEST, MODEL, SCREENING, ModelArtifact
from torchkeep.atomic_file import set_aside
from torchkeep.errors import ArtifactError


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def with_file(name: str) -> Callable[[Path], object]:
    return lambda target: (target.mkdir(), (target / name).write_text("mine"))


@pytest.mark.parametrize(
    ("prepare", "fault"),
    [
        (with_file("thesis.tex"), "holds other things than an artifact, such as thesis.tex"),
        (with_file(MODEL), f"holds files, but no {MANIFEST}"),
        (
            lambda target: (write(target), (target / "notes").write_text("mine")),
            "holds other things than an artifact, such as notes",
        ),
        (
            lambda target: (write(target), (target / SCREENING / "mine").mkdir(parents=True)),
            f"holds other things than an artifact, such as {SCREENING}",
        ),
        (lambda target: target.write_text("mine"), "is a file"),
        (lambda target: target.symlink_to(target), "cannot be used: Symlink loop"),
    ],
    ids=["others", "no manifest", "besides", "a folder within", "file", "loop"],
)
def test_what_is_no_artifact_is_not_replaced(
    tmp_path: Path, prepare: Callable[[Path], object], fault: str
) -> None:
    target = tmp_path / "target"
    prepare(target)
    before = everything_in(tmp_path)
    for attempt in (ModelArtifact.check_target, write):
        with pytest.raises(ArtifactError, match=fault) as raised:
            attempt(target)
        assert str(raised.value).endswith("Name a folder that is not there yet.")
        assert "\n" not in str(raised.value)
    assert everything_in(tmp_path) == before


def test_a_file_in_place_of_a_parent_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for attempt in (ModelArtifact.check_target, write):
        with pytest.raises(ArtifactError, match=r"cannot be made: .*/file is a file"):
            attempt(tmp_path / "file" / "deep" / "target")


@pytest.mark.parametrize("target", [".", "../here", ""])
def test_the_current_folder_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    write(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ArtifactError, match="the current folder"):
        ModelArtifact.check_target(Path(target))


def test_a_mount_point_is_not_replaced() -> None:
    with pytest.raises(ArtifactError, match="is a mount point"):
        ModelArtifact.check_target(Path("/"))


def test_a_parent_that_cannot_be_written_is_told_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ArtifactError, match=f"{tmp_path} cannot be written"):
        ModelArtifact.check_target(tmp_path / "new" / "target")


def test_a_name_too_long_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="File name too long"):
        ModelArtifact.check_target(tmp_path / ("x" * 300))


@pytest.mark.parametrize("there", ["absent", "empty", "artifact", "screened", "link"])
def test_what_may_be_replaced_is(tmp_path: Path, there: str) -> None:
    target = tmp_path / "target"
    if there == "empty":
        target.mkdir()
    elif there != "absent":
        artifact = write(tmp_path / "real" if there == "link" else target)
        if there == "screened":
            artifact.with_screening({"heads": []}, {})
        elif there == "link":
            target.symlink_to("real")
    before = everything_in(tmp_path)
    ModelArtifact.check_target(target)
    assert everything_in(tmp_path) == before
    assert write(target) == ModelArtifact.load(target)
    assert ModelArtifact.load(target).manifest.screening is None


def test_an_artifact_set_aside_by_a_killed_process_is_pointed_at(tmp_path: Path) -> None:
    before = write(tmp_path / "tiny")
    (tmp_path / "tiny").rename(set_aside(tmp_path / "tiny"))
    with pytest.raises(ArtifactError, match=r"was killed\. Rename .*/\.tiny\.replaced to it"):
        ModelArtifact.load(tmp_path / "tiny")
    set_aside(tmp_path / "tiny").rename(tmp_path / "tiny")
    assert ModelArtifact.load(tmp_path / "tiny") == before


@pytest.mark.parametrize("target", ["x" * 300, "loop"])
def test_what_cannot_be_looked_at_cannot_be_loaded(tmp_path: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArtifactError, match="expected the manifest"):
        ModelArtifact.load(tmp_path / target)
