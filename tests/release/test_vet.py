from __future__ import annotations

import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from release.archive import write_archive
from release.vet import vet
from torchkeep.errors import ArtifactError

Change = Callable[[dict[str, bytes]], None]


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def rewrite(archive: Path, contents: dict[str, bytes]) -> Path:
    """Write an archive in the very form of ours, so that only its contents are at fault."""
    folder = archive.with_name("contents")
    folder.mkdir()
    files = {}
    for number, (name, content) in enumerate(contents.items()):
        files[name] = folder / str(number)
        files[name].write_bytes(content)
    changed = archive.with_name("changed.mar")
    write_archive(changed, files)
    return changed


def refusal(archive: Path) -> str:
    """Return the message of the refusal, having checked that nothing else was written."""
    around = sorted(archive.parent.parent.rglob("*"))
    with pytest.raises(ArtifactError) as caught:
        vet(archive)
    assert sorted(archive.parent.parent.rglob("*")) == around
    assert str(archive) in caught.value.message
    assert "\n" not in str(caught.value)
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../../evil.py", "leads out of the archive's folder"),
        ("/etc/cron.d/evil", "leads out of the archive's folder"),
        ("a/../../evil", "leads out of the archive's folder"),
        ("..\\evil.py", "leads out of the archive's folder"),
        ("C:/evil.py", "leads out of the archive's folder"),
        ("model.pt", "could run code"),
        ("weights.PTH", "could run code"),
        ("extra/data.pkl", "could run code"),
        ("pytorch_model.bin", "could run code"),
        ("handlers.py", "does not belong"),
        ("types.py", "does not belong"),
        ("requirements.txt", "does not belong"),
        ("ARTIFACT.JSON", "does not belong"),
        ("folder/", "does not belong"),
        ("", "does not belong"),
        ("entry.py\x00.png", "does not belong"),
        ("e\u0301ntry.py\u202e", "does not belong"),
    ],
)
def test_a_member_too_many_is_refused_by_name(toy_archive: Path, name: str, fault: str) -> None:
    with zipfile.ZipFile(toy_archive, "a") as archive:
        info = zipfile.ZipInfo("placeholder", (1980, 1, 1, 0, 0, 0))
        info.filename = info.orig_filename = name
        archive.writestr(info, b"")
    assert fault in refusal(toy_archive)


@pytest.mark.parametrize("name", ["artifact.json", "entry.py", "MAR-INF/MANIFEST.json"])
def test_a_missing_member_is_named(toy_archive: Path, name: str) -> None:
    contents = members(toy_archive)
    del contents[name]
    assert f"lacks {name}" in refusal(rewrite(toy_archive, contents))


