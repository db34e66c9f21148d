"""Which certificates a client trusts: those of a PEM file, or those it finds by itself."""

from __future__ import annotations

import ssl
from pathlib import Path

from torchkeep.errors import SettingsError


def ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that checks the server's certificate by `ca_file` or the system's roots.

    Raises `SettingsError` if the file cannot be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"{ca_file} is no file of certificates: {error.strerror or error}",
            remedy="Give a PEM file.",
        ) from error


def root_certificates(ca_file: Path | None) -> bytes | None:
    """Return the content of `ca_file` after the same check; None leaves gRPC its own roots."""
    if ca_file is None:
        return None
    ssl_context(ca_file)  # gRPC takes any bytes, and then trusts nobody
    return ca_file.read_bytes()
