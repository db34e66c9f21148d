"""Metrics of NVIDIA's GPUs, read from their driver by `nvidia-ml-py` (NVML)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Self

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_LABELS = ("gpu", "uuid")
_Reading = Callable[[Any, Any], float]  # of the module NVML and the handle of a GPU

_READINGS: tuple[tuple[str, str, _Reading], ...] = (
    (
        "torchkeep_gpu_utilisation_ratio",
        "Share of the last moments in which the GPU computed, 0 to 1",
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    ),
    (
        "torchkeep_gpu_memory_used_bytes",
        "Memory in use, by all processes",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    ),
    (
        "torchkeep_gpu_memory_total_bytes",
        "Memory that the GPU has",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    ),
    (
        "torchkeep_gpu_temperature_celsius",
        "Temperature of the chip",
        lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
    (
        "torchkeep_gpu_power_watts",
        "Power that the GPU draws",
        lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1_000,
    ),
)


class GpuMetrics(Collector):
    """A gauge for each reading and GPU; what a GPU or its driver cannot tell is left out."""

    def __init__(self, nvml: Any) -> None:
        """Take the module `pynvml`, initialised. Raises its `NVMLError`."""
        self._nvml = nvml
        self._gpus = [
            (str(index), _uuid(nvml, handle), handle)
            for index in range(nvml.nvmlDeviceGetCount())
            for handle in [nvml.nvmlDeviceGetHandleByIndex(index)]
        ]

    @classmethod
    def find(cls) -> Self | None:
        """The GPUs of this machine; None without the library, its driver or a GPU."""
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return None
        return cls.of(nvml)

    @classmethod
    def of(cls, nvml: Any) -> Self | None:
        """The GPUs that the module `pynvml` finds; None without a driver or a GPU."""
        try:
            nvml.nvmlInit()
            found = cls(nvml)
        except nvml.NVMLError:
            return None
        return found if found._gpus else None

    def collect(self) -> Iterator[Metric]:
        """Read all GPUs, a few ms each."""
        for name, text, reading in _READINGS:
            family = GaugeMetricFamily(name, text, labels=_LABELS)
            for index, uuid, handle in self._gpus:
                try:
                    family.add_metric((index, uuid), float(reading(self._nvml, handle)))
                except self._nvml.NVMLError:
                    continue  # not supported, or the GPU has fallen off the bus
            yield family


def _uuid(nvml: Any, handle: Any) -> str:
    uuid = nvml.nvmlDeviceGetUUID(handle)
    return uuid.decode() if isinstance(uuid, bytes) else str(uuid)
