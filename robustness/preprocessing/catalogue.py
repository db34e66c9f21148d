"""Preprocessing defences by name: from a file, or as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustness.preprocessing.preprocessing import Preprocessing
from robustness.preprocessing.squeezing import Bits, Jpeg, Median
from robustness.preprocessing.total_variation import TotalVariation
from torchkeep.errors import ArtifactError, SettingsError

WRITE_THUS = "Write jpeg:75, bits:4, median:3 or tv:0.1."

KINDS: Mapping[str, type[Preprocessing]] = {
    one.kind: one for one in (Jpeg, Bits, Median, TotalVariation)
}


def build_preprocessing(kind: str, options: Mapping[str, Any]) -> Preprocessing:
    """Build a defence from what a file says; raises `ArtifactError` if there is none such."""
    try:
        return KINDS[kind](**options)
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise ArtifactError(f"no preprocessing {kind!r} with options {options!r}") from error


def parse(text: str) -> Preprocessing:
    """Read a defence as people write it, such as `jpeg:75`; raises `SettingsError`."""
    kind, _, number = text.strip().lower().partition(":")
    if kind not in KINDS:
        raise SettingsError(f"{text!r} is no preprocessing", remedy=WRITE_THUS)
    try:
        value = float(number) if kind == TotalVariation.kind else int(number)
    except ValueError as error:
        raise SettingsError(f"{text!r} is no preprocessing", remedy=WRITE_THUS) from error
    return KINDS[kind](value)
