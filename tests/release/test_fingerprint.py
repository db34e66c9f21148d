"""What a server is known by: a change of anything that decides its answers is another server."""

from __future__ import annotations

from pathlib import Path

import pytest

from release.server import SERVED_PACKAGES, _fingerprint
from release.vet import opened
from tests.release.conftest import settings


def fingerprint(archive: Path, **server: object) -> str:
    with opened(archive) as vetted:
        return _fingerprint(vetted, settings(**server))


def test_new_code_of_the_same_version_is_another_server(
    toy_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "packages" / "toy_served" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setattr("release.server.SERVED_PACKAGES", (*SERVED_PACKAGES, "toy_served"))
    before = fingerprint(toy_archive)
    assert fingerprint(toy_archive) == before
    module.write_text("answer = 42\n")
    assert fingerprint(toy_archive) != before


def test_other_settings_are_another_server(toy_archive: Path) -> None:
    assert fingerprint(toy_archive, workers=2) != fingerprint(toy_archive)
