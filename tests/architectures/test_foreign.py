"""A class of others is imported only if the user trusts it by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from torchkeep.architectures import build
from torchkeep.architectures.foreign import (
    ModelsConfig,
    construct,
    setting_to_trust,
    trusted_by_settings,
    trusting,
)
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape

NETWORKS = "tests.architectures.networks"
NET = f"{NETWORKS}:FeaturesAndHead"
TRACE = """
from pathlib import Path
Path("imported").touch()
from tests.architectures.networks import FeaturesAndHead
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHKEEP_MODELS_TRUSTED", raising=False)
    return tmp_path


def test_what_is_not_trusted_is_not_even_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "unknown_code.py").write_text(TRACE)
    monkeypatch.syspath_prepend(folder / "code")
    name = "unknown_code:FeaturesAndHead"
    options = {"arguments": {}, "head": "head", "taps": [], "mean": [], "std": []}
    shape = ImageShape(channels=3, height=8, width=8)
    with pytest.raises(SettingsError, match="is not trusted, so it is not imported"):
        build(name, shape, 5, options)
    assert not (folder / "imported").exists()
    with trusting(name):
        assert build(name, shape, 5, options).head.out_features == 5
    assert (folder / "imported").exists()


def test_trust_ends_with_the_block() -> None:
    with trusting(NET):
        construct(NET, {})
        with pytest.raises(SettingsError, match="is not trusted"):
            construct(f"{NETWORKS}:Residual", {})
    with pytest.raises(SettingsError, match="is not trusted"):
        construct(NET, {})


def test_the_settings_file_trusts(folder: Path) -> None:
    (folder / "torchkeep.toml").write_text(f'[models]\ntrusted = ["{NET}"]\n')
    assert isinstance(construct(NET, {}), nn.Module)


def test_one_name_without_brackets_is_told_how_to_be_written(folder: Path) -> None:
    (folder / "torchkeep.toml").write_text(f'[models]\ntrusted = "{NET}"\n')
    with pytest.raises(SettingsError) as caught:
        construct(NET, {})
    assert f'Give a list: trusted = ["{NET}"].' in str(caught.value)


def test_the_environment_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHKEEP_MODELS_TRUSTED", f"other:Net, {NET}")
    assert isinstance(construct(NET, {}), nn.Module)
    assert trusted_by_settings() == ("other:Net", NET)


def test_the_remedy_is_the_setting_to_write_and_it_works(folder: Path) -> None:
    (folder / "torchkeep.toml").write_text('[models]\ntrusted = ["other:Net"]\n')
    with pytest.raises(SettingsError) as caught:
        construct(NET, {})
    listed = f'["other:Net", "{NET}"]'
    assert f"write trusted = {listed} below [models]" in caught.value.remedy
    assert f"TORCHKEEP_MODELS_TRUSTED=other:Net,{NET}" in caught.value.remedy
    (folder / "torchkeep.toml").write_text(f"[models]\ntrusted = {listed}\n")
    construct(NET, {})
    assert setting_to_trust(NET).count(NET) == 2


def test_arguments_and_functions_make_networks() -> None:
    with trusting(f"{NETWORKS}:LogSoftmax"), trusting(f"{NETWORKS}:deep"):
        network = construct(f"{NETWORKS}:LogSoftmax", {"classes": 3, "hidden": 7})
        assert (network.fc2.in_features, network.fc2.out_features) == (7, 3)
        assert len(construct(f"{NETWORKS}:deep", {"depth": 2})) == 6


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_package:Net", "No module named 'no_such_package'. Install its package"),
        (f"{NETWORKS}:FeatureAndHead", "Did you mean 'FeaturesAndHead'?"),
        (f"{NETWORKS}:NotANetwork", "is no network. Name a class derived from torch.nn.Module."),
        (f"{NETWORKS}:GOOD", "is no network"),
        (f"{NETWORKS}:makes_none", "made a NotANetwork"),
        (f"{NETWORKS}:Demanding", "(depth=3) failed: ValueError: a depth of 3. Give the arguments"),
        (f"{NETWORKS}:Residual", "(depth=3) failed: TypeError"),
    ],
)
def test_what_makes_no_network_is_one_line(name: str, told: str) -> None:
    with trusting(name), pytest.raises(SettingsError) as caught:
        construct(name, {"depth": 3} if name.endswith(("Demanding", "Residual")) else {})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_lies_here_is_told_where_it_must_lie(folder: Path) -> None:
    (folder / "my_nets.py").write_text("from nothing import at_all")
    with trusting("my_nets:Net"), pytest.raises(SettingsError) as caught:
        construct("my_nets:Net", {})
    assert f"set PYTHONPATH={folder}." in caught.value.remedy


@pytest.mark.parametrize(
    "name", ["", "Net", "pkg.Net", "pkg:", ":Net", "pkg:Net()", "../pkg:Net", "pkg:Net:x", "p kg:N"]
)
def test_what_names_no_class_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="names no class"):
        ModelsConfig(trusted=(name,))
    with pytest.raises(SettingsError, match="names no class"), trusting(name):
        pass
