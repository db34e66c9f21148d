"""Images as rows of a PNG, with labels as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.files import FUZZ, damaged, image_bytes, refuses_or_reads, short, some_images
from torchkeep.data import Caps
from torchkeep.data.png_rows import read_json_labels, read_png_rows, read_png_split
from torchkeep.errors import DataError

CAPS = Caps(images=100, pixels=50_000, bytes=200_000, classes=10)
IMAGES = some_images(6, (3, 32, 32))
ROWS = IMAGES.transpose(0, 2, 3, 1).reshape(6, 1024, 3)
WHOLE = image_bytes(ROWS)


def test_a_split_comes_back_from_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image_bytes(ROWS[:2]))
    (tmp_path / "b.png").write_bytes(image_bytes(ROWS[2:]))
    (tmp_path / "labels.json").write_text("[0, 1, 2, 3, 4, 9]")
    split = read_png_split(tmp_path, ["a.png", "b.png"], "labels.json", CAPS)
    np.testing.assert_array_equal(split.images, IMAGES)
    assert split.labels.tolist() == [0, 1, 2, 3, 4, 9]


@FUZZ
@given(content=damaged(WHOLE))
def test_any_bytes_are_images_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.png"
    refuses_or_reads(lambda: read_png_rows(path, 32, CAPS), path, content, CAPS)


@pytest.mark.parametrize(
    ("content", "fault", "expected"),
    [
        (b"not an image", "is not an image", "a whole PNG image"),
        (WHOLE[: len(WHOLE) // 2], "truncated", "a whole PNG image"),
        (image_bytes(ROWS, "WEBP"), "is not an image", "a whole PNG image"),
        (image_bytes(ROWS[:, :1000]), "RGB rows of 1,000 pixels", "RGB rows of 1,024"),
        (image_bytes(ROWS[:, :, 0]), "L rows of 1,024 pixels", "RGB rows of 1,024"),
        (image_bytes(np.tile(ROWS, (10, 1, 1))), "1,024 x 60 pixels", "at most 50,000 pixels"),
    ],
    ids=short,
)
def test_an_error_names_file_fault_and_expectation(
    content: bytes, fault: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "data_batch_1.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_png_rows(path, 32, CAPS)
    assert caught.value.path == str(path)
    assert fault in caught.value.fault
    assert expected in caught.value.expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@FUZZ
@given(content=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_labels_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    refuses_or_reads(lambda: read_json_labels(path, CAPS), path, content, CAPS)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1, 2", "is not JSON"),
        ("[" * 700, "is not JSON"),
        ('{"labels": [1]}', "is not a list of whole numbers"),
        ("[1, 2.0]", "is not a list of whole numbers"),
        ("[true]", "is not a list of whole numbers"),
        ("[1, 10]", "a label out of range"),
        ("[-1]", "a label out of range"),
        ("[" + "1, " * 400 + "1]", "is too long"),
    ],
    ids=short,
)
def test_bad_labels_are_refused(text: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(DataError, match=fault):
        read_json_labels(path, CAPS)
