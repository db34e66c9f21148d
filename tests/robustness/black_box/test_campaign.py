"""Attacks on a real server of a real network: budgets, counts, going on, and faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robustness.attacks.apgd import APGD
from robustness.black_box.campaign import Campaign
from robustness.black_box.endpoint import LONGEST_WAIT_S, TRIES, BudgetSpentError, Endpoint
from robustness.black_box.results import Outcome, Results, open_results
from robustness.screened_model import load_classifier
from tests.conftest import quiet
from tests.robustness.black_box.conftest import Digits
from torchkeep.artifact import ModelArtifact
from torchkeep.client import Client, failures
from torchkeep.data import Splits
from torchkeep.errors import ServerError, SettingsError, UserError
from torchkeep.threat_model import parse_threat

IMAGES = 6


def campaign(digits: Splits, attack: str = "square", **more: object) -> Campaign:
    values = {
        "attack": attack,
        "threat": parse_threat("linf:0.3"),
        "images": digits.test.images[:IMAGES],
        "labels": digits.test.labels[:IMAGES],
        "classes": 10,
    }
    return Campaign(**(values | more))  # type: ignore[arg-type]


def endpoint(client: Client, budget: int) -> Endpoint:
    return Endpoint(client=client, budget=budget, sleep=lambda _: None)


def attacked(planned: Campaign, asked: Endpoint, path: Path) -> Results:
    with open_results(path) as results:
        planned.run(asked, results, quiet)
        return results


def test_square_comes_near_the_white_box(
    client: Client, server: Digits, digits: Splits, digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    planned = campaign(digits)
    asked = endpoint(client, 1200)
    results = attacked(planned, asked, tmp_path / "r")
    images = torch.from_numpy(planned.images).float() / 255
    white = APGD(threat=planned.threat, steps=40)(
        load_classifier(digits_artifact), images, torch.from_numpy(planned.labels)
    )
    wrong = sum(row.outcome is not Outcome.HELD for row in results.images)
    assert wrong >= int(white.successful.sum()) - 1
    assert any(row.outcome is Outcome.FOOLED and row.accepted for row in results.images)
    assert results.queries == asked.used == server.answered <= 1200
    for row in results.images:
        assert row.distance is None or row.distance <= 0.3 + 1e-5


@pytest.mark.parametrize("attack", ["square", "hopskipjump"])
@pytest.mark.parametrize("budget", [0, 3, 61])
def test_never_more_than_the_budget(
    client: Client, server: Digits, digits: Splits, tmp_path: Path, attack: str, budget: int
) -> None:
    tiny = campaign(digits, attack, threat=parse_threat("linf:0.001"))
    results = attacked(tiny, endpoint(client, budget), tmp_path / "r")
    assert server.answered == results.queries <= budget
    assert (server.answered > 0) == (budget >= 1)  # repeats are free, so less may be spent


def test_square_spends_its_budget_on_small_images_that_hold(
    client: Client, digits: Splits, tmp_path: Path
) -> None:
    tiny = campaign(digits, threat=parse_threat("linf:0.001"))
    results = attacked(tiny, endpoint(client, 1800), tmp_path / "r")
    held = [row for row in results.images if row.outcome is Outcome.HELD]
    assert len(held) >= 4
    assert all(row.queries >= 300 for row in held)  # one search alone ends at about 130


def test_square_ends_where_no_image_is_left_to_ask(
    client: Client, digits: Splits, tmp_path: Path
) -> None:
    tiny = campaign(digits, threat=parse_threat("linf:0.001"), levels=True)
    results = attacked(tiny, endpoint(client, 1800), tmp_path / "r")
    assert results.queries == IMAGES  # half a level is no other image


@pytest.mark.parametrize("attack", ["square", "hopskipjump"])
def test_what_would_attack_nothing_is_refused(digits: Splits, attack: str) -> None:
    with pytest.raises(SettingsError, match=f"{attack} cannot do l1 3"):
        campaign(digits, attack, threat=parse_threat("l1:3"))


class _Watched(nn.Module):
    """A linear network that keeps what it is asked."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.asked: list[torch.Tensor] = []
        self.weights = torch.randn(size, 10, generator=torch.Generator().manual_seed(0)) / 100

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.asked.append(images)
        return images.flatten(1) @ self.weights


@pytest.mark.parametrize("margin", [0, 1, 10])
def test_square_in_l2_asks_for_numbers_within_its_threat(
    client: Client, server: Digits, digits: Splits, tmp_path: Path, margin: int
) -> None:
    sides = ((0, 0), (0, 0), (margin, margin), (margin, margin))
    images = np.pad(digits.test.images[:1], sides)
    server.network = network = _Watched(images.size)
    pixels = torch.from_numpy(images).float() / 255
    labels = network(pixels).argmax(1).numpy()
    small = campaign(digits, threat=parse_threat("l2:0.01"), images=images, labels=labels)
    results = attacked(small, endpoint(client, 300), tmp_path / "r")
    moved = torch.cat(network.asked) - pixels
    assert results.queries > 290
    assert moved.flatten(1).norm(dim=1).max() <= 0.01 + 1e-5  # what is no number is not


