"""A server whose callers, disks and clocks misbehave, and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.faults.ledger import Ledger
from tests.gateway.served import Images, Served, serving
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits

MOST_QUEUED = 4_000
HEADER_S = 3.0
BODY_S = 3.0
IMPATIENT = {
    "TORCHKEEP_GATEWAY_HEADER_TIMEOUT_S": str(HEADER_S),
    "TORCHKEEP_GATEWAY_BODY_TIMEOUT_S": str(BODY_S),
    "TORCHKEEP_GATEWAY_KEEP_ALIVE_S": "20",
    "TORCHKEEP_GATEWAY_MAX_QUEUED_ITEMS": str(MOST_QUEUED),
}
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def images(digits: Splits) -> Images:
    """100 test digits, N 1 8 8."""
    return digits.test.images[:100]


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the seconds by which the wall clock of `enduring`'s processes is off."""
    file = tmp_path_factory.mktemp("clock") / "offset"
    file.write_text("0")
    return file


@pytest.fixture(scope="session")
def enduring(
    digits_artifact: ModelArtifact, clock: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server with little patience and a small queue, whose wall clock can be moved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE / "wall_clock"))
        patch.setenv("WALL_CLOCK_OFFSET", str(clock))
        with serving(digits_artifact, tmp_path_factory.mktemp("enduring"), IMPATIENT) as running:
            yield running


@pytest.fixture
def ledger(enduring: Served, images: Images) -> Ledger:
    enduring.until_healthy()
    return Ledger(enduring, images)
