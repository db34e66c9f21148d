"""One server for all foreign clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.served import Served, serving
from torchkeep.artifact import ModelArtifact


@pytest.fixture(scope="session")
def served(
    digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with serving(digits_artifact, tmp_path_factory.mktemp("clients")) as running:
        yield running
