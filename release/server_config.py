"""Settings of the server: the section `[server]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from release.model_config import DAY_S, Device, ModelConfig
from torchkeep.errors import SettingsError

MIB = 1024 * 1024
PORTS = ("rest_port", "grpc_port", "management_port", "metrics_port", "grpc_management_port")

_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(PORTS, (0, 65_534)),
    "workers": (1, 1024),
    "threads_per_worker": (0, 1024),
    "job_queue_size": (1, 1_000_000),
    "max_request_bytes": (64 * 1024, 1024 * MIB),
    "max_response_bytes": (64 * 1024, 1024 * MIB),
    "response_timeout_s": (1, DAY_S),
    "startup_timeout_s": (1, DAY_S),
    "token_minutes": (0.1, 525_600),
    "java_heap_mib": (128, 65_536),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How TorchServe is run on this machine; it listens on 127.0.0.1 only.

    A port of 0 picks a free one. `threads_per_worker` 0 takes OMP_NUM_THREADS, or else shares the
    cores out among the workers. Tokens are renewed when four fifths of `token_minutes` have passed.
    """

    model_store: Path = Path("model_store")
    rest_port: int = 8080
    grpc_port: int = 7070
    management_port: int = 8081
    metrics_port: int = 8082
    grpc_management_port: int = 7071
    workers: int = 1
    threads_per_worker: int = 0
    job_queue_size: int = 100
    max_request_bytes: int = 64 * MIB
    max_response_bytes: int = 64 * MIB
    response_timeout_s: int = 120
    startup_timeout_s: int = 120
    token_minutes: float = 1440.0
    java_heap_mib: int = 512

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise SettingsError(
                    f"[server] {name} is {value}", remedy=f"Give {least:g} to {most:g}."
                )
        fixed = [port for name in PORTS if (port := getattr(self, name))]
        for port in fixed:
            if fixed.count(port) > 1:
                raise SettingsError(
                    f"[server] uses port {port} twice", remedy="Give each its own port, or 0."
                )

    def model_config(self, device: Device) -> ModelConfig:
        """Return what TorchServe is told about the model; workers are restarted without end."""
        return ModelConfig(
            device=device,
            workers=self.workers,
            response_timeout_s=self.response_timeout_s,
            startup_timeout_s=self.startup_timeout_s,
            retry_timeout_s=20 * DAY_S,
        )
