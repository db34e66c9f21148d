"""The section `[serving]`: what it takes, and in whose words it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.config import Compile, ServingConfig
from torchkeep.dtype import Dtype
from torchkeep.errors import SettingsError
from torchkeep.settings import Settings

TOML = """
[serving]
dtype = "bfloat16"
channels_last = true
compile = "cuda_graphs"
size_classes = [2, 8]
"""
WANTED = ServingConfig(
    dtype=Dtype.BFLOAT16,
    channels_last=True,
    compile=Compile.CUDA_GRAPHS,
    size_classes=(2, 8),
)


def serving(toml: str, tmp_path: Path, **variables: str) -> ServingConfig:
    file = tmp_path / "torchkeep.toml"
    file.write_text(toml)
    return Settings.load(file, variables).section("serving", ServingConfig)


def test_the_file_says_it(tmp_path: Path) -> None:
    assert serving(TOML, tmp_path) == WANTED


def test_variables_say_the_same(tmp_path: Path) -> None:
    said = serving(
        "",
        tmp_path,
        TORCHKEEP_SERVING_DTYPE="bfloat16",
        TORCHKEEP_SERVING_CHANNELS_LAST="true",
        TORCHKEEP_SERVING_COMPILE="cuda_graphs",
        TORCHKEEP_SERVING_SIZE_CLASSES="2, 8",
    )
    assert said == WANTED


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('dtype = "float16"', "Choose from: float32, bfloat16"),
        ('compile = "yes"', "Choose from: none, compile, cuda_graphs"),
        ("size_classes = []", "Give 1 to 8 batch sizes"),
        ("size_classes = [0, 4]", "Give 1 to 8 batch sizes"),
        ("size_classes = [true]", "Give 1 to 8 batch sizes"),
        ('size_classes = ["4"]', "Give 1 to 8 batch sizes"),
        ("size_classes = [1, 2, 3, 4, 5, 6, 7, 8, 9]", "Give 1 to 8 batch sizes"),
        ("size_classes = [4, 1]", "rising order"),
        ("size_classes = [4, 4]", "rising order"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(line: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=fault) as caught:
        serving(f"[serving]\n{line}", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TORCHKEEP_SERVING_SIZE_CLASSES is 'many'"):
        serving("", tmp_path, TORCHKEEP_SERVING_SIZE_CLASSES="1,many")
