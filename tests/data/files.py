"""Small data files, and what a parser must do with any bytes at all."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from torchkeep.data import Caps
from torchkeep.errors import DataError

CAPS = Caps(images=1000, pixels=10_000, bytes=2_000_000, classes=100)
FUZZ = settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13}


def some_images(count: int, shape: tuple[int, ...] = (4, 5), seed: int = 0) -> NDArray[np.uint8]:
    """Return `count` random images of `shape`."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def some_labels(count: int, classes: int = 3) -> NDArray[np.uint8]:
    """Return labels that go through all classes."""
    return np.arange(count, dtype=np.uint8) % classes


def idx_bytes(array: NDArray[Any]) -> bytes:
    """Return an idx file, written without the code that is under test."""
    header = struct.pack(">HBB", 0, CODES[array.dtype.name], array.ndim)
    dimensions = b"".join(struct.pack(">I", size) for size in array.shape)
    return header + dimensions + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npz_bytes(**arrays: NDArray[Any]) -> bytes:
    """Return a compressed NumPy archive."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def image_bytes(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """Return an encoded image of H W or H W C pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, lossless=True)
    return file.getvalue()


def cifar_bytes(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """Return a binary batch of images (N 3 32 32)."""
    return np.concatenate([labels[:, None], images.reshape(len(images), -1)], axis=1).tobytes()


def write_mnist_like(folder: Path, train: int = 40, test: int = 10) -> None:
    """Write the four files of a small data set, named and gzipped as MNIST's."""
    for prefix, count in (("train", train), ("t10k", test)):
        images, labels = idx_bytes(some_images(count)), idx_bytes(some_labels(count))
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def short(value: object) -> str:
    """Return the id of a test's parameter: texts as they are, contents not at all."""
    return value[:40] if isinstance(value, str) else ""


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Return `whole` cut short, with a few bytes changed (most often early ones), or lengthened."""
    early = st.integers(0, min(len(whole), 128) - 1)
    anywhere = st.integers(0, len(whole) - 1)
    change = st.tuples(early | anywhere, st.integers(0, 255))

    def changed(changes: list[tuple[int, int]]) -> bytes:
        content = bytearray(whole)
        for at, value in changes:
            content[at] = value
        return bytes(content)

    return (
        st.binary(max_size=200)
        | anywhere.map(lambda end: whole[:end])
        | st.lists(change, min_size=1, max_size=4).map(changed)
        | st.binary(min_size=1, max_size=50).map(lambda more: whole + more)
    )


def refuses_or_reads(read: Callable[[], object], path: Path, content: bytes, caps: Caps) -> None:
    """Hold that reading `content` at `path` gives data or a `DataError` that names the file.

    And that it takes no more memory than a few times the cap (copies, and the reader's own chunks).
    """
    path.write_bytes(content)
    refusal: DataError | None = None
    tracemalloc.start()
    try:
        read()
    except DataError as error:
        refusal = error
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 3 * caps.bytes + (4 << 20)
    if refusal is not None:
        assert str(path.parent) in refusal.path
        assert refusal.fault
        assert refusal.expected
        assert str(refusal).isprintable()
