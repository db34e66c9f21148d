"""pyproject.toml, constraints.txt, docs/dependencies.md and the project's imports agree."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house.floors import FLOORS
from tests.house.source_files import (
    PACKAGES,
    ROOT,
    imported_modules,
    module_name,
    parse,
    python_files,
)

CUDA_LIBRARIES = re.compile(r"nvidia-(?!ml-py)|cuda-|triton$")
"""What a CUDA build of torch pins by itself; a CPU build needs none of it."""


@cache
def declared() -> dict[str, frozenset[str]]:
    """Return the extras (`base` for none) that name each direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"base": project["dependencies"], **project["optional-dependencies"]}
    named: dict[str, set[str]] = {}
    for extra, requirements in groups.items():
        for requirement in requirements:
            named.setdefault(canonicalize_name(Requirement(requirement).name), set()).add(extra)
    return {name: frozenset(extras) for name, extras in named.items()}


@cache
def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if not line.startswith("#"))
    return {str(canonicalize_name(name)): version for name, version in pins}


def needed_by(requirement: Requirement) -> list[Requirement]:
    """Return what an installed distribution needs on this machine, with the extras asked for."""
    environments = [{"extra": extra} for extra in ("", *requirement.extras)]
    return [
        needed
        for needed in map(Requirement, metadata.requires(requirement.name) or ())
        if needed.marker is None or any(map(needed.marker.evaluate, environments))
    ]


def closure(roots: Iterable[str]) -> set[str]:
    """Return the names of everything that is needed, directly or not, but for CUDA libraries."""
    seen: set[str] = set()
    waiting = [Requirement(name) for name in roots]
    while waiting:
        requirement = waiting.pop()
        if str(requirement) not in seen and not CUDA_LIBRARIES.match(requirement.name):
            seen.add(str(requirement))
            waiting += needed_by(requirement)
    return {str(canonicalize_name(Requirement(text).name)) for text in seen}


def test_every_line_of_the_constraints_is_an_exact_public_pin() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [
        line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)
    ] == []
    assert len(pins) == len(pinned())


def test_the_constraints_pin_all_that_is_needed_and_nothing_else() -> None:
    assert set(pinned()) == closure(declared())


def test_what_is_installed_here_is_what_is_pinned() -> None:
    installed = {name: Version(metadata.version(name)).public for name in pinned()}
    assert installed == {name: Version(version).public for name, version in pinned().items()}


def test_the_build_uses_the_pinned_setuptools() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert build["requires"] == [f"setuptools=={pinned()['setuptools']}"]


def test_there_is_one_torch_and_nothing_that_needs_another() -> None:
    rivals = {"torchvision", "torchaudio", "torchtext", "tensorflow", "intel-extension-for-pytorch"}
    assert not rivals & set(pinned())
    assert not [name for name in pinned() if CUDA_LIBRARIES.match(name)]


def documented() -> Mapping[str, tuple[str, frozenset[str]]]:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([\w.-]+) \| ([\d.]+) \| [^|]+ \| ([\w, ]+) \| [^|]+ \| [^|]+ \|$", page, re.M
    )
    return {
        str(canonicalize_name(name)): (version, frozenset(extras.split(", ")))
        for name, version, extras in rows
    }


def test_the_page_names_each_direct_dependency_its_version_and_extras() -> None:
    assert documented() == {name: (pinned()[name], extras) for name, extras in declared().items()}


@cache
def distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@cache
def peers_own(module: str) -> frozenset[str]:
    """Return what a peer (of a check or a benchmark) may import: it has its own environment."""
    path = ROOT.joinpath(*module.split(".")).parent / "requirements.txt"
    ours = ("tests.crosschecks.", "tests.clients.")
    peer = module.startswith(ours) and module.endswith(".peer")
    if not peer and not module.startswith("loadtests.benchmarks.peers."):
        return frozenset()
    if not path.exists():
        return frozenset()
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(Requirement(line).name for line in lines if line and line[0] != "#")


def undeclared(tree: ast.Module, module: str) -> set[str]:
    """Return the third-party packages that a module imports but pyproject.toml does not name."""
    ours = {folder.split(".")[0] for folder in FLOORS} | {"tests"}
    roots = {name.split(".")[0] for name in imported_modules(tree, module, is_package=True)} - {
        *ours,
        *sys.stdlib_module_names,
        "google",
        *peers_own(module),
    }
    return {
        root
        for root in roots
        if not {canonicalize_name(name) for name in distributions().get(root, [])} & set(declared())
    }


def test_every_module_imports_only_declared_packages() -> None:
    files = python_files(*PACKAGES, "loadtests", "scripts", "tests")
    found = {module_name(path): undeclared(parse(path), module_name(path)) for path in files}
    assert {name: roots for name, roots in found.items() if roots} == {}


def test_a_peer_pins_what_it_imports_for_itself() -> None:
    peer = "tests.crosschecks.autoattack.peer"
    assert undeclared(ast.parse("import pyautoattack"), peer) == set()
    assert undeclared(ast.parse("import pyautoattack"), "torchkeep.x") == {"pyautoattack"}
    assert undeclared(ast.parse("import requests"), peer) == {"requests"}
    server = "loadtests.benchmarks.peers.litserve.server"
    assert undeclared(ast.parse("import litserve"), server) == set()
    assert undeclared(ast.parse("import mlserver"), server) == {"mlserver"}


def test_an_undeclared_import_is_found() -> None:
    source = "import requests\nimport json\nimport torch\nfrom nowhere import x\nimport handlers"
    assert undeclared(ast.parse(source), "torchkeep.x") == {"requests", "nowhere"}
