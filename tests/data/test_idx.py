"""The idx format: what is read is what was written, and no header is believed."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.data.files import (
    CAPS,
    FUZZ,
    damaged,
    idx_bytes,
    refuses_or_reads,
    short,
    some_images,
    some_labels,
)
from torchkeep.data.idx import idx_header, read_idx_images, read_idx_labels
from torchkeep.errors import DataError

IMAGES, LABELS = idx_bytes(some_images(20)), idx_bytes(some_labels(20))
packings = pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])


@packings
def test_grey_images_come_back_with_a_channel(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    images = some_images(7, (3, 5))
    path = tmp_path / "images"
    path.write_bytes(pack(idx_bytes(images)))
    read = read_idx_images(path, CAPS)
    np.testing.assert_array_equal(read, images[:, None])
    assert read.flags.writeable


@FUZZ
@given(images=arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(3), *[st.integers(1, 6)] * 2)))
def test_colour_images_come_back(images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(images))
    np.testing.assert_array_equal(read_idx_images(path, CAPS), images)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int32"])
def test_labels_of_any_width_come_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(np.array([3, 0, 99], dtype=kind)))
    labels = read_idx_labels(path, CAPS)
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, 0, 99]


def test_the_header_is_the_one_of_the_format() -> None:
    images = some_images(7, (3, 5))
    assert idx_header(images) + images.tobytes() == idx_bytes(images)


@FUZZ
@given(content=damaged(IMAGES) | damaged(gzip.compress(IMAGES)))
def test_any_bytes_are_images_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "images"
    refuses_or_reads(lambda: read_idx_images(path, CAPS), path, content, CAPS)


@FUZZ
@given(content=damaged(LABELS) | damaged(gzip.compress(LABELS)))
def test_any_bytes_are_labels_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    refuses_or_reads(lambda: read_idx_labels(path, CAPS), path, content, CAPS)


@FUZZ
@given(shape=st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=4))
@packings
def test_a_header_that_lies_allocates_nothing(
    shape: list[int], pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "images"
    content = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(10)
    refuses_or_reads(lambda: read_idx_images(path, CAPS), path, pack(content), CAPS)


def test_a_gzip_bomb_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    bomb = gzip.compress(IMAGES + bytes(50_000_000))
    path = tmp_path / "images"
    refuses_or_reads(lambda: read_idx_images(path, CAPS), path, bomb, CAPS)
    with pytest.raises(DataError, match="goes on after its values"):
        read_idx_images(path, CAPS)


@pytest.mark.parametrize(
    ("content", "fault", "expected"),
    [
        (b"", "starts with nothing", "an idx header"),
        (b"\x89PNG", "starts with 89 50 4e 47", "an idx header"),
        (IMAGES[:9], "ends within its header", "3 dimensions"),
        (IMAGES[:-1], "ends after 399 bytes", "400, as its header says"),
        (IMAGES + b"x", "goes on after its values", "400 bytes, as its header says"),
        (LABELS, "uint8 values of shape (20,)", "uint8 images, N H W"),
        (idx_bytes(some_images(2).astype(np.int16)), "int16 values", "uint8 images"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "damaged gzip", "a whole gzip file"),
        (idx_bytes(some_images(1001)), "1,001 images", "at most 1,000"),
        (idx_bytes(some_images(1, (101, 100))), "100 x 101 pixels", "at most 10,000 pixels"),
        (idx_bytes(some_images(2, (5, 4, 4))), "5 channels", "1 (grey) or 3"),
    ],
    ids=short,
)
def test_an_error_names_file_fault_and_expectation(
    content: bytes, fault: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx_images(path, CAPS)
    assert caught.value.path == str(path)
    assert fault in caught.value.fault
    assert expected in caught.value.expected
