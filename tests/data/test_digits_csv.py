"""The 8 x 8 digits as lines of numbers."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from tests.data.files import CAPS, FUZZ, damaged, refuses_or_reads
from torchkeep.data.digits_csv import read_digits
from torchkeep.errors import DataError

LINE = ",".join([*["0", "16", "8", "1"] * 16, "7"])
WHOLE = f"{LINE}\n{LINE}\n".encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("digits.csv.gz", gzip.compress(WHOLE, mtime=0)),
        ("optdigits.tes", WHOLE.replace(b"\n", b"\r\n")),
    ],
)
def test_pixels_are_scaled_to_0_255(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    split = read_digits(tmp_path, CAPS).train
    assert split.images.shape == (2, 1, 8, 8)
    assert split.images[0, 0, 0].tolist() == [0, 255, 128, 16, 0, 255, 128, 16]
    assert split.labels.tolist() == [7, 7]


def test_sixteen_levels_stay_distinct_and_in_order(tmp_path: Path) -> None:
    levels = ",".join(str(level) for level in [*range(17), *[0] * 48])
    (tmp_path / "optdigits.tes").write_text(levels)
    pixels = read_digits(tmp_path, CAPS).train.images.reshape(-1)[:17]
    np.testing.assert_array_equal(pixels, np.rint(np.arange(17) * 255 / 16 + 1e-9))


@FUZZ
@given(content=damaged(WHOLE))
def test_any_bytes_are_digits_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "optdigits.tes"
    refuses_or_reads(lambda: read_digits(tmp_path, CAPS), path, content, CAPS)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "a table of shape"),
        (b"1,2,x", "is not a table of whole numbers"),
        (b"1,2\n1\n", "is not a table of whole numbers"),
        (b"1,2\n1,2\n", r"a table of shape \(2, 2\)"),
        (WHOLE.replace(b"16", b"17"), "a table of shape"),
        (WHOLE.replace(b"16", b"-1"), "is not a table of whole numbers"),
        (WHOLE * 20_000, "more than 1,048,576 bytes"),
    ],
)
def test_a_bad_table_is_refused(content: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=fault):
        read_digits(tmp_path, CAPS)


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(WHOLE)[:-4])
    with pytest.raises(DataError, match="cannot be read"):
        read_digits(tmp_path, CAPS)
