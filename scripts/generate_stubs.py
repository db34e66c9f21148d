"""Make torchkeep/client/stubs from protos/, or with --check tell whether they are stale.

    python scripts/generate_stubs.py            write the stubs
    python scripts/generate_stubs.py --check    exit 1 and name the files that differ

Needs the `dev` extra (grpcio-tools, mypy-protobuf) in the versions that constraints.txt pins: the
generated text depends on them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from rich.console import Console

from torchkeep.atomic_file import write_atomic

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
PACKAGE = "torchkeep/client/stubs"
"""Where the stubs lie below the root; protoc sees the protos there, so that imports are right."""


class GenerationError(Exception):
    """The protocol compiler refused the protos, or is not installed."""


def generate() -> dict[str, bytes]:
    """Return the content of every stub by its file name.

    Raises `GenerationError` with what the compiler said.
    """
    names = sorted(proto.name for proto in PROTOS.glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        plugins = ("python", "grpc_python", "mypy", "mypy_grpc")
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"--proto_path={PACKAGE}={PROTOS}",
            *(f"--{plugin}_out={scratch}" for plugin in plugins),
            *(f"{PACKAGE}/{name}" for name in names),
        ]
        result = subprocess.run(  # noqa: S603  (nothing in the command comes from outside)
            command, env=_environment(), capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise GenerationError(result.stderr.strip())
        return {path.name: path.read_bytes() for path in (Path(scratch) / PACKAGE).iterdir()}


def _environment() -> dict[str, str]:
    """Return the environment with our scripts first on PATH: protoc looks for plugins there."""
    scripts = sysconfig.get_path("scripts")
    return {**os.environ, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")])}


def stale(fresh: dict[str, bytes], folder: Path) -> list[str]:
    """Return the names of the stubs in `folder` that are missing, changed or left over."""
    present = {path.name: path.read_bytes() for path in folder.glob("*_pb2*.py*")}
    return sorted(name for name in fresh | present if fresh.get(name) != present.get(name))


def write(fresh: dict[str, bytes], folder: Path) -> None:
    """Bring `folder` up to date: write what is new or changed, remove what is left over."""
    for name in stale(fresh, folder):
        if name in fresh:
            write_atomic(folder / name, fresh[name])
        else:
            (folder / name).unlink()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    check: bool = parser.parse_args(arguments).check
    console = Console(stderr=True)
    try:
        fresh = generate()
    except GenerationError as error:
        console.print(f"protoc failed: {error}", markup=False)
        return 1
    folder = ROOT / PACKAGE
    changed = stale(fresh, folder)
    if check:
        for name in changed:
            console.print(f"stale: {PACKAGE}/{name}. Run python scripts/generate_stubs.py.")
        return 1 if changed else 0
    write(fresh, folder)
    console.print(f"{len(changed)} of {len(fresh)} stubs written to {PACKAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
