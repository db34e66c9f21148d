"""A gateway for a whole module of tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.grpc_front.fronts import Front, front
from torchkeep.artifact import ModelArtifact


@pytest.fixture(scope="module")
def served(
    digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    with front(digits_artifact, tmp_path_factory.mktemp("front")) as made:
        yield made
