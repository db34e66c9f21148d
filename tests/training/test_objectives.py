"""Objectives: attacks stay in the ball and leave the network alone, losses are those of papers."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import cross_entropy

from robustness.attacks.perturbation import distances, random_start
from robustness.attacks.pgd import PGD
from robustness.certification.interval_bounds import worst_logits
from torchkeep.architectures import Classifier, build
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel
from training.objectives import (
    PGDAT,
    TRADES,
    AugMix,
    FastAT,
    GaussianNoise,
    IntervalBounds,
    Moment,
    Natural,
    Objective,
)
from training.objectives.adversarial import Adversarial
from training.objectives.trades import divergence

LINF = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))
L2 = ThreatModel(norm=Norm.L2, eps=Epsilon(1.0))
ROUNDING = 1e-6


def attackers(eps: float, warm_up: float = 0.0) -> list[Adversarial]:
    """The objectives that attack; their steps together reach far out of the ball."""
    return [
        FastAT(step_size=1.25 * eps, steps=2, warm_up=warm_up),
        PGDAT(step_size=0.4 * eps, steps=5, warm_up=warm_up),
        TRADES(step_size=0.4 * eps, steps=5, warm_up=warm_up, beta=2.0),
    ]


ATTACKERS = attackers(LINF.eps)
OTHERS: list[Objective] = [Natural(), GaussianNoise(sigma=0.25), AugMix(), IntervalBounds()]
EVERY: list[Objective] = [*ATTACKERS, *OTHERS]


def kind(value: object) -> str | None:
    return value.kind if isinstance(value, Objective) else None


def network(seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("small_cnn", ImageShape(channels=1, height=8, width=8), 10, {})


def normed_network() -> Classifier:
    """A network with batch statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = ImageShape(channels=3, height=8, width=8)
        return build("resnet18", shape, 10, {"width": 4})


