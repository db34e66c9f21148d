"""What a server is known by: a change of anything that decides its answers is another server."""

from __future__ import annotations

import hashlib
import sys

import orjson

from gateway.config import GatewayConfig
from release.gateway_process import tls_files
from release.vet import VettedArchive
from torchkeep.atomic_file import sha256_file
from torchkeep.code_digest import code_digest
from torchkeep.settings import SECTIONS, Settings

SERVED_PACKAGES = ("gateway", "handlers", "monitoring", "release", "robustness", "torchkeep")
"""Whose code runs in the server, the gateway and their supervisor."""
_DECISIVE_SECTIONS = tuple(section for section in SECTIONS if section != "data")


def fingerprint(vetted: VettedArchive, settings: Settings) -> str:
    """Return a hash of all that decides what would be running."""
    prefixes = tuple(f"TORCHKEEP_{section.upper()}_" for section in _DECISIVE_SECTIONS)
    variables = settings.variables.items()
    certificates = tls_files(settings.section("gateway", GatewayConfig))
    decisive = {
        "archive": vetted.digest,
        "code": code_digest(*SERVED_PACKAGES),
        "python": sys.executable,
        "tables": {name: settings.tables.get(name) for name in _DECISIVE_SECTIONS},
        "variables": {name: value for name, value in variables if name.startswith(prefixes)},
        "tls": {name: sha256_file(file) for name, file in certificates.items() if file.is_file()},
    }
    content = orjson.dumps(decisive, option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(content).hexdigest()
