"""Each attack on models whose answer is known, and side by side on a real network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustness.attacks.apgd import APGD, TargetedAPGD, checkpoints
from robustness.attacks.catalogue import ATTACKS, Effort, budget, build
from robustness.attacks.fab import FABT
from robustness.attacks.losses import cross_entropy, dlr, margin, targeted_dlr
from robustness.attacks.patch import Patch
from robustness.attacks.perturbation import distances, within
from robustness.attacks.pgd import PGD
from robustness.attacks.square import Square, share_at
from robustness.fitting import to_unit
from robustness.screened_model import load_classifier
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Epsilon, Norm, PatchThreat, Threat, ThreatModel

WHITE = ["pgd", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t"]
SIDE = 6


def linear(classes: int = 4, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes)).requires_grad_(False)


def middles(count: int = 60, seed: int = 1) -> Tensor:
    """Images whose pixels are far from their ends, so that the box does not matter."""
    noise = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return 0.35 + 0.3 * noise


def closest(model: nn.Sequential, images: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """Return the distance to the nearest other class of a linear model, in closed form."""
    weight, logits = model[1].weight, model(images)
    dual = {Norm.LINF: 1, Norm.L2: 2, Norm.L1: torch.inf}[norm]
    slopes = torch.linalg.vector_norm(weight[None] - weight[labels][:, None], dual, dim=2)
    gaps = logits.gather(1, labels[:, None]) - logits
    ways = gaps / slopes.clamp_min(1e-12)
    return ways.scatter(1, labels[:, None], torch.inf).amin(1)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", WHITE)
def test_attacks_find_what_is_there_and_nothing_else(name: str, norm: Norm) -> None:
    aims_at_one = name in ("apgd-dlr", "apgd-t", "fab-t")  # the others go between classes
    model, images = linear(classes=4 if aims_at_one else 2), middles()
    labels = model(images).argmax(1)
    true = closest(model, images, labels, norm)
    eps = float(true.median())
    threat = ThreatModel(norm=norm, eps=Epsilon(eps))
    found = build(name, threat)(model, images, labels).successful
    assert not found[true > eps * 1.001].any()  # nothing beyond what exists
    near = 0.5 if norm is Norm.L1 and not aims_at_one else 0.9  # there it moves many pixels
    assert found[true < eps * near].all()


@pytest.mark.parametrize("norm", list(Norm))
def test_fab_finds_the_closest_point(norm: Norm) -> None:
    model, images = linear(classes=2), middles(30)
    labels = model(images).argmax(1)
    true = closest(model, images, labels, norm)
    wide = ThreatModel(norm=norm, eps=Epsilon(min(1.0, float(2 * true.max()))))
    result = FABT(threat=wide)(model, images, labels)
    inside = true < wide.eps * 0.9
    assert result.successful[inside].all()
    moved = distances(images, result.images, norm)[inside]
    assert (moved <= true[inside] * 1.12).all()
    assert (moved >= true[inside] * 0.999).all()


@pytest.mark.parametrize("norm", list(Norm))
def test_square_finds_the_easy_ones_without_a_gradient(norm: Norm) -> None:
    model, images = linear(), middles()
    labels = model(images).argmax(1)
    true = closest(model, images, labels, norm)
    eps = min(1.0, float(3 * true.median()))
    attack = Square(threat=ThreatModel(norm=norm, eps=Epsilon(eps)), queries=1500)
    found = attack(_Numb(model), images, labels).successful
    assert not found[true > eps * 1.001].any()
    assert found[true < eps / 3].float().mean() > 0.8


class _Numb(nn.Module):
    """A model whose gradients cannot be asked for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled() or not images.requires_grad
        return self.model(images.detach())


def test_a_patch_stays_in_its_square_and_wins_where_it_must() -> None:
    model, images = linear(), middles()
    labels = model(images).argmax(1)
    whole = Patch(threat=PatchThreat(share=1.0), places=2)(model, images, labels)
    assert whole.successful.all()  # it may write every pixel
    threat = PatchThreat(share=0.1)
    small = Patch(threat=threat, places=8)(model, images, labels)
    assert within(images, small.images, threat).all()
    assert small.successful.float().mean() < 1


def test_squares_that_are_too_large_are_seen() -> None:
    images = middles(2)
    changed = images.clone()
    changed[0, :, 0, 0] = 0
    changed[0, :, 5, 5] = 0
    threat = PatchThreat(share=0.25)
    assert within(images, changed, threat).tolist() == [False, True]


def test_the_checkpoints_are_those_of_the_paper() -> None:
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert max(checkpoints(1)) == 1


def test_the_share_of_a_square_is_halved_as_in_the_paper() -> None:
    shares = [share_at(0.8, query) for query in (1, 10, 11, 51, 201, 501, 1001, 2001, 4001)]
    assert shares == [0.8, 0.8, *(0.8 / 2**halvings for halvings in range(1, 8))]


