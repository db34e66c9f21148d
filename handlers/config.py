"""Settings of the handler: what it takes in, and what it does with what screening finds."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torchkeep.errors import SettingsError
from torchkeep.image_shape import MAX_PIXELS
from torchkeep.schema import Disclose, Policy

MIB = 1024 * 1024
MAX_BODY_BYTES = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """Section `[limits]`: all are checked before anything is decoded.

    `max_json_bytes` is lower than `max_bytes` because parsed JSON takes up to 40 times its size.
    `max_forward_batch` bounds memory: a call with more items takes several forward passes.
    `explain_steps` trades the time of an explanation for its accuracy; with `max_explain_items` 0
    nothing is explained, because attributions also help an attacker.
    """

    max_items: int = 10_000
    max_bytes: int = 64 * MIB
    max_json_bytes: int = 8 * MIB
    max_pixels: int = MAX_PIXELS
    max_forward_batch: int = 256
    max_explain_items: int = 16
    explain_steps: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "max_explain_items" else 1
            if value < least:
                raise SettingsError(
                    f"[limits] {field.name} is {value}", remedy=f"Give {least} or more."
                )
        if self.max_bytes > MAX_BODY_BYTES:
            raise SettingsError(
                f"[limits] max_bytes is {self.max_bytes}", remedy=f"Give at most {MAX_BODY_BYTES}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningConfig:
    """Section `[screening]`: what is done with a suspicious item, and how much of it is told."""

    policy: Policy = Policy.FLAG
    disclose: Disclose = Disclose.VERDICT
