"""The shape of an image, bounded before anything is allocated for it."""

from __future__ import annotations

from dataclasses import dataclass

from torchkeep.errors import SettingsError

MAX_CHANNELS = 16
MAX_PIXELS = 4096 * 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """Channels, height and width of one input image."""

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if not all(type(side) is int for side in self.chw):
            raise SettingsError(f"{self.chw} is no image shape", remedy="Give whole numbers.")
        channels_fit = 1 <= self.channels <= MAX_CHANNELS
        sides_fit = min(self.height, self.width) >= 1 and self.height * self.width <= MAX_PIXELS
        if not (channels_fit and sides_fit):
            raise SettingsError(
                f"{self.channels} × {self.height} × {self.width} is no image shape",
                remedy=f"Give 1 to {MAX_CHANNELS} channels and at most {MAX_PIXELS} pixels.",
            )

    @property
    def chw(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width
