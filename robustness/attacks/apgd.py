"""Auto-PGD: the step size follows from what the steps achieved (Croce and Hein 2020, algorithm 1).

In L1 the steps are sparse, without momentum, and the radius shrinks to its own in three stages
(Croce and Hein 2021, algorithm 1 and section 4). Shapes: B batch, C H W an image, D = C·H·W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustness.attacks.attack import Attack
from robustness.attacks.losses import LOSSES, LossName, likely_targets, targeted_dlr
from robustness.attacks.perturbation import project
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Epsilon, Norm, ThreatModel

MOMENTUM = 0.75
FIRST_CHECK, FEWEST, SHORTER = 0.22, 0.06, 0.03
"""Steps to the first check, between the last ones, and by how much shorter: shares of all."""
RISING = 0.75
"""A step size is halved where fewer than this share of the steps raised the loss."""
L1_CHECK = 0.04
L1_SHORTER, L1_SHORTEST = 1.5, 10.0
L1_FIRST_SHARE = 0.2
"""Share of the pixels that a first sparse step moves."""
L1_STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""Multiples of the radius, and shares of the steps."""
_TINY = 1e-12

Judge = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of logits B K: the loss to raise (B), and where the attack has won (B)."""


@dataclass(slots=True)
class _Run:
    """The state of one run on B images: where it is, and the best it has seen."""

    at: Tensor
    gradient: Tensor
    loss: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    won: Tensor
    winning: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD on a loss of the logits; of each image the last point that won, else the best."""

    threat: ThreatModel
    loss: LossName = LossName.CE
    steps: int = 100
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts) < 1:
            raise SettingsError("APGD needs 1 or more steps and restarts")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        keeper = Keeper(images)
        for _ in range(self.restarts):
            left = keeper.left
            if not len(left):
                break
            x, y = images[left], labels[left]

            def judge(logits: Tensor, y: Tensor = y) -> tuple[Tensor, Tensor]:
                return LOSSES[self.loss](logits, y), logits.argmax(1) != y

            keeper.take(left, *auto_pgd(model, x, judge, self.threat, self.steps, generator))
        return keeper.images


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetedAPGD(Attack):
    """Auto-PGD on the targeted difference of logits ratio, towards each likely class in turn."""

    threat: ThreatModel
    steps: int = 100
    targets: int = 9
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.targets, self.restarts) < 1:
            raise SettingsError("targeted APGD needs 1 or more steps, targets and restarts")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        keeper = Keeper(images)
        with torch.no_grad():
            logits = model(images)
        if logits.shape[1] < 4:
            raise SettingsError(
                f"the targeted ratio of logits needs 4 classes, not {logits.shape[1]}",
                remedy="Use apgd-ce.",
            )
        choices = likely_targets(logits, labels, self.targets)
        for turn in range(self.restarts * choices.shape[1]):
            left = keeper.left
            if not len(left):
                break
            y, aims = labels[left], choices[left, turn % choices.shape[1]]

            def judge(logits: Tensor, y: Tensor = y, aims: Tensor = aims) -> tuple[Tensor, Tensor]:
                return targeted_dlr(logits, y, aims), logits.argmax(1) != y

            found = auto_pgd(model, images[left], judge, self.threat, self.steps, generator)
            keeper.take(left, *found)
        return keeper.images


@dataclass(slots=True)
class Keeper:
    """Of each image the first point that won; until then the one with the highest loss."""

    images: Tensor
    won: Tensor = field(init=False)
    loss: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.images = self.images.clone()
        self.won = torch.zeros(len(self.images), dtype=torch.bool, device=self.images.device)
        self.loss = torch.full((len(self.images),), -torch.inf, device=self.images.device)

    @property
    def left(self) -> Tensor:
        """Which images are still to be attacked."""
        return torch.nonzero(~self.won).flatten()

    def take(self, which: Tensor, found: Tensor, loss: Tensor, won: Tensor) -> None:
        """Keep what a run found of the images `which`."""
        better = won | (loss > self.loss[which])
        self.images[which[better]] = found[better]
        self.loss[which[better]] = loss[better]
        self.won[which] |= won


