"""The floors of the house, and the rules on who may import whom.

The table is the one in docs/architecture.md; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable

FLOORS = {
    "torchkeep.cli": 4,
    "release": 3,
    "loadtests": 3,
    "training": 2,
    "handlers": 2,
    "gateway": 2,
    "robustness": 1,
    "monitoring": 1,
    "torchkeep": 0,
}
"""Folder (as a dotted name) to floor; imports go to a lower floor or stay in the folder."""

SEEN_BY_LOADTESTS = ("torchkeep.client", "torchkeep.schema", "monitoring.store")
SEEN_BY_GATEWAY_ON_FLOOR_1 = ("monitoring.request_log",)


def folder_of(module: str) -> str | None:
    """Return the folder of the house a module lives in; None for somebody else's module."""
    for folder in sorted(FLOORS, key=len, reverse=True):
        if is_in(module, folder):
            return folder
    return None


def is_in(module: str, *parents: str) -> bool:
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


def violations(module: str, imports: Iterable[str]) -> list[str]:
    """Return one line for each import that `module` may not make."""
    return [
        f"{module} imports {name}: {fault}" for name in imports if (fault := _fault(module, name))
    ]


def _fault(module: str, name: str) -> str | None:
    source, target = folder_of(module), folder_of(name)
    if source == "monitoring" and is_in(name, "torch"):
        return "monitoring asks the running model, it never computes with torch"
    if source is None or target is None or source == target:
        return None
    if FLOORS[target] >= FLOORS[source]:
        return f"floor {FLOORS[source]} may not reach floor {FLOORS[target]}"
    if source == "loadtests" and not _load_tests_see(module, name):
        return f"load tests see only {', '.join(SEEN_BY_LOADTESTS)}"
    if source == "gateway" and FLOORS[target] == 1 and not is_in(name, *SEEN_BY_GATEWAY_ON_FLOOR_1):
        return f"of floor 1 the gateway sees only {', '.join(SEEN_BY_GATEWAY_ON_FLOOR_1)}"
    return None


def _load_tests_see(module: str, name: str) -> bool:
    """Benchmarks put us beside our peers, so they may see everything below them."""
    return is_in(module, "loadtests.benchmarks") or is_in(name, *SEEN_BY_LOADTESTS)
