"""Section `[monitoring]` of the settings: where the log store lies, how often to cry wolf."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torchkeep.errors import SettingsError
from torchkeep.paths import Home

_DEFAULT_FOLDER = "log-store"


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringConfig:
    """Section `[monitoring]`. Credentials of object storage are no settings: AWS_* hold them."""

    store: str = ""
    """A folder, or s3://bucket/prefix. Empty: log-store in the home; relative: from the home."""
    s3_endpoint: str = ""
    """Address of S3-compatible storage, such as http://127.0.0.1:9000; empty: AWS itself."""
    s3_region: str = ""
    keep_segments: bool = True
    """False: segments are removed once the store holds all their lines."""
    false_alarm_rate: float = 0.025
    """How often an analysis of drift may find drift where there is none."""
    average_run_length: int = 10_000
    """Items that pass on average before the alarm over the stream rises without a cause."""
    novelty_level: float = 0.01
    """Share of usual items that count as novel."""
    own_clients: tuple[str, ...] = ()
    """Pseudonyms of other machines that send simulations; this machine's own is known."""
    most_items: int = 200_000
    """Of more items than these, drift, novelty and accuracy look at the latest."""

    def __post_init__(self) -> None:
        if "://" in self.store and not self.store.startswith("s3://"):
            raise SettingsError(
                f"[monitoring] store is {self.store!r}",
                remedy="Give a folder or s3://bucket/prefix.",
            )
        if self.s3_endpoint and not self.s3_endpoint.startswith(("http://", "https://")):
            raise SettingsError(
                f"[monitoring] s3_endpoint is {self.s3_endpoint!r}",
                remedy="Give an address with http:// or https://.",
            )
        if self.most_items < 1:
            raise SettingsError(f"[monitoring] most_items is {self.most_items}")

    def location(self, home: Home) -> str:
        """Where the store lies: an absolute path, or s3://bucket/prefix."""
        if self.store.startswith("s3://"):
            return self.store
        return str(Path(home.root / (self.store or _DEFAULT_FOLDER)))

    @staticmethod
    def state(home: Home) -> Path:
        """Where monitoring keeps what goes on from one look to the next; mode 0700."""
        return home.root / "monitoring"