def auto_pgd(
    model: nn.Module,
    images: Tensor,
    judge: Judge,
    threat: ThreatModel,
    steps: int,
    generator: torch.Generator,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run Auto-PGD from a random start, or from `start`; return points, their loss, and who won.

    A point is the last that won, else that with the highest loss.
    """
    if threat.norm is not Norm.L1:
        start = _random_start(images, threat, generator) if start is None else start
        run = _ascend(model, images, judge, threat, steps, start)
    else:
        stages: tuple[tuple[float, float], ...] = L1_STAGES
        if start is None:
            start = images + torch.randn(images.shape, generator=generator).to(images)
        else:
            stages = ((1.0, 1.0),)  # a given start is inside already
        for number, (times, share) in enumerate(stages):
            wide = replace(threat, eps=Epsilon(threat.eps * times))
            start = images + project(images, start - images, wide)
            length = max(1, round(share * steps))
            run = _ascend_l1(model, images, judge, wide, length, start, fresh=number == 0)
            start = run.best
    points = torch.where(_per_image(run.won), run.winning, run.best)
    return points, run.best_loss, run.won


def _random_start(images: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Return points on the sphere: noise is stretched until it touches it."""
    if threat.norm is Norm.LINF:
        noise = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
        noise = noise / _per_image(noise.flatten(1).abs().amax(1).clamp_min(_TINY))
    else:
        noise = torch.randn(images.shape, generator=generator).to(images)
        noise = noise / _lengths(noise).clamp_min(_TINY)
    return (images + threat.eps * noise).clamp(0, 1)


def _begin(model: nn.Module, judge: Judge, start: Tensor) -> _Run:
    gradient, loss, won = _look(model, judge, start)
    return _Run(start, gradient, loss, start, gradient, loss, won, start)


def _look(model: nn.Module, judge: Judge, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradient, loss and where the attack has won."""
    at = at.detach().requires_grad_()
    with torch.enable_grad():
        loss, won = judge(model(at))
        (gradient,) = torch.autograd.grad(loss.sum(), at)
    return gradient, loss.detach(), won


def _move(run: _Run, model: nn.Module, judge: Judge, to: Tensor) -> None:
    """Go to a point, look around, and remember it if it is the best."""
    run.at = to
    run.gradient, run.loss, won = _look(model, judge, to)
    run.winning = torch.where(_per_image(won), to, run.winning)
    run.won = run.won | won
    better = run.loss > run.best_loss
    run.best = torch.where(_per_image(better), to, run.best)
    run.best_gradient = torch.where(_per_image(better), run.gradient, run.best_gradient)
    run.best_loss = torch.where(better, run.loss, run.best_loss)


def _ascend(
    model: nn.Module,
    images: Tensor,
    judge: Judge,
    threat: ThreatModel,
    steps: int,
    start: Tensor,
) -> _Run:
    run, before = _begin(model, judge, start), start
    size = images.new_full((len(images), 1, 1, 1), 2 * threat.eps)
    checks = checkpoints(steps)
    rises = torch.zeros_like(run.loss)
    since, halved, best_then = 0, torch.ones_like(run.won), run.best_loss
    for step in range(steps):
        momentum = run.at - before
        before, loss_before = run.at, run.loss
        ahead = _step(images, run.at, size * _direction(run.gradient, threat.norm), threat)
        if step:
            ahead = _step(
                images, run.at, MOMENTUM * (ahead - run.at) + (1 - MOMENTUM) * momentum, threat
            )
        _move(run, model, judge, ahead)
        rises += run.loss > loss_before
        since += 1
        if step + 1 in checks:
            stuck = rises <= RISING * since
            stuck |= ~halved & (best_then >= run.best_loss)
            size = torch.where(_per_image(stuck), size / 2, size)
            run.at = torch.where(_per_image(stuck), run.best, run.at)
            run.gradient = torch.where(_per_image(stuck), run.best_gradient, run.gradient)
            rises, since, halved, best_then = torch.zeros_like(rises), 0, stuck, run.best_loss
    return run


def checkpoints(steps: int) -> frozenset[int]:
    """Return after how many steps the step size is reconsidered (Croce and Hein 2020, 3.1)."""
    gap, at, found = max(int(FIRST_CHECK * steps), 1), 0, []
    while at + gap <= steps:
        at += gap
        found.append(at)
        gap = max(gap - max(int(SHORTER * steps), 1), max(int(FEWEST * steps), 1))
    return frozenset(found)


def _ascend_l1(
    model: nn.Module,
    images: Tensor,
    judge: Judge,
    threat: ThreatModel,
    steps: int,
    start: Tensor,
    *,
    fresh: bool,
) -> _Run:
    run = _begin(model, judge, start)
    pixels = images[0].numel()
    size = images.new_full((len(images), 1, 1, 1), threat.eps)
    share = images.new_full((len(images),), L1_FIRST_SHARE)
    moved = images.new_full((len(images),), float(pixels))
    if not fresh:  # go on as sparsely as the stage before ended
        moved = (start - images).flatten(1).ne(0).sum(1).to(share)
        share = moved / pixels / 1.5
    gap = max(int(L1_CHECK * steps), 1)
    for step in range(steps):
        ahead = _step(images, run.at, size * _sparse(run.gradient, share), threat)
        _move(run, model, judge, ahead)
        if (step + 1) % gap == 0:
            now = (run.best - images).flatten(1).ne(0).sum(1).to(share)
            sparser = now < 0.95 * moved
            share = now / pixels / 1.5
            size = torch.where(_per_image(sparser), threat.eps, size / L1_SHORTER)
            size = size.clamp(threat.eps / L1_SHORTEST, threat.eps)
            run.at = torch.where(_per_image(sparser), run.best, run.at)
            run.gradient = torch.where(_per_image(sparser), run.best_gradient, run.gradient)
            moved = now
    return run


def _sparse(gradient: Tensor, share: Tensor) -> Tensor:
    """Return the signs of each image's largest `share` (B) of gradients, of L1 length 1."""
    flat = gradient.flatten(1)
    sizes = flat.abs()
    place = ((1 - share) * flat.shape[1]).long().clamp(0, flat.shape[1] - 1)
    least = sizes.sort(dim=1).values.gather(1, place[:, None])
    signs = flat.sign() * (sizes >= least)
    length = signs.abs().sum(1, keepdim=True).clamp_min(1)
    return (signs / length).view_as(gradient)


def _step(images: Tensor, at: Tensor, move: Tensor, threat: ThreatModel) -> Tensor:
    return images + project(images, at + move - images, threat)


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    return gradient.sign() if norm is Norm.LINF else gradient / (_lengths(gradient) + _TINY)


def _lengths(values: Tensor) -> Tensor:
    return _per_image(torch.linalg.vector_norm(values.flatten(1), dim=1))


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
