"""What must start fast, or run where torch is not, imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.house.source_files import ROOT, module_name, python_files

HEAVY = frozenset({"torch", "art", "captum", "sklearn", "ts", "locust"})
LIGHT = ("torchkeep.client", "torchkeep.data", "torchkeep.envelope")


def loaded_by(*modules: str) -> set[str]:
    """Return the top-level names in `sys.modules` of a fresh Python that imported `modules`."""
    script = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(json.dumps([name for name in sys.modules if '.' not in name]))"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def modules_under(*packages: str) -> list[str]:
    folders = (package.replace(".", "/") for package in packages)
    return [module_name(path) for path in python_files(*folders)]


def test_no_monitoring_module_brings_torch_in() -> None:
    assert "torch" not in loaded_by(*modules_under("monitoring"))


def test_client_data_and_settings_bring_nothing_heavy_in() -> None:
    single = [module_name(path) for path in (ROOT / "torchkeep").glob("*.py")]
    light = [name for name in single if name != "torchkeep.artifact"]
    assert not loaded_by(*light, *modules_under(*LIGHT)) & HEAVY


def test_the_command_line_starts_without_anything_heavy() -> None:
    assert not loaded_by("torchkeep.cli.main") & HEAVY


def test_the_check_sees_a_heavy_import() -> None:
    assert loaded_by("sklearn") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["status", "--help"]])
def test_help_needs_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from torchkeep.cli.main import main\n"
        f"sys.argv = ['torchkeep', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"assert not {set(HEAVY)!r} & set(sys.modules)"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
