"""Settings of the data loader."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeep.data import DataConfig
from torchkeep.errors import SettingsError
from torchkeep.settings import Settings


def test_data_are_kept_in_torchkeeps_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path))
    assert DataConfig().folder("mnist") == tmp_path / "data" / "mnist"
    assert DataConfig(directory=Path("/x")).folder("mnist") == Path("/x/mnist")


def test_settings_fill_it(tmp_path: Path) -> None:
    file = tmp_path / "torchkeep.toml"
    file.write_text('[data]\ndirectory = "/data"\nresize = 32\ntest_share = 0.2\n')
    variables = {"TORCHKEEP_DATA_MAX_IMAGES": "7"}
    config = Settings.load(file, variables).section("data", DataConfig)
    assert config == DataConfig(directory=Path("/data"), resize=32, test_share=0.2, max_images=7)
    assert config.caps.images == 7


@pytest.mark.parametrize(
    "values",
    [
        {"max_images": 0},
        {"max_pixels": -1},
        {"max_bytes": 0},
        {"max_classes": 0},
        {"max_download_bytes": 0},
        {"download_timeout_s": 0},
        {"resize": 0},
        {"test_share": 0.0},
        {"test_share": 1.0},
        {"test_share": float("nan")},
        {"test_seed": -1},
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(values))):
        DataConfig(**values)