def test_losses_are_above_or_below_as_the_papers_say() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -2.0], [1.0, 4.0, 2.0, 0.0]])
    labels = torch.tensor([0, 0])
    assert torch.allclose(margin(logits, labels), torch.tensor([-2.0, 3.0]))
    assert torch.allclose(dlr(logits, labels), torch.tensor([-2 / 3, 3 / 3]))
    aimed = targeted_dlr(logits, labels, torch.tensor([1, 2]))
    assert torch.allclose(aimed, torch.tensor([-2 / (3 + 1), 1 / (4 - 0.5)]))
    assert torch.allclose(dlr(5 * logits + 7, labels), dlr(logits, labels))  # scale does not matter
    assert cross_entropy(logits, labels)[1] > cross_entropy(logits, labels)[0]


def test_targeted_ratios_need_four_classes() -> None:
    model, images = linear(classes=3), middles(4)
    threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))
    with pytest.raises(SettingsError, match="needs 4 classes"):
        TargetedAPGD(threat=threat)(model, images, model(images).argmax(1))


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "transfer"])
def test_an_attack_is_the_same_under_its_seed_and_leaves_global_streams_alone(name: str) -> None:
    model, images = linear(), middles(6)
    labels = model(images).argmax(1)
    threat: Threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.05))
    if name == "patch":
        threat = PatchThreat(share=0.2)
    attack: Any = build(name, threat, seed=3, effort=Effort.QUICK)
    before = torch.random.get_rng_state()
    one, two = (attack(model, images, labels).images for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    assert budget(attack)
    none = attack(model, images[:0], labels[:0])
    assert none.images.shape == (0, 1, SIDE, SIDE)


def test_what_cannot_be_done_is_refused_with_what_can() -> None:
    patch = PatchThreat(share=0.1)
    with pytest.raises(SettingsError, match="For that, use patch"):
        build("pgd", patch)
    with pytest.raises(SettingsError, match="cannot do linf"):
        build("patch", ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1)))
    with pytest.raises(SettingsError, match="Did you mean apgd-ce"):
        build("apgd-c", patch)
    with pytest.raises(SettingsError, match="second network"):
        build("transfer", ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1)))(
            linear(), middles(2), torch.zeros(2).long()
        )


@pytest.fixture(scope="module")
def scene(digits_artifact: ModelArtifact, digits: Splits) -> tuple[nn.Module, Tensor, Tensor]:
    model = load_classifier(digits_artifact).requires_grad_(False)
    test = digits.test.subset(range(150))
    images, labels = to_unit(test), torch.from_numpy(test.labels)
    right = model(images).argmax(1) == labels
    return model, images[right], labels[right]


def test_stronger_attacks_turn_more_of_a_real_network(
    scene: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, images, labels = scene
    threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.15))
    turned = {
        name: int(build(name, threat)(model, images, labels).successful.sum())
        for name in ("fgsm", "pgd", "apgd-ce", "apgd-t", "fab-t")
    }
    assert turned["fgsm"] < turned["apgd-ce"]
    assert turned["apgd-t"] >= 0.95 * turned["pgd"]
    assert turned["fab-t"] >= 0.9 * turned["apgd-t"]


def test_a_transferred_attack_fools_where_the_first_network_is_the_second(
    scene: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, images, labels = scene
    threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.15))
    attack: Any = replace(build("transfer", threat), source=model)  # type: ignore[type-var]
    direct = APGD(threat=threat)(model, images, labels)
    assert torch.equal(attack(model, images, labels).images, direct.images)


def test_auto_pgd_agrees_with_that_of_art(scene: tuple[nn.Module, Tensor, Tensor]) -> None:
    from robustness.art_library import prepare

    prepare()
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    model, images, labels = scene
    threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.15))
    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(images.shape[1:]), 10, clip_values=(0.0, 1.0)
    )
    reference = AutoProjectedGradientDescent(
        wrapped, eps=0.15, eps_step=0.3, max_iter=100, nb_random_init=1, verbose=False
    )
    made = torch.from_numpy(reference.generate(images.numpy(), labels.numpy()))
    theirs = int((model(made).argmax(1) != labels).sum())
    ours = int(APGD(threat=threat)(model, images, labels).successful.sum())
    assert abs(ours - theirs) <= 0.04 * len(images)


def test_hop_skip_jump_moves_towards_the_boundary(scene: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = scene
    wide = ThreatModel(norm=Norm.LINF, eps=Epsilon(1.0))
    attack = replace(build("hopskipjump", wide, effort=Effort.QUICK), iterations=2)  # type: ignore[type-var]
    result = attack(model, images[:3], labels[:3])
    assert result.successful.all()
    near = distances(images[:3], result.images, Norm.LINF)
    more = replace(attack, iterations=8)(model, images[:3], labels[:3])
    assert distances(images[:3], more.images, Norm.LINF).mean() < near.mean()


def test_fgsm_is_one_step_to_the_edge() -> None:
    model, images = linear(), middles(5)
    labels = model(images).argmax(1)
    threat = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))
    attack = build("fgsm", threat)
    assert isinstance(attack, PGD)
    moved = attack(model, images, labels).images - images
    assert torch.allclose(moved.abs(), torch.full_like(moved, 0.1), atol=1e-6)
