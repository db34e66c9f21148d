"""What stands under every figure: the machine and the versions of what computed it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "adversarial-robustness-toolbox", "numpy", "scipy", "torchkeep")


def hardware(device: str) -> str:
    """Return the processor and how many cores this process may use, and the GPU if it computes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = f"{cores} cores of {_processor()}"
    if device.startswith("cuda"):
        import torch

        told = f"{torch.cuda.get_device_name(device)}, {told}"
    return told


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the libraries that figures depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
