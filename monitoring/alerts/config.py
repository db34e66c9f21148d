"""Section `[alerts]`: the rules, and where alerts are sent."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from monitoring.alerts.measures import Measure
from torchkeep.errors import SettingsError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


class Severity(StrEnum):
    """How soon a person should look."""

    PAGE = "page"  # now
    TICKET = "ticket"  # within days
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An alert that fires while a measure is above (or below) a limit.

    It fires once the condition has held in `for_evaluations` evaluations in a row and for at least
    `for_s` seconds, and is over at the first evaluation in which it does not hold.
    """

    name: str
    measure: Measure
    above: float | None = None
    below: float | None = None
    for_evaluations: int = 1
    for_s: float = 0.0
    severity: Severity = Severity.TICKET
    summary: str = ""

    def __post_init__(self) -> None:
        where = f"alert rule {self.name!r}"
        if not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"{where}: not a name", remedy="Use letters, digits, '_', '.' and '-'."
            )
        if (self.above is None) == (self.below is None):
            raise SettingsError(f"{where} needs a limit", remedy="Give either above or below.")
        if not math.isfinite(self.limit):
            raise SettingsError(f"{where}: the limit is {self.limit}", remedy="Give a number.")
        if self.for_evaluations < 1:
            raise SettingsError(f"{where}: for_evaluations is {self.for_evaluations}")
        if not 0 <= self.for_s < math.inf:
            raise SettingsError(f"{where}: for_s is {self.for_s}")

    @property
    def limit(self) -> float:
        """The limit, whichever side of it is bad."""
        limit = self.above if self.above is not None else self.below
        return math.nan if limit is None else limit

    def holds(self, value: float) -> bool:
        """Whether a value is on the bad side of the limit."""
        return value > self.limit if self.above is not None else value < self.limit

    @property
    def condition(self) -> str:
        """The condition as text, such as "p99_ms above 250"."""
        return f"{self.measure} {'above' if self.above is not None else 'below'} {self.limit:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsConfig:
    """Rules, and the sinks: a line in the log, a webhook, Alertmanager."""

    rules: tuple[Rule, ...] = ()
    log: bool = True
    webhook_url: str | None = field(default=None, repr=False)
    webhook_key: Path | None = None
    """File whose content signs what the webhook gets; readable by its owner only."""
    alertmanager_url: str | None = field(default=None, repr=False)
    """Where Alertmanager's API is, without /api/v2."""
    timeout_s: float = 5.0
    """For one attempt."""
    attempts: int = 3
    deadline_s: float = 15.0
    """For all that one evaluation sends; what is left is sent by the next one."""
    stale_s: float = 900.0
    """Alertmanager takes an alert for over when it has not heard of it for so long."""

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SettingsError(f"two alert rules are named {twice!r}")
        for key in ("webhook_url", "alertmanager_url"):
            _require_url(key, getattr(self, key))
        if self.webhook_key is not None and self.webhook_url is None:
            raise SettingsError("[alerts] has a webhook_key but no webhook_url")
        for key, least in (("timeout_s", 0), ("deadline_s", 0), ("stale_s", 0), ("attempts", 0)):
            if not least < getattr(self, key) < math.inf:
                raise SettingsError(
                    f"[alerts] {key} is {getattr(self, key)}", remedy="Give a number above 0."
                )


def _require_url(key: str, url: str | None) -> None:
    """Refuse what is no HTTP address; the text may hold a secret, so it is not repeated."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise SettingsError(
            f"[alerts] {key} is no address", remedy="Give one such as http://127.0.0.1:9093."
        )
