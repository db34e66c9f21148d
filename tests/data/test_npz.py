"""NumPy archives: every way of writing one is understood, none is trusted, none unpickled."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.files import (
    CAPS,
    FUZZ,
    damaged,
    npz_bytes,
    refuses_or_reads,
    short,
    some_images,
    some_labels,
)
from torchkeep.data.npz import read_npz
from torchkeep.errors import DataError

WHOLE = npz_bytes(images=some_images(20), labels=some_labels(20))


def with_header(header: bytes, values: bytes = bytes(64), version: int = 1) -> bytes:
    """Return an archive whose images are `values` after a header of the test's choice."""
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\x93NUMPY" + bytes([version, 0]) + size + header + values)
        labels = io.BytesIO()
        np.save(labels, some_labels(1))
        archive.writestr("labels.npy", labels.getvalue())
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_train_and_test_images_come_back(
    save: Callable[..., None], keys: tuple[str, ...], tmp_path: Path
) -> None:
    arrays = (some_images(6), some_labels(6), some_images(3, seed=1), some_labels(3))
    save(tmp_path / "a.npz", **dict(zip(keys, arrays, strict=True)))
    raw = read_npz(tmp_path / "a.npz", CAPS)
    np.testing.assert_array_equal(raw.train.images, arrays[0][:, None])
    np.testing.assert_array_equal(raw.train.labels, arrays[1])
    np.testing.assert_array_equal(raw.test.images, arrays[2][:, None])
    np.testing.assert_array_equal(raw.test.labels, arrays[3])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_colour_images_come_back_as_n_c_h_w(
    order: str, channels_last: bool, tmp_path: Path
) -> None:
    images = some_images(4, (3, 5, 6))
    stored = images.transpose(0, 2, 3, 1) if channels_last else images
    np.savez(tmp_path / "a.npz", images=np.array(stored, order=order), labels=some_labels(4))
    read = read_npz(tmp_path / "a.npz", CAPS).train.images
    np.testing.assert_array_equal(read, images)
    assert read.flags.c_contiguous
    assert read.flags.writeable


def test_names_of_classes_are_read(tmp_path: Path) -> None:
    content = npz_bytes(
        images=some_images(4), labels=some_labels(4), classes=np.array(["cat", "dög", "zebra"])
    )
    (tmp_path / "a.npz").write_bytes(content)
    assert read_npz(tmp_path / "a.npz", CAPS).classes == ("cat", "dög", "zebra")


@FUZZ
@given(content=damaged(WHOLE))
def test_any_bytes_are_data_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    refuses_or_reads(lambda: read_npz(path, CAPS), path, content, CAPS)


@FUZZ
@given(header=st.binary(max_size=100), values=st.binary(max_size=100))
def test_any_array_header_is_data_or_a_data_error(
    header: bytes, values: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    refuses_or_reads(lambda: read_npz(path, CAPS), path, with_header(header, values), CAPS)


@FUZZ
@given(
    dtype=st.sampled_from(["|u1", "<i8", "|O", "<U9999999", "<f4", "|b1", "<M8", "|u3", "|S0"]),
    shape=st.lists(st.integers(0, 10**20), max_size=5),
    version=st.integers(0, 4),
)
def test_a_header_that_lies_allocates_nothing(
    dtype: str, shape: list[int], version: int, tmp_path: Path
) -> None:
    sizes = "".join(f"{size}, " for size in shape)
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({sizes}), }}"
    path = tmp_path / "a.npz"
    content = with_header(header.encode(), version=version)
    refuses_or_reads(lambda: read_npz(path, CAPS), path, content, CAPS)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{}, {}]), labels=some_labels(2))
    with pytest.raises(DataError, match="pickle is never read"):
        read_npz(tmp_path / "a.npz", CAPS)


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8), }" + b" " * 5000
    (tmp_path / "a.npz").write_bytes(with_header(header))
    with pytest.raises(DataError, match="a header of 5,062 bytes; expected at most 4,096"):
        read_npz(tmp_path / "a.npz", CAPS)


def test_names_of_classes_without_end_are_refused(tmp_path: Path) -> None:
    content = npz_bytes(
        images=some_images(4), labels=some_labels(4), classes=np.array(["a", "b", "c" * 257])
    )
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"classes\.npy: very long names; expected at most 256"):
        read_npz(tmp_path / "a.npz", CAPS)


def test_a_zip_bomb_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8), }"
    content = with_header(header, bytes(50_000_000))
    path = tmp_path / "a.npz"
    refuses_or_reads(lambda: read_npz(path, CAPS), path, content, CAPS)
    with pytest.raises(DataError, match="goes on after its values; expected 64 bytes"):
        read_npz(path, CAPS)


def test_an_archive_with_a_huge_directory_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(20):
            member = zipfile.ZipInfo(f"{number}.npy")
            member.comment = bytes(60_000)
            archive.writestr(member, b"")
    path = tmp_path / "a.npz"
    refuses_or_reads(lambda: read_npz(path, CAPS), path, file.getvalue(), CAPS)
    with pytest.raises(DataError, match="a directory of"):
        read_npz(path, CAPS)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_without_a_bound_is_refused(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("images.npy", bytes(1000))
        archive.writestr("labels.npy", bytes(1000))
    with pytest.raises(DataError, match="unusual compression"):
        read_npz(tmp_path / "a.npz", CAPS)


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({}, "holds nothing"),
        ({"pictures": some_images(2)}, "holds 'pictures'"),
        ({"images": some_images(2)}, "has no array 'labels'"),
        ({"images": some_images(2) / 255, "labels": some_labels(2)}, "float64 values"),
        ({"images": some_images(2, (4,)), "labels": some_labels(2)}, "values of shape (2, 4)"),
        ({"images": some_images(2, (3, 8, 3)), "labels": some_labels(2)}, "cannot be told"),
        ({"images": some_images(2, (8, 8, 2)), "labels": some_labels(2)}, "cannot be told"),
        ({"images": some_images(2), "labels": np.ones(2)}, "float64 values of shape (2,)"),
        ({"images": some_images(2), "labels": np.eye(2, dtype=int)}, "values of shape (2, 2)"),
        ({"images": some_images(1001), "labels": some_labels(9)}, "1,001 images"),
        ({"images": some_images(1), "labels": some_labels(1001)}, "1,001 labels"),
    ],
    ids=short,
)
def test_an_error_names_the_archive_and_the_fault(
    arrays: dict[str, np.ndarray], fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "flowers.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        read_npz(path, CAPS)
    assert caught.value.path.startswith(str(path))
    assert fault in caught.value.fault
