from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project of the module's own; whatever serves there is stopped at the end."""
    found = Project(tmp_path_factory.mktemp("project"))
    yield found
    found.run("down")
