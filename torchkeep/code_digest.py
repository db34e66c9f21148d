"""One hash for the code that is there, so that what was made by other code can be told."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path


def code_digest(*packages: str) -> str:
    """Return the SHA-256, in hexadecimal, of every .py file of some packages.

    Depends on the files' contents and their paths within the packages, not on where these are
    installed nor on the order they are named in. Nothing is imported. Raises
    `ModuleNotFoundError` if there is no such package.
    """
    digest = hashlib.sha256()
    for package in sorted(set(packages)):
        folder = _folder(package)
        for file in sorted(folder.rglob("*.py")):
            name = f"{package}/{file.relative_to(folder).as_posix()}"
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{content} {name}\n".encode())
    return digest.hexdigest()


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {package!r}", name=package)
    return Path(spec.origin).parent
