"""The user's own data, by its path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.files import (
    cifar_bytes,
    idx_bytes,
    image_bytes,
    npz_bytes,
    short,
    some_images,
    some_labels,
    write_mnist_like,
)
from torchkeep.data import DataConfig, Dataset, load_dataset, split
from torchkeep.errors import DataError, SettingsError

CONFIG = DataConfig()


def load(path: Path, config: DataConfig = CONFIG) -> Dataset:
    return load_dataset(str(path), config=config)


def test_a_folder_of_idx_files(tmp_path: Path) -> None:
    write_mnist_like(tmp_path)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.train.images[:, 0], some_images(40))
    np.testing.assert_array_equal(dataset.test.labels, some_labels(10))
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.name == tmp_path.name
    assert dataset.source == str(tmp_path)


def test_an_idx_file_with_its_labels_beside_it(tmp_path: Path) -> None:
    (tmp_path / "letters-images-idx3-ubyte").write_bytes(idx_bytes(some_images(40)))
    (tmp_path / "letters-labels-idx1-ubyte").write_bytes(idx_bytes(some_labels(40)))
    dataset = load(tmp_path / "letters-images-idx3-ubyte")
    assert (len(dataset.train), len(dataset.test)) == (34, 6)
    assert dataset.classes == ("0", "1", "2")


def test_a_plain_idx_file_goes_before_its_gzipped_twin(tmp_path: Path) -> None:
    write_mnist_like(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(some_images(40, seed=9)))
    np.testing.assert_array_equal(load(tmp_path).train.images[:, 0], some_images(40, seed=9))


def test_a_numpy_archive(tmp_path: Path) -> None:
    path = tmp_path / "flowers.npz"
    path.write_bytes(npz_bytes(images=some_images(40, (8, 8, 3)), labels=some_labels(40)))
    dataset = load(path)
    assert dataset.train.shape == (3, 8, 8)
    assert dataset.name == "flowers"


def test_a_folder_above_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v1.0" / "below").mkdir(parents=True)
    write_mnist_like(tmp_path / "v1.0")
    monkeypatch.chdir(tmp_path / "v1.0" / "below")
    assert load(Path("..")).name == "v1.0"


def test_more_classes_than_a_byte_can_count(tmp_path: Path) -> None:
    path = tmp_path / "many.npz"
    path.write_bytes(npz_bytes(images=some_images(600), labels=np.arange(600) % 300))
    dataset = load(path)
    assert len(dataset.classes) == 300
    path.write_bytes(npz_bytes(images=some_images(600), labels=(np.arange(600) + 1) % 300))
    assert load(path).digest != dataset.digest


@pytest.mark.parametrize("is_file", [True, False])
def test_cifar_batches(is_file: bool, tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(cifar_bytes(some_images(20, (3, 32, 32)), some_labels(20)))
    dataset = load(path if is_file else tmp_path)
    assert len(dataset.train) + len(dataset.test) == 20
    assert dataset.train.shape == (3, 32, 32)


def test_a_folder_of_images(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(10):
            content = image_bytes(some_images(1, (9, 9), seed=number)[0])
            (tmp_path / label / f"{number}.png").write_bytes(content)
    assert load(tmp_path).train.shape == (1, 9, 9)
    dataset = load(tmp_path, replace(CONFIG, resize=4))
    assert dataset.train.shape == (1, 4, 4)
    assert dataset.classes == ("a", "b")
    assert split(dataset).record.counts["test"] == len(dataset.test) == 4


def test_the_test_split_that_is_set_aside_depends_on_the_seed_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(images=some_images(60), labels=some_labels(60)))
    first, again = load(path), load(path)
    other = load(path, replace(CONFIG, test_seed=1))
    larger = load(path, replace(CONFIG, test_share=0.5))
    np.testing.assert_array_equal(first.test.images, again.test.images)
    assert first.digest == again.digest
    assert len({first.digest, other.digest, larger.digest}) == 3
    assert len(larger.test) == 30


def test_the_digest_is_of_the_content_and_not_of_its_packing(tmp_path: Path) -> None:
    write_mnist_like(tmp_path)
    splits = {
        "x_train": some_images(40),
        "y_train": some_labels(40).astype(np.int64),
        "x_test": some_images(10),
        "y_test": some_labels(10),
    }
    (tmp_path / "a.npz").write_bytes(npz_bytes(**splits))
    packed_otherwise = load(tmp_path / "a.npz")
    assert load(tmp_path).digest == packed_otherwise.digest
    for key, array in splits.items():
        changed = array.copy()
        changed.reshape(-1)[0] ^= 1
        (tmp_path / "b.npz").write_bytes(npz_bytes(**(splits | {key: changed})))
        assert load(tmp_path / "b.npz").digest != packed_otherwise.digest
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
    assert load(tmp_path).digest != packed_otherwise.digest


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.txt", b"", "a.txt: is of an unknown kind; expected class folders"),
        ("a.npz", b"PK", "damaged archive"),
        ("a.npz", npz_bytes(images=some_images(3), labels=some_labels(4)), "4 labels; expected 3"),
        ("a.npz", npz_bytes(images=some_images(1), labels=some_labels(1)), r"1 class\(es\)"),
        ("a.npz", npz_bytes(images=some_images(2), labels=some_labels(2)), "no two of a class"),
        (
            "a.npz",
            npz_bytes(images=some_images(4), labels=np.array([0, 1, -1, 0])),
            "labels from -1 to 1; expected 0 to 1: 2 classes",
        ),
        (
            "a.npz",
            npz_bytes(images=some_images(2), labels=np.array([0, 2**40])),
            "1,099,511,627,777 classes; expected at most 10,000",
        ),
        (
            "a.npz",
            npz_bytes(images=some_images(4), labels=some_labels(4, 2), classes=np.array(["a"] * 2)),
            "class names that repeat",
        ),
        (
            "a.npz",
            npz_bytes(
                x_train=some_images(4),
                y_train=some_labels(4),
                x_test=some_images(4, (5, 4)),
                y_test=some_labels(4),
            ),
            r"test images of shape \(1, 5, 4\); expected \(1, 4, 5\)",
        ),
    ],
    ids=short,
)
def test_data_that_do_not_fit_are_refused(
    name: str, content: bytes, fault: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=fault):
        load(tmp_path / name)


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data set; expected class folders"):
        load(tmp_path)


def test_missing_labels_are_named(tmp_path: Path) -> None:
    write_mnist_like(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DataError, match=r"train-labels-idx1-ubyte: is missing; expected the labels"
    ):
        load(tmp_path)


def test_a_name_close_to_a_known_one_is_suggested() -> None:
    with pytest.raises(DataError, match="Did you mean 'fashion-mnist'"):
        load_dataset("fashion_mnist", config=CONFIG)


def test_own_data_are_fetched_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Give --from with one of: mnist"):
        load_dataset(str(tmp_path), config=CONFIG, origin="/elsewhere")
