"""Imports only go down the floors of the house."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.floors import FLOORS, folder_of, violations
from tests.house.source_files import (
    PACKAGES,
    ROOT,
    imported_modules,
    module_name,
    parse,
    python_files,
)

FILES = python_files(*PACKAGES, "loadtests")


def faults_of(source: str, module: str, *, is_package: bool = False) -> list[str]:
    return violations(module, imported_modules(ast.parse(source), module, is_package=is_package))


def imports_of(path: Path) -> list[str]:
    is_package = path.name == "__init__.py"
    return list(imported_modules(parse(path), module_name(path), is_package=is_package))


def test_every_module_imports_only_what_its_floor_may() -> None:
    found = [fault for path in FILES for fault in violations(module_name(path), imports_of(path))]
    assert found == []


def test_every_top_level_folder_with_python_stands_on_a_floor() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert folders <= {folder.split(".")[0] for folder in FLOORS}


def test_the_architecture_page_shows_the_same_floors() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| *(\d) *\| *`([a-z/]+?)/?` *[|(]", page, flags=re.MULTILINE)
    shown = {folder.replace("/", "."): int(floor) for floor, folder in rows}
    built = {folder: floor for folder, floor in FLOORS.items() if folder_exists(folder)}
    assert shown.items() >= built.items()
    assert shown.items() <= FLOORS.items()


def folder_exists(folder: str) -> bool:
    return (ROOT / folder.replace(".", "/")).is_dir()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("torchkeep.data.mnist", "import robustness.attacks.pgd"),
        ("torchkeep.data.mnist", "from torchkeep import cli"),
        ("torchkeep.schema", "from torchkeep.cli.main import main"),
        ("release.server", "from torchkeep.cli import up"),
        ("robustness.heads", "from monitoring.request_log import RequestLog"),
        ("monitoring.drift", "def late():\n    from robustness import heads"),
        ("monitoring.drift", "import torch"),
        ("monitoring.drift", "def late():\n    from torch import nn"),
        ("monitoring.drift", "import importlib\nimportlib.import_module('torch.nn')"),
        ("monitoring.drift", "from ..handlers import service"),
        ("training.loop", "from handlers import service"),
        ("handlers.service", "if TYPE_CHECKING:\n    from training.loop import Loop"),
        ("gateway.router", "from handlers.service import Service"),
        ("gateway.router", "from monitoring.drift import Drift"),
        ("gateway.router", "from robustness.heads import Head"),
        ("release.gate", "from loadtests import locustfile"),
        ("loadtests.locustfile", "from handlers.service import Service"),
        ("loadtests.locustfile", "from torchkeep.settings import Settings"),
        ("loadtests.locustfile", "from monitoring.request_log import RequestLog"),
        ("loadtests.benchmarks.peers", "from release.server import Server"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(faults_of(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("torchkeep.cli.up", "from release.server import Server\nfrom torchkeep.cli import main"),
        ("handlers.service", "from robustness.heads import Head\nfrom . import decode"),
        (
            "gateway.router",
            "from monitoring.request_log import RequestLog\nimport torchkeep.schema",
        ),
        ("loadtests.locustfile", "from torchkeep.client import Client\nimport locust"),
        ("loadtests.benchmarks.peers", "from robustness.heads import Head"),
        ("robustness.heads", "import torch\nfrom torchkeep.artifact import ModelArtifact"),
        ("monitoring.drift", "import torchkeep.schema"),
    ],
)
def test_an_import_that_may_be_is_left_alone(module: str, source: str) -> None:
    assert faults_of(source, module) == []


def test_a_relative_import_in_a_package_resolves_to_the_package_itself() -> None:
    imports = imported_modules(
        ast.parse("from . import a\nfrom .b import c"), "x.y", is_package=True
    )
    assert list(imports) == ["x.y.a", "x.y.b.c"]


def test_somebody_elses_module_stands_on_no_floor() -> None:
    assert folder_of("torchkeeper") is None
    assert folder_of("torchkeep.client.rest") == "torchkeep"
