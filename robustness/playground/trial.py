"""What the page asks for: one trial, parsed strictly from JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from torchkeep.errors import SettingsError
from torchkeep.schema import Policy
from torchkeep.threat_model import PATCH, Epsilon, Norm, PatchThreat, Threat, ThreatModel

MAX_UPLOAD_CHARS = 6 * 1024 * 1024
"""Longest upload in base64, which is 4.5 MiB of file."""
SMALLEST = 1e-6
"""Smallest strength; float32 pixels know little below."""
LARGEST: dict[str, float] = {Norm.LINF: 1.0, Norm.L2: 100.0, Norm.L1: 10_000.0, PATCH: 1.0}
"""Largest strength by kind of threat: for a patch the share of the image's area."""

Kind = Literal["linf", "l2", "l1", "patch"]


class Place(StrEnum):
    """Who answers: the artifact in this process, or the running server."""

    HERE = "here"
    SERVER = "server"


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image, an attack with its strength, a defence, who answers, and the policy in force.

    The image is `upload` (base64 of a file) if there is one, else the test image at `index`.
    `attack`, `defence` are names of the menu; no defence means the artifact's own preprocessing.
    """

    index: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    upload: Annotated[str, msgspec.Meta(max_length=MAX_UPLOAD_CHARS)] | None = None
    attack: Annotated[str, msgspec.Meta(max_length=20)] = "pgd"
    threat: Kind = "linf"
    size: Annotated[float, msgspec.Meta(ge=SMALLEST)] = 0.1
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0
    defence: Annotated[str, msgspec.Meta(max_length=20)] | None = None
    place: Place = Place.HERE
    policy: Policy = Policy.FLAG

    def allowed(self) -> Threat:
        """Return what the attacker may do; `SettingsError` if it is more than any image has."""
        largest = LARGEST[self.threat]
        if not self.size <= largest:
            raise SettingsError(
                f"strength {self.size:g} in {self.threat}", remedy=f"Give at most {largest:g}."
            )
        if self.threat == PATCH:
            return PatchThreat(share=self.size)
        return ThreatModel(norm=Norm(self.threat), eps=Epsilon(self.size))


def parse_trial(body: bytes) -> Trial:
    """Read a trial; raises `SettingsError` for anything that is none."""
    try:
        return msgspec.json.decode(body, type=Trial)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"not a trial: {reason}", remedy="Reload the page.") from error
