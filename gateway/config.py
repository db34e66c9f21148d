"""Settings of the gateway: the section `[gateway]`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from torchkeep.errors import SettingsError

MIB = 1024 * 1024

_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("http_port", "grpc_port", "observe_port"), (0, 65_534)),
    "max_batch": (1, 10_000),
    "max_wait_ms": (0, 1_000),
    "calls_per_worker": (1, 16),
    "max_queued_items": (1, 10_000_000),
    "max_queued_mib": (1, 65_536),
    "max_body_mib": (1, 1_024),
    "max_connections": (1, 100_000),
    "request_timeout_s": (0.1, 86_400),
    "header_timeout_s": (0.1, 3_600),
    "body_timeout_s": (0.1, 3_600),
    "send_timeout_s": (0.1, 3_600),
    "keep_alive_s": (0.1, 3_600),
    "drain_s": (0.1, 3_600),
    "stranger_records_per_s": (0.1, 100_000),
    "trace_share": (0, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """How the gateway listens, batches and limits; a port of 0 picks a free one.

    `max_batch` items at most share a call; while calls are under way, an item waits at most
    `max_wait_ms` for others to join it. `calls_per_worker` calls are under way for each worker: one
    is computed while the next one waits at its door. `request_timeout_s` is the deadline of a
    request that names none, and the longest that one may name.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    observe_host: str = "127.0.0.1"
    observe_port: int = 8002  # health and metrics
    max_batch: int = 64
    max_wait_ms: float = 2.0
    calls_per_worker: int = 2
    max_queued_items: int = 20_000
    max_queued_mib: int = 256
    max_body_mib: int = 64
    max_connections: int = 2_000
    request_timeout_s: float = 30.0
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    send_timeout_s: float = 30.0
    keep_alive_s: float = 60.0
    drain_s: float = 30.0
    stranger_records_per_s: float = 20.0  # of requests without a valid key; the rest is counted
    tls_certificate: Path | None = None  # PEM, with its chain
    tls_key: Path | None = None
    tls_client_ca: Path | None = None  # callers must show a certificate of these (mTLS)
    plain_on_network: bool = False  # listen beyond loopback without TLS, for one who ends TLS
    otlp_endpoint: str = ""  # where traces go (OTLP over HTTP); "" keeps none
    trace_share: float = 1.0  # of the requests whose callers do not trace them

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise SettingsError(
                    f"[gateway] {name} is {value}", remedy=f"Give {least:g} to {most:g}."
                )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsError(
                "[gateway] names only one of tls_certificate and tls_key", remedy="Name both."
            )
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise SettingsError(
                "[gateway] tls_client_ca needs TLS", remedy="Name tls_certificate and tls_key."
            )
        if not (is_loopback(self.host) or self.tls_certificate or self.plain_on_network):
            raise SettingsError(
                f"[gateway] host {self.host} faces a network without TLS",
                remedy="Name tls_certificate and tls_key, or, where something in front of it ends "
                "TLS, set plain_on_network = true.",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
