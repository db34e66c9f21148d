"""Which architectures there are, by name; users add their own.

In one process: `@register("my_net")`. For every process, the serving worker included: a package
that declares an entry point in the group `torchkeep.architectures`, so that an artifact can name
only what was installed on purpose. A name with a colon, `pkg.module:Class`, is a foreign class that
the user must have trusted (`foreign.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torchkeep.architectures.classifier import Classifier
from torchkeep.architectures.imported import imported
from torchkeep.architectures.resnet18 import resnet18
from torchkeep.architectures.small_cnn import small_cnn
from torchkeep.errors import SettingsError
from torchkeep.image_shape import ImageShape

ENTRY_POINT_GROUP = "torchkeep.architectures"
MAX_CLASSES = 100_000

Builder = Callable[..., Classifier]
AnyBuilder = TypeVar("AnyBuilder", bound=Builder)
_BUILDERS: dict[str, Builder] = {"resnet18": resnet18, "small_cnn": small_cnn}


def register(name: str) -> Callable[[AnyBuilder], AnyBuilder]:
    """Make a builder `(ImageShape, classes, **options) -> Classifier` known under `name`."""

    def add(builder: AnyBuilder) -> AnyBuilder:
        if name in _BUILDERS:
            raise ValueError(f"architecture {name!r} is registered already")
        _BUILDERS[name] = builder
        return builder

    return add


def build(name: str, shape: ImageShape, classes: int, options: Mapping[str, Any]) -> Classifier:
    """Build the architecture `name` with fresh weights.

    Raises `SettingsError` if there is none of that name or its options do not fit.
    """
    if not 2 <= classes <= MAX_CLASSES:
        raise SettingsError(f"{classes} classes", remedy=f"Give 2 to {MAX_CLASSES}.")
    builder = _find(name)
    try:
        return builder(shape, classes, **options)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"architecture {name!r} cannot be built so: {error}") from error


def names() -> tuple[str, ...]:
    """Return the names of all architectures, the installed packages' own included."""
    plugins = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return tuple(sorted(plugins | _BUILDERS.keys()))


def _find(name: str) -> Builder:
    if name in _BUILDERS:
        return _BUILDERS[name]
    if ":" in name:
        return partial(imported, name)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name:
            builder: Builder = point.load()
            return builder
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.0)
    raise SettingsError(f"unknown architecture: {name!r}", remedy=f"Did you mean {near[0]!r}?")
