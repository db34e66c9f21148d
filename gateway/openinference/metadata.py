"""What the server and its models say of themselves, as the protocol's JSON objects.

Sources: Open Inference Protocol v2; Triton's extensions "model configuration" and "statistics".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.openinference.inputs import DATATYPES, IMAGE
from gateway.openinference.outputs import OUTPUTS
from gateway.plane.statistics import Statistics
from gateway.upstream import ServedVersion
from torchkeep import __version__
from torchkeep.schema import MAX_LOGGED_CLASSES

PLATFORM: Final = "pytorch_torchserve"
EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "parameters", "statistics")
SERVER: Final = "torchkeep"

_CONFIG_TYPES: Final = {"BYTES": "TYPE_STRING", "INT32": "TYPE_INT32", "FP32": "TYPE_FP32"}


def server_metadata() -> dict[str, Any]:
    """Return name, version and the extensions that work here."""
    return {"name": SERVER, "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(served: ServedVersion, versions: Sequence[ServedVersion]) -> dict[str, Any]:
    """Return the metadata of a version; -1 stands for the number of items.

    A tensor has one datatype in this object; the others that are taken stand in `parameters`.
    """
    return {
        "name": served.name,
        "versions": [version.version for version in versions],
        "platform": PLATFORM,
        "inputs": [{"name": IMAGE, "datatype": "UINT8", "shape": [-1, *served.input]}],
        "outputs": [
            {"name": name, "datatype": OUTPUTS[name], "shape": [-1, *sides]}
            for name, sides in _outputs(served)
        ],
        "parameters": {
            "version": served.version,
            "input_datatypes": ",".join(DATATYPES),
            "max_items": served.max_items,
            "max_explain_items": served.max_explain_items,
            "screened": served.screened,
            "artifact_digest": served.digest,
        },
    }


def model_config(served: ServedVersion) -> dict[str, Any]:
    """Return the configuration as clients of Triton read it; `dims` leave out the items."""
    return {
        "name": served.name,
        "platform": PLATFORM,
        "backend": "torchserve",
        "version_policy": {"specific": {"versions": _whole_numbers(served.version)}},
        "max_batch_size": served.max_items,
        "input": [{"name": IMAGE, "data_type": "TYPE_UINT8", "dims": list(served.input)}],
        "output": [
            {
                "name": name,
                "data_type": _CONFIG_TYPES[OUTPUTS[name]],
                "dims": list(sides),
            }
            for name, sides in _outputs(served)
        ],
        "instance_group": [
            {
                "name": served.name,
                "kind": "KIND_GPU" if served.device == "cuda" else "KIND_CPU",
                "count": served.workers,
            }
        ],
        "parameters": {
            "classes": {"string_value": ",".join(served.classes)},
            "version": {"string_value": served.version},
        },
    }


def model_statistics(served: ServedVersion, statistics: Statistics) -> dict[str, Any]:
    """Return the running totals of a version, an element of `model_stats`.

    Decoding and encoding, and the times of each batch size, are not measured apart: they are 0.
    """
    count = statistics.success_count
    nothing = {"count": 0, "ns": 0}
    return {
        "name": served.name,
        "version": served.version,
        "last_inference": statistics.last_inference_ms,
        "inference_count": statistics.item_count,
        "execution_count": statistics.execution_count,
        "inference_stats": {
            "success": {"count": count, "ns": statistics.success_ns},
            "fail": {"count": statistics.fail_count, "ns": statistics.fail_ns},
            "queue": {"count": count, "ns": statistics.queue_ns},
            "compute_input": nothing,
            "compute_infer": {"count": count, "ns": statistics.compute_ns},
            "compute_output": nothing,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [
            {"batch_size": size, "compute_infer": {"count": calls, "ns": 0}}
            for size, calls in sorted(statistics.batches.items())
        ],
    }


def repository_index(
    models: Sequence[ServedVersion], is_ready: Callable[[ServedVersion], bool], *, only_ready: bool
) -> list[dict[str, str]]:
    """Return every served version and its state."""
    index = []
    for served in models:
        ready = is_ready(served)
        if ready or not only_ready:
            state, reason = ("READY", "") if ready else ("UNAVAILABLE", "no worker answers")
            index.append(
                {"name": served.name, "version": served.version, "state": state, "reason": reason}
            )
    return index


def _outputs(served: ServedVersion) -> list[tuple[str, tuple[int, ...]]]:
    """Return the outputs that a version may give, with their sides behind N."""
    sides: dict[str, tuple[int, ...]] = {"attribution": served.input}
    names = list(OUTPUTS)
    if len(served.classes) <= MAX_LOGGED_CLASSES:
        sides["probabilities"] = (len(served.classes),)
    else:
        names.remove("probabilities")
    if not served.screened:
        names = [name for name in names if name not in ("verdict", "score", "p_value")]
    if not served.max_explain_items:
        names.remove("attribution")
    return [(name, sides.get(name, ())) for name in names]


def _whole_numbers(version: str) -> list[int]:
    """Return the version as Triton counts them, or nothing: ours may be `1.0`."""
    plain = version.isascii() and version.isdigit() and len(version) < 19  # an int64
    return [int(version)] if plain else []
