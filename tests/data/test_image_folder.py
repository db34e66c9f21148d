"""The user's own images, a folder a class."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from tests.data.files import CAPS, FUZZ, damaged, image_bytes, refuses_or_reads, short, some_images
from torchkeep.data.image_folder import read_image_folder
from torchkeep.errors import DataError

GREY = some_images(1, (6, 7))[0]
COLOUR = some_images(1, (6, 7, 3))[0]


def write(folder: Path, name: str, content: bytes) -> Path:
    """Write a file into a folder that may not be there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def two_classes(root: Path, count: int = 3) -> None:
    """Write `count` grey images of each of two classes; class b is all but white."""
    for number in range(count):
        write(root / "a", f"{number}.png", image_bytes(GREY // 8))
        write(root / "b", f"{number}.PNG", image_bytes(255 - GREY // 8))


def png_of_size(width: int, height: int) -> bytes:
    """Return a small PNG that says it is of a size; its pixels are all zero, and not all there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_images_come_with_the_label_of_their_folder(tmp_path: Path) -> None:
    two_classes(tmp_path)
    raw = read_image_folder(tmp_path, CAPS)
    assert raw.classes == ("a", "b")
    assert raw.test is None
    assert raw.train.images.shape == (6, 1, 6, 7)
    assert sorted(raw.train.labels) == [0, 0, 0, 1, 1, 1]
    for image, label in zip(raw.train.images, raw.train.labels, strict=True):
        np.testing.assert_array_equal(image[0], 255 - GREY // 8 if label else GREY // 8)


def test_the_first_images_are_of_all_classes(tmp_path: Path) -> None:
    two_classes(tmp_path, count=20)
    labels = read_image_folder(tmp_path, CAPS).train.labels
    assert set(labels[:10]) == {0, 1}
    assert labels.tolist() == read_image_folder(tmp_path, CAPS).train.labels.tolist()


def test_train_and_test_folders_become_splits(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    write(tmp_path / "test" / "b", "x.png", image_bytes(GREY))
    raw = read_image_folder(tmp_path, CAPS)
    assert len(raw.train.labels) == 6
    np.testing.assert_array_equal(raw.test.images, GREY[None, None])
    assert raw.test.labels.tolist() == [1]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_colours_come_back(kind: str, tmp_path: Path) -> None:
    two_classes(tmp_path)
    write(tmp_path / "c", f"x.{kind.lower()}", image_bytes(COLOUR, kind))
    raw = read_image_folder(tmp_path, CAPS)
    assert raw.train.images.shape == (7, 3, 6, 7)
    [image] = raw.train.images[raw.train.labels == 2]
    np.testing.assert_array_equal(image, COLOUR.transpose(2, 0, 1))


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write(tmp_path / "c", "x.jpg", image_bytes(np.full((6, 7), 99, np.uint8), "JPEG"))
    raw = read_image_folder(tmp_path, CAPS)
    [image] = raw.train.images[raw.train.labels == 2]
    assert abs(image.astype(int) - 99).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_eight_bits_is_read(mode: str, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.new("RGB", (3, 2), "white").convert(mode).save(tmp_path / label / "x.png")
    images = read_image_folder(tmp_path, CAPS).train.images
    assert images.shape == (2, 1 if mode in ("1", "L", "LA") else 3, 2, 3)
    assert (images == 255).all()


def test_size_brings_all_images_to_one_size(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write(tmp_path / "c", "x.png", image_bytes(np.full((9, 12), 77, np.uint8)))
    raw = read_image_folder(tmp_path, CAPS, resize=5)
    assert raw.train.images.shape == (7, 1, 5, 5)
    assert (raw.train.images[raw.train.labels == 2] == 77).all()


def test_what_file_managers_leave_is_passed_over(tmp_path: Path) -> None:
    two_classes(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        write(tmp_path, name, b"x")
        write(tmp_path / "a", name, b"x")
    assert len(read_image_folder(tmp_path, CAPS).train.labels) == 6


@FUZZ
@given(
    content=damaged(image_bytes(COLOUR))
    | damaged(image_bytes(COLOUR, "JPEG"))
    | damaged(image_bytes(COLOUR, "WEBP"))
)
def test_any_bytes_are_an_image_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    two_classes(tmp_path, count=1)
    path = tmp_path / "a" / "x.png"
    refuses_or_reads(lambda: read_image_folder(tmp_path, CAPS), path, content, CAPS)


@pytest.mark.parametrize(
    ("name", "content", "fault", "expected"),
    [
        ("x.png", b"hello", "is not an image", "a whole PNG or JPEG or WEBP image"),
        ("x.png", image_bytes(GREY)[:-30], "truncated", "a whole PNG"),
        ("x.png", png_of_size(30_000, 30_000), "a decompression bomb", "at most 10,000"),
        ("x.png", png_of_size(8_000, 8_000), "an image of 8,000 x 8,000", "at most 10,000"),
        ("x.png", image_bytes(some_images(1, (7, 6))[0]), "6 x 7 pixels", "7 x 6, as the others"),
        ("x.bmp", image_bytes(GREY, "BMP"), "is not an image by its name", ".png"),
        ("x.png", image_bytes(GREY, "BMP"), "is not an image", "a whole PNG"),
        ("x.png", image_bytes(np.zeros((6, 7), np.uint16)), "pixels of mode I;16", "8 bits"),
    ],
    ids=short,
)
def test_an_error_names_file_fault_and_expectation(
    name: str, content: bytes, fault: str, expected: str, tmp_path: Path
) -> None:
    two_classes(tmp_path)
    path = write(tmp_path / "c", name, content)
    with pytest.raises(DataError) as caught:
        read_image_folder(tmp_path, CAPS)
    assert caught.value.path in (str(path), str(tmp_path / "a" / "0.png"))
    assert fault in caught.value.fault
    assert expected in caught.value.expected


def test_different_sizes_come_with_a_remedy(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write(tmp_path / "c", "x.png", image_bytes(some_images(1, (9, 9))[0]))
    with pytest.raises(DataError, match="Set resize"):
        read_image_folder(tmp_path, CAPS)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda root: write(root, "x.png", b""), "lies beside class folders"),
        (lambda root: (root / "c").mkdir(), "holds no image"),
        (lambda root: write(root / "a" / "deep", "x.png", b""), "is not an image by its name"),
        (lambda root: write(root / "train" / "a", "x.png", b""), "lies beside train/ or test/"),
    ],
    ids=short,
)
def test_a_folder_of_another_form_is_refused(
    make: Callable[[Path], object], fault: str, tmp_path: Path
) -> None:
    two_classes(tmp_path)
    make(tmp_path)
    with pytest.raises(DataError, match=fault):
        read_image_folder(tmp_path, CAPS)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    write(tmp_path / "a", "x.png", image_bytes(GREY))
    with pytest.raises(DataError, match=r"1 class\(es\); expected at least 2"):
        read_image_folder(tmp_path, CAPS)


def test_a_class_that_is_only_in_test_is_refused(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    write(tmp_path / "test" / "c", "x.png", image_bytes(GREY))
    with pytest.raises(DataError, match="is a class that train/ has not"):
        read_image_folder(tmp_path, CAPS)
