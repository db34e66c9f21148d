"""Which kind of drift is it? Each observation adds to the weight of a kind, or takes from it.

The weights are our judgement, not a fitted model: they are shown with their reasons so that a
reader can disagree with any of them. As a guide, 3 nearly settles it, 1 is a hint, and what speaks
against a kind is negative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from monitoring.analysis.groups import COLUMNS, Group
from monitoring.analysis.observations import Observations
from monitoring.drift_report import Evidence, Kind, KindWeight, TestName

_SOFTWARE_COLUMNS = ("version", "code_version", "input_format")
_PEOPLE_COLUMNS = ("client", "session")
_CLEAR_CLASS_P = 0.01
_MANY_OUTSIDE = 0.5
_FEW_OUTSIDE = 0.05


def weigh(seen: Observations) -> tuple[KindWeight, ...]:
    """Return all kinds with their evidence, the likeliest first."""
    evidence = {kind: tuple(collect(seen)) for kind, collect in _COLLECT.items()}
    weights = {kind: sum((each.weight for each in found), 0.0) for kind, found in evidence.items()}
    total = sum(max(weight, 0.0) for weight in weights.values())
    kinds = [
        KindWeight(
            kind=kind,
            weight=weight,
            share=max(weight, 0.0) / total if total else 0.0,
            evidence=evidence[kind],
        )
        for kind, weight in weights.items()
    ]
    return tuple(sorted(kinds, key=lambda each: -each.weight))


def _concept(seen: Observations) -> Iterator[Evidence]:
    if seen.rejected(TestName.ACCURACY):
        if seen.images_drifted or seen.rejected(TestName.EMBEDDING):
            yield Evidence("the accuracy fell, but the images changed as well", 1.0)
        else:
            yield Evidence("the accuracy fell on images that look as they did", 3.0)
    elif seen.made(TestName.ACCURACY):
        yield Evidence("the labels that came show no fall of the accuracy", -2.0)
    else:
        yield Evidence("too few labels came to see whether images now mean something else", 0.0)
    if seen.training is not None and _moved(seen.training.class_p_value):
        yield Evidence(f"{seen.training.says}: what is true was changing before", 0.5)


def _sampling(seen: Observations) -> Iterator[Evidence]:
    classes = seen.rejected(TestName.CLASSES)
    if classes and seen.same_within_classes:
        yield Evidence(
            "other classes come than used to, and within each class the images look as they did",
            3.0,
        )
    elif classes:
        yield Evidence("other classes are predicted than used to be", 0.5)
    elif seen.made(TestName.CLASSES):
        yield Evidence("the predicted classes have their usual shares", -0.5)
    if seen.same_within_classes is False:
        yield Evidence("the images differ even within a class", -1.0)
    if seen.images_drifted and seen.outside is not None and seen.outside <= _FEW_OUTSIDE:
        yield Evidence(
            f"{1 - seen.outside:.0%} of the items lie within what the reference has seen: the same "
            "kinds of images in other proportions would look like this",
            1.0,
        )
    if seen.training is not None and _moved(seen.training.class_p_value):
        yield Evidence(f"{seen.training.says}: the shares of classes are known to move", 0.5)


def _selection_bias(seen: Observations) -> Iterator[Evidence]:
    yield from _concentrated(seen, _PEOPLE_COLUMNS)


def _software(seen: Observations) -> Iterator[Evidence]:
    yield from _concentrated(seen, _SOFTWARE_COLUMNS)
    if seen.marker_at_change is not None:
        yield Evidence(f"the change began when {seen.marker_at_change.says} came up", 2.0)
    elif seen.change_is_within:
        yield Evidence("the change began within the window, and nothing was deployed then", -1.0)
    elif seen.markers:
        told = "; ".join(marker.says for marker in seen.markers)
        yield Evidence(f"new within the window, but not when the change began: {told}", 0.5)
    strangers = sorted({each.version for each in seen.served} - {seen.reference_version})
    if strangers:
        yield Evidence(
            f"answered by version {', '.join(strangers)}; the reference is of "
            f"{seen.reference_version}",
            1.0,
        )
    outputs = (
        seen.rejected(TestName.OUTPUTS)
        or seen.rejected(TestName.EMBEDDING)
        or bool(seen.drifted_model_features)
    )
    if outputs and not seen.images_drifted and not seen.rejected(TestName.CLASSES):
        yield Evidence("the images look as they did, yet the model answers otherwise", 1.5)


def _data_change(seen: Observations) -> Iterator[Evidence]:
    if seen.same_within_classes:
        yield Evidence("within each predicted class the images look as they did", -1.5)
    elif seen.images_drifted:
        result = next((t for t in seen.tests if t.name is TestName.PHOTOMETRIC), None)
        if result is not None and result.rejected:
            yield Evidence(f"the images look different: {result.says}", 2.0)
        else:
            named = ", ".join(seen.drifted_image_features[:3])
            yield Evidence(f"features of the images have drifted: {named}", 1.0)
    if seen.outside is not None and seen.outside >= _MANY_OUTSIDE:
        yield Evidence(
            f"{seen.outside:.0%} of the items lie beyond all that the reference has seen", 1.5
        )
    found = [group for group in seen.groups if group.column == "client"]
    if found and all(group.drifted for group in found):
        yield Evidence(f"all of {len(found)} clients with items enough have drifted", 1.0)


def _concentrated(seen: Observations, names: tuple[str, ...]) -> Iterator[Evidence]:
    """Yield what the groups of some columns say: the drift is one's alone, or everybody's."""
    for name in names:
        found = [group for group in seen.groups if group.column == name]
        alone = [group for group in found if group.alone]
        if len(alone) == 1:
            yield _of_one(alone[0])
        elif found and all(group.drifted for group in found):
            yield Evidence(f"the drift shows in every {COLUMNS[name]} with items enough", -1.0)


def _of_one(group: Group) -> Evidence:
    share = group.rows / (group.rows + group.rest_rows)
    says = (
        f"{COLUMNS[group.column]} {group.value or '(none)'}, with {share:.0%} of the items, has "
        f"drifted and the other {group.rest_rows} items have not"
    )
    # of few others, little could be seen
    return Evidence(says, 3.0 if group.rest_rows >= group.rows else 2.0)


def _moved(p_value: float | None) -> bool:
    return p_value is not None and p_value <= _CLEAR_CLASS_P


_COLLECT: dict[Kind, Callable[[Observations], Iterator[Evidence]]] = {
    Kind.CONCEPT: _concept,
    Kind.SAMPLING: _sampling,
    Kind.SELECTION_BIAS: _selection_bias,
    Kind.SOFTWARE: _software,
    Kind.DATA_CHANGE: _data_change,
}
