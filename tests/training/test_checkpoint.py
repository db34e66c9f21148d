"""A checkpoint is whole or refused, and the one before outlives a disk that is full."""

from __future__ import annotations

import errno
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.atomic_file import set_aside
from torchkeep.errors import ArtifactError
from training.checkpoint import (
    STATE,
    Checkpoint,
    checkpoint_of,
    pack,
    read_files,
    unpack,
    write_checkpoint,
)


def checkpoint(step: int = 3) -> Checkpoint:
    weights = {"w": torch.arange(6.0).view(2, 3) + step, "n": torch.tensor(step)}
    return Checkpoint(state={"standing": {"step": step}}, tensors={"model": weights})


def read(folder: Path) -> Checkpoint:
    return checkpoint_of(read_files(folder), folder)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", checkpoint())
    found = read(tmp_path / "c")
    assert found.state["standing"] == {"step": 3}
    assert torch.equal(found.tensors["model"]["w"], checkpoint().tensors["model"]["w"])
    assert found.tensors["model"]["n"].item() == 3


def test_without_a_checkpoint_there_are_no_files(tmp_path: Path) -> None:
    assert read_files(tmp_path / "none") == {}


def test_a_kill_between_the_two_renames_leaves_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    write_checkpoint(folder, checkpoint())
    folder.rename(set_aside(folder))
    assert read(folder).state["standing"] == {"step": 3}


@given(cut=st.integers(0, 200), flip=st.integers(0, 199), name=st.sampled_from(["model", "state"]))
def test_a_cut_or_changed_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, name: str
) -> None:
    folder = tmp_path_factory.mktemp("run") / "c"
    write_checkpoint(folder, checkpoint())
    file = folder / (STATE if name == "state" else f"{name}.safetensors")
    content = bytearray(file.read_bytes())
    content[flip % len(content)] ^= 0x15
    file.write_bytes(content[: max(0, len(content) - cut)])
    refused = pytest.raises(ArtifactError, match=f"{folder}.*--fresh")
    if name == "model":
        with refused:
            read(folder)
        return
    with suppress(ArtifactError):  # but for a changed number among the state's own values
        found = read(folder)
        assert torch.equal(found.tensors["model"]["w"], checkpoint().tensors["model"]["w"])


@pytest.mark.parametrize("part", ["model.safetensors", STATE])
def test_a_missing_part_is_refused(tmp_path: Path, part: str) -> None:
    write_checkpoint(tmp_path / "c", checkpoint())
    (tmp_path / "c" / part).unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        read_files(tmp_path / "c")


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"[]",
        b'{"files": {"../../etc/passwd": "0"}, "schema": 1}',
        b'{"files": {}, "schema": 2}',
        b'{"schema": 1}',
    ],
)
def test_a_state_that_is_none_is_refused(tmp_path: Path, state: bytes) -> None:
    write_checkpoint(tmp_path / "c", checkpoint())
    (tmp_path / "c" / STATE).write_bytes(state)
    with pytest.raises(ArtifactError, match="cannot be gone on from"):
        read_files(tmp_path / "c")


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.binary(max_size=50), max_size=4))
def test_packed_files_come_out_as_they_went_in(files: dict[str, bytes]) -> None:
    assert unpack(pack(files)) == files


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from training.checkpoint import Checkpoint, write_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
large = Checkpoint(state={}, tensors={"model": {"w": torch.rand(999)}})
try:
    write_checkpoint(Path(sys.argv[1]), large)
except OSError as error:
    sys.exit(error.errno)
"""


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", checkpoint())
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "c")], check=False)
    assert done.returncode == errno.EFBIG
    assert read(tmp_path / "c").state["standing"] == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
