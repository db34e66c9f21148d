from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.gpu_metrics import GpuMetrics
from gateway.telemetry.metrics import Metrics
from tests.gateway.plane.questions import DIGITS

PAGE = Path(__file__).parents[3] / "docs" / "gateway-telemetry.md"


class NvmlError(Exception):
    pass


@dataclass
class FakeNvml:
    """Stands in for the module `pynvml`; a handle is the index of its GPU."""

    gpus: int = 2
    driver: bool = True
    unsupported: set[str] = field(default_factory=set)
    NVMLError: type[Exception] = NvmlError
    NVML_TEMPERATURE_GPU: int = 0

    def _need(self, what: str) -> None:
        if what in self.unsupported:
            raise NvmlError("Not Supported")

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        if not self.driver:
            raise NvmlError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:  # noqa: N802
        return f"GPU-{handle}" if handle else b"GPU-0"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        self._need("utilisation")
        return SimpleNamespace(gpu=75, memory=10)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        self._need("memory")
        return SimpleNamespace(used=2**30, total=80 * 2**30, free=79 * 2**30)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        self._need("temperature")
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 40 + handle

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        self._need("power")
        return 350_500


def readings(nvml: FakeNvml) -> dict[str, dict[str, float]]:
    """The values by metric and GPU, as they are exposed."""
    metrics, gpus = Metrics([DIGITS]), GpuMetrics.of(nvml)
    assert gpus is not None
    metrics.watch(gpus)
    return {
        family.name: {sample.labels["gpu"]: sample.value for sample in family.samples}
        for family in text_string_to_metric_families(metrics.exposition()[0].decode())
        if family.name.startswith("torchkeep_gpu_")
    }


def test_each_gpu_has_its_readings() -> None:
    assert readings(FakeNvml()) == {
        "torchkeep_gpu_utilisation_ratio": {"0": 0.75, "1": 0.75},
        "torchkeep_gpu_memory_used_bytes": {"0": 2**30, "1": 2**30},
        "torchkeep_gpu_memory_total_bytes": {"0": 80 * 2**30, "1": 80 * 2**30},
        "torchkeep_gpu_temperature_celsius": {"0": 40, "1": 41},
        "torchkeep_gpu_power_watts": {"0": 350.5, "1": 350.5},
    }


def test_a_gpu_is_named_by_index_and_uuid() -> None:
    gpus = GpuMetrics.of(FakeNvml())
    assert gpus is not None
    labels = [sample.labels for family in gpus.collect() for sample in family.samples][:2]
    assert labels == [{"gpu": "0", "uuid": "GPU-0"}, {"gpu": "1", "uuid": "GPU-1"}]


@pytest.mark.parametrize("reading", ["utilisation", "memory", "temperature", "power"])
def test_what_a_gpu_cannot_tell_is_left_out(reading: str) -> None:
    found = readings(FakeNvml(unsupported={reading}))
    silent = {name for name, values in found.items() if not values}
    assert silent == {name for name in found if reading in name}


def test_a_gpu_that_is_lost_does_not_break_the_metrics() -> None:
    nvml = FakeNvml()
    gpus = GpuMetrics.of(nvml)
    nvml.unsupported |= {"utilisation", "memory", "temperature", "power"}
    assert gpus is not None
    assert [sample for family in gpus.collect() for sample in family.samples] == []


@pytest.mark.parametrize("nvml", [FakeNvml(driver=False), FakeNvml(gpus=0)])
def test_without_driver_or_gpu_there_are_none(nvml: FakeNvml) -> None:
    assert GpuMetrics.of(nvml) is None


def test_without_the_library_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuMetrics.find() is None


def test_the_library_has_all_that_is_asked_of_it() -> None:
    import pynvml

    fake = {name for name in dir(FakeNvml) if name.startswith(("nvml", "NVML"))}
    assert [name for name in sorted(fake) if not hasattr(pynvml, name)] == []
    assert issubclass(pynvml.NVMLError, Exception)


def test_the_page_names_them() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(torchkeep_gpu_\w+)` \|", page, re.MULTILINE))
    assert named == set(readings(FakeNvml()))
