"""The verified copy of a known data set: used again, never trusted, never half there."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.commands import left_in
from torchkeep.data import DataConfig, load_dataset
from torchkeep.data.dataset import PARTS
from torchkeep.errors import DataError

FILES = [f"{part}.idx" for part in PARTS]


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return DataConfig(directory=tmp_path / "data")


@pytest.fixture
def copy(config: DataConfig) -> Path:
    """The folder of a fresh copy of the digits."""
    load_dataset("digits", config=config)
    return config.folder("digits")


@pytest.fixture
def digits_file(tmp_path: Path) -> Path:
    """The genuine digits, alone in a folder that a test may spoil."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    folder = tmp_path / "given"
    folder.mkdir()
    packed = (Path(spec.origin).parent / "datasets/data/digits.csv.gz").read_bytes()
    (folder / "digits.csv.gz").write_bytes(packed)
    return folder / "digits.csv.gz"


def test_digits_are_the_pinned_ones(config: DataConfig) -> None:
    digits = load_dataset("digits", config=config)
    assert digits.digest == "5c7df8d4a8288467b321f0a578ea7a8c6334f0779ba590a39a1dfaa9811e002a"
    assert (len(digits.train), len(digits.test), digits.train.shape) == (1528, 269, (1, 8, 8))
    assert digits.source == "installed package sklearn"


def test_a_second_load_fetches_nothing(config: DataConfig) -> None:
    said: list[str] = []
    load_dataset("digits", config=config, progress=said.append)
    assert said == ["reading digits"]
    load_dataset("digits", config=config, progress=said.append)
    assert said == ["reading digits"]


def test_a_copy_is_four_files_and_a_manifest(copy: Path) -> None:
    assert left_in(copy) == {*FILES, "manifest.json"}
    assert left_in(copy.parent) == {"digits"}
    manifest = json.loads((copy / "manifest.json").read_bytes())
    assert manifest["name"] == "digits"
    assert set(manifest["sha256"]) == set(PARTS)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [2, 7, 40, -1])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_changed_bit_is_found(
    name: str, at: int, bit: int, copy: Path, config: DataConfig
) -> None:
    content = bytearray((copy / name).read_bytes())
    content[at] ^= 1 << bit
    (copy / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_dataset("digits", config=config)
    error = caught.value
    assert error.path == str(copy / name)
    assert "its content has SHA-256" in error.fault
    assert f"the {name.removesuffix('.idx')} of digits" in error.expected
    assert error.remedy == f"Delete {copy} and run `torchkeep data digits` again."


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(name: str, copy: Path, config: DataConfig) -> None:
    (copy / name).unlink()
    with pytest.raises(DataError, match=f"{name}: cannot be read.*Delete {copy} and run"):
        load_dataset("digits", config=config)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b'"text"'])
def test_a_damaged_manifest_is_named(content: bytes, copy: Path, config: DataConfig) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read.*Delete"):
        load_dataset("digits", config=config)


def test_the_remedy_mends_it(copy: Path, config: DataConfig, digits_file: Path) -> None:
    (copy / FILES[0]).write_bytes(b"")
    digits = load_dataset("digits", config=config, origin=str(digits_file.parent))
    assert digits.source == f"folder {digits_file.parent}"
    assert load_dataset("digits", config=config).digest == digits.digest


def test_a_line_changed_in_the_given_file_is_found(config: DataConfig, digits_file: Path) -> None:
    content = gzip.decompress(digits_file.read_bytes())
    digits_file.write_bytes(gzip.compress(content.replace(b"\n0,0,", b"\n0,1,", 1)))
    with pytest.raises(DataError) as caught:
        load_dataset("digits", config=config, origin=str(digits_file.parent))
    assert caught.value.path == str(digits_file)
    assert "its content has SHA-256" in caught.value.fault
    assert left_in(config.folder("digits").parent) == set()


def test_a_failed_replacement_leaves_the_copy(
    copy: Path, config: DataConfig, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="nowhere: is not a folder; expected a folder with"):
        load_dataset("digits", config=config, origin=str(tmp_path / "nowhere"))
    assert load_dataset("digits", config=config).source == "installed package sklearn"


def test_a_folder_with_files_of_the_users_is_not_replaced(
    config: DataConfig, copy: Path, digits_file: Path
) -> None:
    (copy / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"holds 'thesis\.tex', which is none of ours"):
        load_dataset("digits", config=config, origin=str(digits_file.parent))
    assert (copy / "thesis.tex").read_text() == "years of work"


def test_what_a_killed_process_left_is_removed(config: DataConfig) -> None:
    folder = config.folder("digits").parent
    for name in (".digits.fetching", ".digits.x7y6z5", ".mnist.fetching"):
        (folder / name).mkdir(parents=True)
        (folder / name / "half").touch()
    load_dataset("digits", config=config)
    assert left_in(folder) == {"digits", ".mnist.fetching"}


LOAD = """
import resource, sys
from pathlib import Path
from torchkeep.data import DataConfig, load_dataset
from torchkeep.errors import DataError
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    load_dataset("digits", config=DataConfig(directory=Path(sys.argv[1])))
except DataError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("room", [10_000, 50_000])
def test_a_full_disk_leaves_nothing_behind(room: int, config: DataConfig) -> None:
    """A limit on the size of files stands for the disk: `write` fails in the same way."""
    folder = config.folder("digits")
    command = [sys.executable, "-c", LOAD, str(folder.parent), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "File too large; expected a folder that can be written, with room" in done.stderr
    assert "Free some space" in done.stderr
    assert left_in(folder.parent) == set()


def test_processes_that_start_together_share_one_copy(config: DataConfig) -> None:
    command = [sys.executable, "-c", LOAD, str(config.folder("digits").parent), "0"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert errors == [""] * 4
    assert left_in(config.folder("digits").parent) == {"digits"}
