"""`torchkeep training-set`: what it tells, what it writes, and what a user does wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.in_process import Done, run_here
from torchkeep.data import DataConfig, Dataset, ImageSet, archive_training_set, load_dataset, split
from torchkeep.paths import Home


def run(folder: Path, *words: str) -> Done:
    return run_here(folder, "training-set", *words, TORCHKEEP_HOME=str(folder / "home"))


def told(folder: Path, *words: str) -> dict[str, Any]:
    done = run(folder, *words, "--json")
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def pets(folder: Path, images: ImageSet) -> Dataset:
    np.savez(folder / "pets.npz", images=images.images[:, 0], labels=images.labels)
    return load_dataset(str(folder / "pets.npz"), config=DataConfig())


def some(count: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 6, 6), np.uint8)
    return ImageSet(pixels[:count], np.arange(count) % 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose home knows versions 1.0 (40 images) and 1.1 (60, at first 50)."""
    home = Home(tmp_path / "home")
    for version, count in (("1.0", 40), ("1.1", 50), ("1.1", 60)):
        dataset = pets(tmp_path, some(count))
        archive_training_set(home, "pets", version, dataset, split(dataset))
    return tmp_path


def test_everything_is_listed_and_so_is_the_history_of_a_model(folder: Path) -> None:
    rows = told(folder)["training_sets"]
    assert [row["version"] for row in rows] == ["1.0", "1.1", "1.1"]
    assert told(folder, "pets")["training_sets"] == rows
    lines = run(folder).stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:2] == ["pets", "1.0"]
    assert rows[0]["digest"].startswith(lines[1].split()[-1])


def test_a_version_tells_its_images_and_what_came_before(folder: Path) -> None:
    rows = told(folder)["training_sets"]
    facts = told(folder, "pets", "1.1")
    assert facts["digest"] == rows[2]["digest"]
    assert facts["before"] == {"version": "1.1", "digest": rows[1]["digest"]}
    assert sum(facts["classes"].values()) == facts["images"]
    assert facts["source"] == str(folder / "pets.npz")
    assert told(folder, "pets", "1.1~1")["digest"] == rows[1]["digest"]
    assert told(folder, "pets", rows[0]["digest"][:10])["version"] == "1.0"
    assert told(folder, "pets", "1.0")["before"] is None
    lines = run(folder, "pets", "1.1").stdout.splitlines()
    assert f"before    1.1 ({rows[1]['digest'][:12]})" in lines


def test_two_versions_are_compared(folder: Path) -> None:
    new, old = told(folder, "pets", "1.1"), told(folder, "pets", "1.0")
    found = told(folder, "pets", "1.1", "--against", "1.0")["against"]
    assert found["digest"] == old["digest"]
    assert found["kept"] + found["removed"] + found["relabelled"] == old["images"]
    assert found["kept"] + found["added"] + found["relabelled"] == new["images"]
    assert found["added"] > 0
    line = run(folder, "pets", "1.1", "--against", "1.0").stdout.splitlines()[-1]
    assert f"{found['kept']} kept, {found['added']} added" in line


def test_what_a_version_was_trained_on_is_written_again(folder: Path) -> None:
    facts = told(folder, "pets", "1.0", "--out", "again.npz")
    with np.load(folder / "again.npz", allow_pickle=False) as arrays:
        assert len(arrays["images"]) == facts["images"] == len(arrays["labels"])
        counts = np.bincount(arrays["labels"]).tolist()
        assert dict(zip(arrays["classes"], counts, strict=True)) == facts["classes"]
        np.testing.assert_array_equal(arrays["images"], rebuilt_by_hand(40))
    assert load_dataset(str(folder / "again.npz"), config=DataConfig()).classes == ("0", "1", "2")
    again = run(folder, "pets", "1.0", "--out", "again.npz")
    assert again.returncode == 2
    assert "again.npz is there already" in again.stderr


def rebuilt_by_hand(count: int) -> np.ndarray:
    from torchkeep.data.splits import with_test

    train, _ = with_test(some(count), None, share=0.15, seed=0)
    dataset = Dataset("pets", ("0", "1", "2"), train, some(3), "d", "s")
    return split(dataset).train.images[:, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pet",), "Did you mean 'pets'?"),
        (("pets", "1.2"), "Did you mean '1.1'?"),
        (("pets", "1.1~9"), "Did you mean '1.1'?"),
        (("pets", "1.1", "--against", "2"), "Did you mean '1."),
        (("pets", "--out", "x.npz"), "need a version"),
        (("pets", "1.1", "--out", "x.npy"), "does not end in .npz"),
        (("pets", "1.1", "--out", "x.npz", "--data", "digits"), "images 25 are missing or changed"),
        (("pets", "1.1", "--out", "x.npz", "--data", "nowhere"), "nowhere"),
    ],
)
def test_a_fault_is_one_line_and_exit_code_2(
    folder: Path, words: tuple[str, ...], message: str
) -> None:
    done = run(folder, *words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert not (folder / "x.npz").exists()


def test_a_changed_byte_is_one_line(folder: Path) -> None:
    digest = told(folder, "pets", "1.0")["digest"]
    file = folder / "home" / "training-sets" / "pets" / f"{digest}.set"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    done = run(folder, "pets", "1.0")
    assert done.returncode == 2
    assert "was changed: SHA-256" in done.stderr


def test_without_an_archive_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert run(tmp_path).stdout == "no training set is archived here\n"
    assert told(tmp_path) == {"training_sets": []}
    assert not (tmp_path / "home").exists()
