"""What is set about the sequential alarm, and what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torchkeep.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialConfig:
    """How often the alarm may be false, and what an item is compared with.

    Raises `SettingsError` for values that cannot work.
    """

    average_run_length: int = 10_000
    """Items that pass on average before an alarm, if nothing changes: the design."""
    block: int = 256
    """Items that are compared with the same earlier items, before they join them."""
    memory: int = 16_384
    """The latest items of the stream that an item is compared with, besides the reference's."""
    neighbours: int = 10
    """The distance to so many embeddings, averaged, says how unusual an embedding is."""
    seed: int = 0
    """Of the division of the reference and of what breaks ties."""

    def __post_init__(self) -> None:
        limits = {
            "average_run_length": (100, 10**9),
            "block": (1, 65_536),
            "memory": (0, 1 << 20),
            "neighbours": (1, 100),
            "seed": (0, 2**32 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise SettingsError(
                    f"sequential {name} is {value!r}", remedy=f"Give {low} to {high}."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The stream changed, the detector says. Numbers count the items judged, from 1."""

    number: int
    """The item at which the alarm rose."""
    timestamp_ns: int
    request_id: str
    item: int
    witness: str
    """What spoke loudest: a score such as `brightness`, or `class NAME` for predictions."""
    rising: bool
    """True if the witness' values (or the class' share) rose or spread, false if they fell."""
    statistic: float
    """The Shiryaev-Roberts statistic; it reached `threshold`."""
    threshold: float
    change_number: int
    """The estimated first item after the change, by the witness."""
    change_timestamp_ns: int

    @property
    def delay(self) -> int:
        """Items from the estimated change to the alarm, both counted."""
        return self.number - self.change_number + 1

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the delay as what JSON can hold."""
        return asdict(self) | {"delay": self.delay}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the items that were offered."""

    judged: int
    """They were bet on."""
    lacking: int
    """A score was NaN or infinite, or nothing was predicted: not bet on."""
    late: int
    """They are older than an item taken before: not bet on."""
    ahead: int
    """Of the window offered last, they are of the future (clock skew): not taken, they may come
    again."""
    dependent: int
    """They came too soon after another item of their session: not bet on."""
    alarms: int
    confirmations: int
    """So often the statistic rose again while the shift of an alarm went on."""
