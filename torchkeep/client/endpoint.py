"""Where a server is: an address such as `http://127.0.0.1:8000` or `grpc://127.0.0.1:8001`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from torchkeep.errors import SettingsError

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
EXAMPLES: Final = "Give an address such as http://127.0.0.1:8000 or grpc://127.0.0.1:8001."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed address; `prefix` is the path before `/predictions`, for a server behind a proxy."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read an address; raise `SettingsError` if it is not one of a server we can speak to."""
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")  # as connecting does, if late
        except ValueError as error:
            raise SettingsError(f"{url!r} is not an address: {error}", remedy=EXAMPLES) from error
        _check(url, parts)
        prefix = parts.path.rstrip("/")
        if prefix and parts.scheme.startswith("grpc"):
            raise SettingsError(f"{url!r} has a path, which gRPC has not", remedy=EXAMPLES)
        port = DEFAULT_PORTS[parts.scheme] if port is None else port
        return cls(parts.scheme, parts.hostname or "", port, prefix)

    @property
    def authority(self) -> str:
        """Host and port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the server's certificate checked."""
        return self.scheme in ("https", "grpcs")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def _check(url: str, parts: SplitResult) -> None:
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(
            "the address holds more than a host, a port and a path",
            remedy="Pass credentials as token=, and the model as model=.",
        )
    if parts.scheme not in DEFAULT_PORTS:
        raise SettingsError(
            f"{url!r} begins with none of http, https, grpc, grpcs", remedy=EXAMPLES
        )
    if not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"{url!r} names no host", remedy=EXAMPLES)
