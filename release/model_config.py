"""How TorchServe runs one model: the file `model-config.yaml` in its archive."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from torchkeep.artifact import Manifest
from torchkeep.errors import ArtifactError

DAY_S = 86_400

_YAML = """\
minWorkers: {workers}
maxWorkers: {workers}
batchSize: 1
maxBatchDelay: 0
responseTimeout: {response_timeout_s}
startupTimeout: {startup_timeout_s}
maxRetryTimeoutInSec: {retry_timeout_s}
deviceType: {device}
"""
_MOST = {
    "workers": 1024,
    "response_timeout_s": DAY_S,
    "startup_timeout_s": DAY_S,
    "retry_timeout_s": 20 * DAY_S,
}
_FAULT = "model-config.yaml says more, or less, than workers, timeouts and device"


class Device(StrEnum):
    """Where workers compute; TorchServe shares the GPUs out, and takes the CPU if there is none."""

    CPU = "cpu"
    GPU = "gpu"

    @classmethod
    def of(cls, manifest: Manifest) -> Device:
        """Return the device an artifact's thresholds hold for; any will do if it has none."""
        calibration = (manifest.screening or {}).get("calibration", {})
        return cls.CPU if calibration.get("device_type") == "cpu" else cls.GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Workers and timeouts of one model; one call is one batch, for a call may hold many items.

    TorchServe stops restarting a worker that has been failing for `retry_timeout_s`.
    """

    device: Device
    workers: int = 1
    response_timeout_s: int = 120
    startup_timeout_s: int = 120
    retry_timeout_s: int = 300

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ArtifactError(f"{name} is {getattr(self, name)}; it must be 1 to {most}")

    def to_yaml(self) -> bytes:
        """Return the content of the file."""
        return _YAML.format(**asdict(self)).encode()

    @classmethod
    def from_yaml(cls, content: bytes) -> ModelConfig:
        """Read what `to_yaml` writes, and nothing else of YAML. Raises `ArtifactError`."""
        try:
            said = dict(line.split(": ", 1) for line in content.decode("ascii").splitlines())
            config = cls(
                device=Device(said["deviceType"]),
                workers=int(said["minWorkers"]),
                response_timeout_s=int(said["responseTimeout"]),
                startup_timeout_s=int(said["startupTimeout"]),
                retry_timeout_s=int(said["maxRetryTimeoutInSec"]),
            )
        except (ValueError, KeyError) as error:
            raise ArtifactError(_FAULT) from error
        if config.to_yaml() != content:
            raise ArtifactError(_FAULT)
        return config
