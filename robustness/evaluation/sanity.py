"""Suspicion before belief: what to look for before a robust accuracy is told.

After Carlini et al. 2019 (On Evaluating Adversarial Robustness), Athalye et al. 2018, the checks of
AutoAttack (Croce and Hein 2020) and Tramèr 2022. Two runs on the same images are compared by the
exact sign test on the images where they differ (McNemar).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from robustness.evaluation.plan import Kind, Purpose, Task
from robustness.evaluation.report import Check
from robustness.evaluation.results import Results, wrong

CARLINI = "Carlini et al. 2019, On Evaluating Adversarial Robustness"
ATHALYE = "Athalye et al. 2018, Obfuscated Gradients, section 3.1"
AUTOATTACK = "Croce and Hein 2020, AutoAttack, checks.py of its code"
TRAMER = "Tramèr 2022, Detecting Adversarial Examples Is (Nearly) As Hard As Classifying Them"

SIGNIFICANCE = 0.01
LEFT_AT_THE_END = 0.01
"""Share of images that may survive an unbounded attack: labels of the data set can be wrong."""
ZERO_GRADIENTS = 0.01
"""Share of images whose gradient may vanish."""
BEYOND = 0.01
"""Share of images that only an attack without gradients, or only the closest point, may turn."""
CLOSEST = "fab-t"
WHITE_BOX = frozenset({"pgd", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t"})
BLACK_BOX = frozenset({"square", "hopskipjump", "transfer"})

Mask = NDArray[np.bool_]


def checks(results: Results, trained: str) -> tuple[Check, ...]:
    """Return all checks that the plan has material for; `trained` is the threat trained against."""
    return tuple(_checks(results, trained))


def doubtful(found: Sequence[Check]) -> bool:
    """Whether robust accuracies must be withheld."""
    return any(check.fatal and not check.passed for check in found)


def _checks(results: Results, trained: str) -> Iterator[Check]:
    yield from _suspicions(results)
    curve = curve_tasks(results, trained)
    if curve:
        yield _falls_to_nothing(results, curve)
        yield _never_rises(results, curve)
    for name, field in (("more steps", "steps"), ("more restarts", "restarts")):
        series = [task for task in _checking(results) if task.key.startswith(f"check-{field}")]
        if len(series) > 1:
            yield _never_helps(results, name, series)
    for threat in dict.fromkeys(task.threat for task in results.strikes(purpose=Purpose.RESULT)):
        yield from _black_box_not_stronger(results, threat)
        yield from _ascent_arrives(results, threat)
    yield from _half_radius(results, trained, curve)


def curve_tasks(results: Results, trained: str) -> list[Task]:
    """Return the tasks of the security curve in the norm trained against, by growing radius."""
    norm = trained.split()[0]
    tasks = [
        task for task in results.strikes(purpose=Purpose.CURVE) if task.threat.split()[0] == norm
    ]
    return sorted(tasks, key=lambda task: float(task.threat.split()[1]))


def _checking(results: Results) -> list[Task]:
    return results.strikes(purpose=Purpose.CHECK)


def _suspicions(results: Results) -> Iterator[Check]:
    for task in results.of_kind(Kind.SUSPICION):
        columns, n = results.of(task.key), results.plan.n
        zero, random, softmax = (
            int(columns[name].sum()) for name in ("zero_gradient", "random", "softmax")
        )
        yield Check(
            name="gradients are there",
            passed=zero <= ZERO_GRADIENTS * n,
            fatal=True,
            seen=f"the margin's gradient is zero on {zero} of {n} clean images",
            source=ATHALYE,
        )
        yield Check(
            name="the same input gives the same output",
            passed=random == 0,
            fatal=True,
            seen=f"two passes differ on {random} of {n} images; attacks here do not average",
            source=AUTOATTACK,
        )
        yield Check(
            name="the outputs are logits, not probabilities",
            passed=softmax < n,
            fatal=True,
            seen=f"the outputs sum to 1 on {softmax} of {n} images",
            source=AUTOATTACK,
        )


def _survivors(results: Results, task: Task) -> Mask:
    columns = results.of(task.key)
    survivors: Mask = results.clean["right"] & ~wrong(columns)
    return survivors


def _falls_to_nothing(results: Results, curve: Sequence[Task]) -> Check:
    last = curve[-1]
    left = int(_survivors(results, last).sum())
    return Check(
        name="accuracy falls to nothing as the radius grows",
        passed=left <= LEFT_AT_THE_END * results.plan.n,
        fatal=True,
        seen=f"{left} of {results.plan.n} images survive {last.threat}, which allows any image",
        source=CARLINI,
    )


def _never_rises(results: Results, curve: Sequence[Task]) -> Check:
    rises = [
        f"{two.threat} over {one.threat}"
        for one, two in pairwise(curve)
        if helps(_survivors(results, one), _survivors(results, two))
    ]
    return Check(
        name="accuracy never rises with the radius",
        passed=not rises,
        fatal=True,
        seen="it rises beyond noise at " + ", ".join(rises) if rises else "it falls or stays",
        source=CARLINI,
    )


def _never_helps(results: Results, what: str, series: Sequence[Task]) -> Check:
    survivors = [_survivors(results, task) for task in series]
    told = ", ".join(
        f"{task.title}: {int(left.sum())} of {results.plan.n}"
        for task, left in zip(series, survivors, strict=True)
    )
    passed = not any(helps(one, two) for one, two in pairwise(survivors))
    return Check(
        name=f"{what} never help the defence",
        passed=passed,
        fatal=True,
        seen=f"survivors: {told}",
        source=CARLINI,
    )


def helps(weaker: Mask, stronger: Mask) -> bool:
    """Whether more images survive what should be the stronger attack, beyond noise."""
    from scipy.stats import binomtest

    for_defence = int((stronger & ~weaker).sum())
    against = int((weaker & ~stronger).sum())
    if for_defence <= against:
        return False
    test = binomtest(for_defence, for_defence + against, 0.5, alternative="greater")
    return bool(test.pvalue < SIGNIFICANCE)


def _black_box_not_stronger(results: Results, threat: str) -> Iterator[Check]:
    tasks = [task for task in results.strikes(threat=threat) if task.kind is Kind.ATTACK]
    white = [task for task in tasks if task.name in WHITE_BOX]
    for task in tasks:
        if white and task.name in BLACK_BOX and task.purpose is Purpose.RESULT:
            yield _beyond(
                results,
                task,
                white,
                name=f"{task.title} finds no more than attacks with gradients, {threat}",
                beside="no attack with gradients",
            )


def _ascent_arrives(results: Results, threat: str) -> Iterator[Check]:
    """Yield whether the ascent of losses gets stuck where linearised boundaries are close."""
    tasks = [task for task in results.strikes(threat=threat) if task.kind is Kind.ATTACK]
    ascents = [task for task in tasks if task.name in WHITE_BOX - {CLOSEST}]
    for task in tasks:
        if ascents and task.name == CLOSEST:
            yield _beyond(
                results,
                task,
                ascents,
                name=f"{task.title} finds no more than ascent of losses, {threat}",
                beside="no ascent of losses",
            )


def _beyond(
    results: Results, task: Task, others: Sequence[Task], *, name: str, beside: str
) -> Check:
    columns = results.of(task.key)
    tried = int(columns["attacked"].sum())
    only = int((wrong(columns) & ~results.turned(others)).sum())
    return Check(
        name=name,
        passed=only <= max(1, BEYOND * tried),
        fatal=False,
        seen=f"{only} of {tried} images fall to it and to {beside}",
        source=ATHALYE,
    )


def _half_radius(results: Results, trained: str, curve: Sequence[Task]) -> Iterator[Check]:
    adaptive = [task for task in results.strikes(threat=trained) if task.kind is Kind.ADAPTIVE]
    eps = float(trained.split()[1])
    half = [task for task in curve if abs(float(task.threat.split()[1]) - eps / 2) < 1e-6 * eps]
    if not adaptive or not half:
        return
    clean = results.clean
    lost = results.won(results.strikes(threat=trained))
    detected = int((clean["right"] & ~clean["suspicious"] & ~lost).sum())
    bare = int(_survivors(results, half[0]).sum())
    yield Check(
        name="detection at eps claims no more than robustness at eps/2",
        passed=detected <= bare,
        fatal=False,
        seen=(
            f"{detected} of {results.plan.n} hold with detection at {trained}; the bare network "
            f"holds {bare} at {half[0].threat}. More would imply a better classifier at eps/2"
        ),
        source=TRAMER,
    )
