"""Each folder of modules is a package, so two files of one name never meet as one module."""

from __future__ import annotations

from tests.house.source_files import PACKAGES, ROOT, python_files


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in python_files(*PACKAGES, "loadtests", "tests")}
    assert [str(path) for path in sorted(folders) if not (path / "__init__.py").is_file()] == []
    assert ROOT / "tests" / "house" in folders