def batch(count: int = 32, channels: int = 1, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images of which many pixels are black or white, and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = (1.6 * torch.rand(count, channels, 8, 8, generator=generator) - 0.3).clamp(0, 1)
    return images, torch.randint(10, (count,), generator=generator)


def moment(done: float = 1.0, seed: int = 2, extra_steps: int = 0) -> Moment:
    generator = torch.Generator().manual_seed(seed)
    return Moment(done=done, generator=generator, extra_steps=extra_steps)


def attacked(objective: Objective, threat: ThreatModel, when: Moment) -> tuple[Tensor, Tensor]:
    """Return images and their attacked twins."""
    images, labels = batch()
    return images, objective.prepare(network(), images, labels, threat, when)[-1]


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
@pytest.mark.parametrize("which", range(3))
def test_attacked_images_stay_in_the_ball_and_use_it(which: int, threat: ThreatModel) -> None:
    images, twins = attacked(attackers(threat.eps)[which], threat, moment())
    moved = distances(images, twins, threat.norm)
    assert moved.max() <= threat.eps + ROUNDING
    assert moved.median() > 0.8 * threat.eps
    assert twins.min() >= 0
    assert twins.max() <= 1


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
@pytest.mark.parametrize("which", range(3))
def test_attacked_images_raise_the_loss_far_more_than_chance(
    which: int, threat: ThreatModel
) -> None:
    model, (images, labels) = network(), batch()
    twins = attackers(threat.eps)[which].prepare(model, images, labels, threat, moment())[-1]
    chance = images + random_start(images, threat, torch.Generator().manual_seed(3))
    if which == 2:
        clean = model(images)
        assert divergence(clean, model(twins)) > 5 * divergence(clean, model(chance))
    else:
        before = cross_entropy(model(images), labels)
        gain = cross_entropy(model(twins), labels) - before
        assert gain > 5 * (cross_entropy(model(chance), labels) - before).abs()


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_pgd_training_attacks_as_the_evaluation_does(threat: ThreatModel) -> None:
    model, (images, labels) = network(), batch()
    objective = PGDAT(step_size=0.3 * threat.eps, steps=4)
    twins = objective.prepare(model, images, labels, threat, moment(seed=9))[0]
    attack = PGD(threat=threat, step_size=0.3 * threat.eps, steps=4, seed=9)
    assert torch.equal(twins, attack(model, images, labels).images)


@pytest.mark.parametrize("which", range(3))
def test_the_radius_grows_with_the_training(which: int) -> None:
    objective = attackers(LINF.eps, warm_up=0.4)[which]
    for done, share in ((0.1, 0.25), (0.2, 0.5), (0.4, 1.0), (0.9, 1.0)):
        images, twins = attacked(objective, LINF, moment(done))
        assert distances(images, twins, LINF.norm).max() == pytest.approx(
            share * LINF.eps, abs=ROUNDING
        )
    assert objective.warm_from() == 0.4


@pytest.mark.parametrize(("which", "passes"), [(0, 2), (1, 5), (2, 6)])
def test_steps_that_are_added_after_a_collapse_are_taken(which: int, passes: int) -> None:
    objective, model, (images, labels) = ATTACKERS[which], network(), batch()
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for extra in (0, 2):
        calls.clear()
        objective.prepare(model, images, labels, LINF, moment(extra_steps=extra))
        assert len(calls) == passes + extra
        assert objective.attack_steps(extra) == objective.steps + extra


@pytest.mark.parametrize("objective", OTHERS, ids=kind)
def test_an_objective_that_does_not_attack_has_no_attack_steps(objective: Objective) -> None:
    assert objective.attack_steps(3) == 0


@pytest.mark.parametrize("objective", EVERY, ids=kind)
def test_preparing_leaves_no_gradient_and_no_graph(objective: Objective) -> None:
    model, (images, labels) = network(), batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepared = objective.prepare(model, images, labels, LINF, moment())
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(tensor.requires_grad for tensor in prepared)
    assert all(tensor.shape == images.shape for tensor in prepared)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(images, batch()[0])


@pytest.mark.parametrize("objective", [*ATTACKERS[1:], *OTHERS], ids=kind)
def test_an_attack_neither_uses_nor_learns_batch_statistics(objective: Objective) -> None:
    model, (images, labels) = normed_network().train(), batch(channels=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes: list[bool] = []
    model.features.register_forward_hook(lambda layer, *_: modes.append(layer.training))
    objective.prepare(model, images, labels, LINF, moment())
    assert not any(modes)
    assert model.training
    assert all(layer.training for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("objective", ATTACKERS[1:], ids=kind)
def test_an_attack_that_breaks_off_leaves_the_network_in_training_mode(
    objective: Objective,
) -> None:
    model, (images, _) = network().train(), batch()
    with pytest.raises(RuntimeError):
        objective.prepare(model, images[:, :, :7, :5], torch.zeros(3).long(), LINF, moment())
    assert model.training


@pytest.mark.parametrize("objective", EVERY, ids=kind)
def test_the_same_seed_prepares_the_same(objective: Objective) -> None:
    images, labels = batch()
    one, two, other = (
        objective.prepare(network(), images, labels, LINF, moment(seed=seed)) for seed in (4, 4, 5)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    chance = not isinstance(objective, Natural | IntervalBounds)
    assert torch.equal(one[-1], other[-1]) is not chance


@pytest.mark.parametrize("objective", EVERY, ids=kind)
def test_a_loss_is_the_mean_over_the_batch_and_reaches_every_weight(objective: Objective) -> None:
    model, (images, labels) = network(), batch(32)
    prepared = objective.prepare(model, images, labels, LINF, moment())
    loss = objective.loss(model, prepared, labels, LINF, 1.0)
    halves = [
        objective.loss(model, tuple(each[part] for each in prepared), labels[part], LINF, 1.0)
        for part in (slice(0, 8), slice(8, 32))
    ]
    assert loss.ndim == 0
    assert loss.item() == pytest.approx((halves[0] + 3 * halves[1]).item() / 4, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


@pytest.mark.parametrize("objective", [Natural(), ATTACKERS[0], ATTACKERS[1], OTHERS[1]], ids=kind)
def test_what_was_prepared_is_learnt_by_its_cross_entropy(objective: Objective) -> None:
    model, (images, labels) = network(), batch()
    prepared = objective.prepare(model, images, labels, LINF, moment())
    expected = cross_entropy(model(prepared[0]), labels)
    assert torch.equal(objective.loss(model, prepared, labels, LINF, 1.0), expected)


def test_natural_training_smooths_labels_if_told() -> None:
    model, (images, labels) = network(), batch()
    log_p = model(images).log_softmax(1)
    right = log_p[torch.arange(len(labels)), labels]
    expected = -(0.8 * right + 0.2 * log_p.mean(1)).mean()
    loss = Natural(label_smoothing=0.2).loss(model, (images,), labels, LINF, 1.0)
    assert torch.allclose(loss, expected)


def naive_divergence(logits: Tensor, others: Tensor) -> Tensor:
    each = kl_divergence(Categorical(logits=logits.double()), Categorical(logits=others.double()))
    return each.mean().float()


def test_trades_weighs_the_divergence_and_sends_gradients_through_both_answers() -> None:
    model, (images, labels) = network(), batch()
    objective = TRADES(step_size=0.04, steps=3, beta=2.5)
    prepared = objective.prepare(model, images, labels, LINF, moment())
    assert torch.equal(prepared[0], images)
    logits, others = model(images), model(prepared[1])
    expected = cross_entropy(logits, labels) + 2.5 * naive_divergence(logits, others)
    loss = objective.loss(model, prepared, labels, LINF, 1.0)
    assert torch.allclose(loss, expected, atol=1e-6)
    weights = list(model.parameters())
    ours, naive = (torch.autograd.grad(each, weights) for each in (loss, expected))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, naive, strict=True))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 2**16), scale=st.floats(0, 60), count=st.integers(1, 9))
def test_the_divergence_is_that_of_the_probabilities(seed: int, scale: float, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, others = scale * torch.randn(2, count, 5, generator=generator)
    found = divergence(logits, others)
    assert torch.isfinite(found)
    assert found >= -ROUNDING
    assert torch.allclose(found, naive_divergence(logits, others), rtol=1e-4, atol=1e-5)
    assert divergence(logits, logits) == 0


def test_noise_is_gaussian_in_every_pixel_and_not_clipped() -> None:
    images, labels = batch(500)
    (noisy,) = GaussianNoise(sigma=0.25).prepare(network(), images, labels, LINF, moment())
    noise = (noisy - images) / 0.25
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert noise.std(0).min() > 0.85  # of each pixel over the images
    assert torch.corrcoef(noise.flatten(1)[:50]).fill_diagonal_(0).abs().max() < 0.6
    assert noisy.min() < 0
    assert noisy.max() > 1


@pytest.mark.parametrize(
    ("done", "grown"), [(0.05, 0.0), (0.1, 0.0), (0.3, 0.5), (0.5, 1.0), (1.0, 1.0)]
)
def test_interval_bounds_mix_in_as_the_radius_grows(done: float, grown: float) -> None:
    model, (images, labels) = network(), batch()
    objective = IntervalBounds(kappa=0.25, natural_until=0.1, ramp_until=0.5)
    share = 1 - 0.75 * grown
    worst = cross_entropy(worst_logits(model, images, labels, grown * LINF.eps), labels)
    expected = share * cross_entropy(model(images), labels) + (1 - share) * worst
    assert torch.allclose(objective.loss(model, (images,), labels, LINF, done), expected)
    assert objective.warm_from() == 0.5


@pytest.mark.parametrize("done", [0.2, 0.4, 1.0])
def test_interval_bounds_mix_with_images_attacked_further_out(done: float) -> None:
    model, (images, labels) = network(), batch()
    objective = IntervalBounds(kappa=0.75, natural_until=0.0, ramp_until=0.4, attack_reach=2.5)
    grown = min(1.0, done / 0.4)
    prepared = objective.prepare(model, images, labels, LINF, moment(done))
    assert torch.equal(prepared[0], images)
    reached = distances(images, prepared[1], LINF.norm).max().item()
    assert reached == pytest.approx(2.5 * grown * LINF.eps, abs=ROUNDING)
    attacked = cross_entropy(model(prepared[1]), labels)
    assert attacked > cross_entropy(model(images), labels)
    worst = cross_entropy(worst_logits(model, images, labels, grown * LINF.eps), labels)
    share = 1 - 0.25 * grown
    expected = share * attacked + (1 - share) * worst
    assert torch.allclose(objective.loss(model, prepared, labels, LINF, done), expected)


def test_interval_bounds_attack_as_fast_training_does() -> None:
    model, (images, labels) = network(), batch()
    objective = IntervalBounds(attack_reach=2.0, steps=3)
    twins = objective.prepare(model, images, labels, LINF, moment())[1]
    ball = ThreatModel(norm=Norm.LINF, eps=Epsilon(2 * LINF.eps))
    attack = FastAT(step_size=1.25 * ball.eps, steps=3)
    assert torch.equal(twins, attack.prepare(model, images, labels, ball, moment())[0])
    assert objective.attack_steps(2) == 5


@pytest.mark.parametrize("objective", EVERY, ids=kind)
def test_an_objective_tells_every_number_and_its_paper(objective: Objective) -> None:
    told: dict[str, Any] = orjson.loads(orjson.dumps(objective.to_json()))
    names = {field.name for field in fields(objective)}
    assert told == {"kind": objective.kind} | {name: getattr(objective, name) for name in names}
    assert "20" in objective.source
    assert len({each.kind for each in EVERY}) == len(EVERY)


NO_NUMBER = [math.nan, math.inf, -1.0]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        *((made, {"step_size": bad}) for made in (FastAT, PGDAT, TRADES) for bad in NO_NUMBER),
        *((PGDAT, {"step_size": 0.1, "warm_up": bad}) for bad in (*NO_NUMBER, 1.0)),
        *((TRADES, {"step_size": 0.1, "beta": bad}) for bad in NO_NUMBER),
        (FastAT, {"step_size": 0.0}),
        (PGDAT, {"step_size": 0.1, "steps": 0}),
        *((GaussianNoise, {"sigma": bad}) for bad in (*NO_NUMBER, 0.0)),
        *((AugMix, {"severity": bad}) for bad in (*NO_NUMBER, 0.0, 10.5)),
        *((AugMix, {"weight": bad}) for bad in NO_NUMBER),
        *((Natural, {"label_smoothing": bad}) for bad in (*NO_NUMBER, 1.0)),
        *((IntervalBounds, {"kappa": bad}) for bad in (*NO_NUMBER, 1.1)),
        *((IntervalBounds, {"ramp_until": bad}) for bad in (*NO_NUMBER, 0.01, 1.0)),
        *((IntervalBounds, {"natural_until": bad}) for bad in NO_NUMBER),
        *((IntervalBounds, {"attack_reach": bad}) for bad in NO_NUMBER),
        (IntervalBounds, {"steps": 0}),
    ],
)
def test_numbers_that_make_no_objective_are_refused(
    make: type[Objective], wrong: dict[str, float]
) -> None:
    with pytest.raises(SettingsError):
        make(**wrong)
