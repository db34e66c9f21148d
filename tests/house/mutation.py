"""Break a parsed document in one place, to see whether a rule notices."""

from __future__ import annotations

import copy
from typing import Any

REMOVED = object()
"""Stands for the value of a key or entry that is taken away."""


def changed(document: Any, path: str, value: Any) -> Any:
    """Return a copy of `document` with the place at `path` set to `value`, or taken away.

    A path is words: keys of dicts, positions in lists (`+` appends), the `kind` of an object in a
    list of Kubernetes objects, and `on` for the key that YAML 1.1 reads as true.
    """
    result = copy.deepcopy(document)
    *parents, last = path.split()
    place = result
    for word in parents:
        place = place[_key(place, word)]
    if last == "+":
        place.append(value)
    elif value is REMOVED:
        del place[_key(place, last)]
    else:
        place[_key(place, last)] = value
    return result


def _key(place: Any, word: str) -> Any:
    if isinstance(place, dict):
        return True if word == "on" else word
    if word.lstrip("-").isdigit():
        return int(word)
    return next(position for position, one in enumerate(place) if one["kind"] == word)
