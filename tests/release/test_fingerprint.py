"""What a server is known by: a change of anything that decides its answers is another server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from release.fingerprint import SERVED_PACKAGES
from release.fingerprint import fingerprint as fingerprint_of
from release.vet import opened
from tests.release.conftest import settings


def fingerprint(
    archive: Path, gateway: Mapping[str, object] | None = None, **server: object
) -> str:
    with opened(archive) as vetted:
        return fingerprint_of(vetted, settings(gateway, **server))


def test_new_code_of_the_same_version_is_another_server(
    toy_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "packages" / "toy_served" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setattr("release.fingerprint.SERVED_PACKAGES", (*SERVED_PACKAGES, "toy_served"))
    before = fingerprint(toy_archive)
    assert fingerprint(toy_archive) == before
    module.write_text("answer = 42\n")
    assert fingerprint(toy_archive) != before


def test_other_settings_are_another_server(toy_archive: Path) -> None:
    assert fingerprint(toy_archive, workers=2) != fingerprint(toy_archive)
    assert fingerprint(toy_archive, {"max_batch": 7}) != fingerprint(toy_archive)
    assert "gateway" in SERVED_PACKAGES


def test_another_certificate_in_the_same_file_is_another_server(
    toy_archive: Path, tmp_path: Path
) -> None:
    tls = {"tls_certificate": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    (tmp_path / "server.pem").write_text("old")
    before = fingerprint(toy_archive, tls)
    assert fingerprint(toy_archive, tls) == before
    (tmp_path / "server.pem").write_text("new")
    assert fingerprint(toy_archive, tls) != before