def test_a_symbolic_link_is_refused(toy_archive: Path) -> None:
    contents = members(toy_archive)
    with zipfile.ZipFile(toy_archive, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            if name == "model.safetensors":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                content = b"/etc/passwd"
            archive.writestr(info, content)
    assert "model.safetensors is a symbolic link" in refusal(toy_archive)


def test_an_archive_that_is_a_link_is_refused(toy_archive: Path) -> None:
    link = toy_archive.with_name("link.mar")
    link.symlink_to(toy_archive)
    assert "not a plain file" in refusal(link)


def test_a_bomb_is_refused_before_it_is_unpacked(toy_archive: Path) -> None:
    contents = members(toy_archive) | {"model.safetensors": bytes(50_000_000)}
    with zipfile.ZipFile(toy_archive, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert toy_archive.stat().st_size < 100_000
    assert "is compressed" in refusal(toy_archive)


def test_an_oversized_small_member_is_refused(toy_archive: Path) -> None:
    contents = members(toy_archive) | {"entry.py": bytes(17 * 2**20)}
    assert "entry.py has 17825792 bytes" in refusal(rewrite(toy_archive, contents))


def test_members_that_overlap_are_refused(toy_archive: Path) -> None:
    """The index of a zip may point to the same bytes many times over."""
    with zipfile.ZipFile(toy_archive, "a") as archive:
        weights = archive.getinfo("model.safetensors")
        for info in archive.infolist():
            if info.filename == "artifact.json":
                info.file_size = info.compress_size = weights.file_size
        archive.comment = b"x"  # has the index written anew
    assert "its members claim" in refusal(toy_archive)


def test_two_members_of_one_name_are_refused(toy_archive: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(toy_archive, "a") as archive:
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("artifact.json", b"{}")
    assert "two members of one name" in refusal(toy_archive)


def test_a_member_that_only_a_streaming_reader_sees_is_refused(toy_archive: Path) -> None:
    """TorchServe reads members one after the other; the index at the end may conceal one."""
    contents = members(toy_archive)
    hidden = toy_archive.with_name("hidden.zip")
    with zipfile.ZipFile(hidden, "w") as archive:
        archive.writestr("handlers.py", b"evil")
    stream = hidden.read_bytes()
    local_part = stream[: stream.index(b"PK\x01\x02")]
    with toy_archive.open("wb") as file:
        file.write(local_part)
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    with zipfile.ZipFile(toy_archive) as archive:
        assert "handlers.py" not in archive.namelist()
    assert "belong to none of its members" in refusal(toy_archive)


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("entry.py", b"handlers.torchserve", b"os", "not the one of this version"),
        ("model.safetensors", b"weight", b"weighs", "model.safetensors was changed"),
        ("artifact.json", b'"toy"', b'"top"', "does not fit its artifact"),
        ("artifact.json", b"{", b"(", "artifact.json is not JSON"),
        ("model-config.yaml", b"minWorkers: 1", b"minWorkers: !!x 1", "more, or less, than"),
        ("model-config.yaml", b"batchSize: 1", b"batchSize: 9", "more, or less, than"),
        ("model-config.yaml", b"Workers: 1", b"Workers: 999999999", "it must be 1 to"),
        ("model-config.yaml", b"deviceType: gpu", b"deviceType: tpu", "more, or less, than"),
        ("model-config.yaml", b"maxWorkers: 1", b"maxWorkers: 2", "more, or less, than"),
        ("MAR-INF/MANIFEST.json", b"entry:handle", b"os:system", "does not fit its artifact"),
        ("MAR-INF/MANIFEST.json", b'"python"', b'"LSP"', "does not fit its artifact"),
        ("MAR-INF/MANIFEST.json", b"{", b"[", "is not JSON"),
    ],
)
def test_changed_content_is_refused(
    toy_archive: Path, name: str, old: bytes, new: bytes, fault: str
) -> None:
    contents = members(toy_archive)
    assert old in contents[name]
    contents[name] = contents[name].replace(old, new)
    assert fault in refusal(rewrite(toy_archive, contents))


def test_requirements_named_in_the_manifest_are_refused(toy_archive: Path) -> None:
    contents = members(toy_archive)
    said = orjson.loads(contents["MAR-INF/MANIFEST.json"])
    said["model"]["requirementsFile"] = "artifact.json"
    contents["MAR-INF/MANIFEST.json"] = orjson.dumps(said)
    assert "does not fit its artifact" in refusal(rewrite(toy_archive, contents))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "store" / "x.mar"
    archive.parent.mkdir()
    archive.write_bytes(content)
    refusal(archive)


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "store" / "none.mar")


@settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_an_archive_changed_in_any_byte_is_refused(toy_archive: Path, data: st.DataObject) -> None:
    content = bytearray(toy_archive.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1), label="position")
    content[position] ^= data.draw(st.integers(1, 255), label="flipped bits")
    changed = toy_archive.with_name("flipped.mar")
    changed.write_bytes(content)
    with pytest.raises(ArtifactError):
        vet(changed)


@settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_truncated_archive_is_refused(toy_archive: Path, data: st.DataObject) -> None:
    content = toy_archive.read_bytes()
    cut = toy_archive.with_name("cut.mar")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ArtifactError):
        vet(cut)
