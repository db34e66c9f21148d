"""CIFAR-10's binary batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from tests.data.files import (
    FUZZ,
    cifar_bytes,
    damaged,
    refuses_or_reads,
    short,
    some_images,
    some_labels,
)
from torchkeep.data import Caps
from torchkeep.data.cifar_binary import read_cifar_batches, read_cifar_folder
from torchkeep.errors import DataError

CAPS = Caps(images=100, pixels=1024, bytes=100 * 3073, classes=100)
IMAGES, LABELS = some_images(6, (3, 32, 32)), some_labels(6, classes=10)
WHOLE = cifar_bytes(IMAGES, LABELS)


def test_batches_of_a_folder_come_back_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "data_batch_2.bin").write_bytes(cifar_bytes(IMAGES[3:], LABELS[3:]))
    (tmp_path / "data_batch_1.bin").write_bytes(cifar_bytes(IMAGES[:3], LABELS[:3]))
    (tmp_path / "test_batch.bin").write_bytes(cifar_bytes(IMAGES[::-1], LABELS[::-1]))
    (tmp_path / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    raw = read_cifar_folder(tmp_path, CAPS)
    np.testing.assert_array_equal(raw.train.images, IMAGES)
    np.testing.assert_array_equal(raw.train.labels, LABELS)
    np.testing.assert_array_equal(raw.test.images, IMAGES[::-1])
    np.testing.assert_array_equal(raw.test.labels, LABELS[::-1])
    assert raw.classes == ("airplane", "automobile")


def test_a_folder_without_a_test_batch_has_no_test_split(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(WHOLE)
    raw = read_cifar_folder(tmp_path, CAPS)
    assert raw.test is None
    assert raw.classes is None


@FUZZ
@given(content=damaged(WHOLE))
def test_any_bytes_are_images_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    refuses_or_reads(lambda: read_cifar_batches([path], CAPS), path, content, CAPS)


@pytest.mark.parametrize(
    ("content", "fault", "expected"),
    [
        (b"", "0 bytes", "a multiple of 3,073"),
        (WHOLE[:-1], "18,437 bytes", "a multiple of 3,073"),
        (b"\x0a" + WHOLE[1:], "a label of 10", "0 to 9"),
        (WHOLE * 17, "313,446 bytes", "at most 307,300"),
    ],
    ids=short,
)
def test_an_error_names_the_batch_and_the_fault(
    content: bytes, fault: str, expected: str, tmp_path: Path
) -> None:
    good, bad = tmp_path / "data_batch_1.bin", tmp_path / "data_batch_2.bin"
    good.write_bytes(WHOLE)
    bad.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_cifar_batches([good, bad], CAPS)
    assert (caught.value.path, caught.value.fault) == (str(bad), fault)
    assert expected in caught.value.expected


def test_batches_that_are_too_many_together_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / f"data_batch_{number}.bin" for number in range(17)]
    for file in files:
        file.write_bytes(WHOLE)
    with pytest.raises(DataError, match="102 images; expected at most 100"):
        read_cifar_batches(files, CAPS)


def test_a_folder_of_test_batches_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(WHOLE)
    with pytest.raises(DataError, match="no batch to train on"):
        read_cifar_folder(tmp_path, CAPS)
