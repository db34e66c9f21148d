"""What stands behind the gateway: written by whoever starts TorchServe, read by the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from torchkeep.atomic_file import write_atomic
from torchkeep.errors import ServerError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVersion:
    """One version of one model that TorchServe serves."""

    name: str
    version: str
    digest: str  # of the artifact
    input: tuple[int, int, int]  # C H W
    classes: tuple[str, ...]
    device: str  # cpu or cuda
    workers: int
    screened: bool
    max_items: int  # of the handler's limits
    max_explain_items: int
    max_forward_batch: int
    max_bytes: int = 64 * MIB  # of a call: the smaller one of the handler's and TorchServe's limits

    @property
    def key(self) -> tuple[str, str]:
        """Name and version."""
        return self.name, self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """TorchServe's address and keys, and what it serves; the first version of a name is its
    default.
    """

    http_address: str  # host:port, loopback
    token_file: str  # TorchServe's key_file.json
    envelope_key: str  # a key file
    models: tuple[ServedVersion, ...]
    max_response_bytes: int = 64 * MIB

    def write(self, path: Path) -> None:
        """Put the description into a file, whole. Raises `OSError`."""
        write_atomic(path, msgspec.json.encode(self), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Upstream:
        """Read what `write` wrote. Raises `ServerError`."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise ServerError(f"{path} does not say what is served: {error}") from error