def test_hopskipjump_wins_over_grpc_from_decisions_alone(
    grpc_client: Client, server: Digits, digits: Splits, tmp_path: Path
) -> None:
    server.hides = True
    planned = campaign(digits, "hopskipjump", threat=parse_threat("linf:0.5"))
    results = attacked(planned, endpoint(grpc_client, 3000), tmp_path / "r")
    assert any(row.outcome is Outcome.FOOLED for row in results.images)


def test_transfer_costs_at_most_two_queries_an_image(
    client: Client, digits: Splits, digits_artifact: ModelArtifact, tmp_path: Path
) -> None:
    planned = campaign(digits, "transfer", source=load_classifier(digits_artifact).eval())
    results = attacked(planned, endpoint(client, 100), tmp_path / "r")
    assert all(1 <= row.queries <= 2 for row in results.images)
    assert any(row.outcome is Outcome.FOOLED for row in results.images)


def test_square_says_that_it_needs_probabilities(
    client: Client, server: Digits, digits: Splits, tmp_path: Path
) -> None:
    server.hides = True
    with pytest.raises(SettingsError, match="hopskipjump"):
        attacked(campaign(digits), endpoint(client, 100), tmp_path / "r")


def test_what_is_rejected_is_no_win(
    client: Client, server: Digits, digits: Splits, tmp_path: Path
) -> None:
    server.rejects = True
    asked = endpoint(client, 60)
    results = attacked(campaign(digits), asked, tmp_path / "r")
    assert {row.outcome for row in results.images} == {Outcome.HELD}
    assert asked.statuses == {"rejected": asked.used}


def test_an_endpoint_that_dies_leaves_what_is_finished_and_it_goes_on(
    client: Client, server: Digits, digits: Splits, tmp_path: Path
) -> None:
    tiny = campaign(digits, threat=parse_threat("linf:0.001"))
    server.dies_after = 25
    with pytest.raises(ServerError):
        attacked(tiny, endpoint(client, 60), tmp_path / "r")
    with open_results(tmp_path / "r") as kept:
        before = list(kept.images)
        assert kept.queries == server.answered == 25
    assert 0 < len(before) < IMAGES
    server.dies_after = None
    results = attacked(tiny, endpoint(client, 60 - 25), tmp_path / "r")
    assert results.images[: len(before)] == before
    assert sorted(row.index for row in results.images) == list(range(IMAGES))
    assert server.answered == results.queries <= 60


def test_a_throttled_call_is_sent_again_and_counted(
    client: Client, server: Digits, digits: Splits
) -> None:
    server.throttle_every = 2
    asked = endpoint(client, 10)
    for at in range(4):
        asked.ask(digits.test.images[at : at + 1])
    assert asked.throttles > 0
    assert asked.used == server.answered == 4


@pytest.mark.parametrize(
    ("error", "busy"),
    [
        (failures.of_http(429, b"", None), True),
        (failures.of_http(503, b"", None), True),
        (failures.of_rpc("RESOURCE_EXHAUSTED", "", "x", None), True),
        (failures.of_http(404, b"", None), False),
        (failures.unreachable("x", "refused"), False),
    ],
)
def test_only_a_busy_server_counts_as_throttling(error: UserError, busy: bool) -> None:
    assert failures.is_throttle(error) is busy


def test_waits_are_bounded(client: Client, server: Digits, digits: Splits) -> None:
    server.throttle_every = 1
    waits: list[float] = []
    asked = Endpoint(client=client, budget=10, sleep=waits.append)
    with pytest.raises(Exception, match="slow down"):
        asked.ask(digits.test.images[:1])
    assert len(waits) == TRIES - 1
    assert sum(waits) < 10
    assert asked.used == 0


@pytest.mark.parametrize(("said", "longest"), [("2", 2.0), ("0", 0.5), ("999999", LONGEST_WAIT_S)])
@pytest.mark.parametrize("protocol", ["client", "grpc_client"])
def test_it_waits_as_long_as_the_server_asks(
    request: pytest.FixtureRequest,
    server: Digits,
    digits: Splits,
    protocol: str,
    said: str,
    longest: float,
) -> None:
    server.throttle_every, server.retry_after = 2, said
    waits: list[float] = []
    asked = Endpoint(client=request.getfixturevalue(protocol), budget=10, sleep=waits.append)
    for at in range(3):
        asked.ask(digits.test.images[at : at + 1])
    assert asked.throttles == len(waits) == 2
    assert asked.used == server.answered == 3
    assert all(min(float(said), longest) <= wait <= longest for wait in waits)


def test_a_call_over_the_budget_asks_nothing(
    client: Client, server: Digits, digits: Splits
) -> None:
    with pytest.raises(BudgetSpentError):
        endpoint(client, 2).ask(digits.test.images[:3])
    assert server.calls == 0


def test_uint8_stays_in_the_ball(client: Client, digits: Splits, tmp_path: Path) -> None:
    planned = campaign(digits, levels=True)
    results = attacked(planned, endpoint(client, 600), tmp_path / "r")
    found = [row.distance for row in results.images if row.distance is not None]
    assert found
    assert max(found) <= 0.3
    assert np.allclose(np.array(found) * 255, np.rint(np.array(found) * 255), atol=1e-3)


def test_the_same_seed_gives_the_same_results(
    client: Client, digits: Splits, tmp_path: Path
) -> None:
    first = attacked(campaign(digits), endpoint(client, 300), tmp_path / "a")
    second = attacked(campaign(digits), endpoint(client, 300), tmp_path / "b")
    assert first.images == second.images
