"""Encryption towards callers, for both protocols from the same files; checked before anyone comes.

TLS 1.2 at least, and of 1.2 only ciphers with forward secrecy and authenticated encryption. gRPC
has this by default (its ciphers cannot be given but by `GRPC_SSL_CIPHER_SUITES`), with AES alone;
over HTTP ChaCha20 is taken as well. With `tls_client_ca` a caller must
show a certificate as well (mTLS), on top of its API key.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from gateway.config import GatewayConfig
from torchkeep.errors import SettingsError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
MAX_BYTES = 1024 * 1024

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_WHY_NOT = {
    9: "is not valid yet",  # X509_V_ERR_CERT_NOT_YET_VALID
    10: "has expired",  # X509_V_ERR_CERT_HAS_EXPIRED
    26: "is not made for servers",  # X509_V_ERR_INVALID_PURPOSE
}
_KEYS_OF_GRPC = tuple(
    bytes.fromhex(identifier)  # of the algorithm (RFC 3279) or the curve (RFC 5480), in DER
    for identifier in ("06092a864886f70d010101", "06082a8648ce3d030107", "06052b81040022")
)
_ROUND_TRIPS = 4  # one more than TLS 1.2 needs
_MISMATCH = "KEY_VALUES_MISMATCH"


@dataclass(frozen=True, slots=True)
class Tls:
    """The same encryption in the form each protocol's server takes."""

    context: ssl.SSLContext  # HTTP
    credentials: grpc.ServerCredentials


def load_tls(config: GatewayConfig) -> Tls | None:
    """Read and check the files of the settings; None if they ask for no TLS.

    Raises `SettingsError`: a file that is missing, unreadable or not PEM, a key that others may
    read, is encrypted or belongs to another certificate, a certificate that has expired.
    """
    if config.tls_certificate is None or config.tls_key is None:
        return None
    chain = _read(config.tls_certificate, "tls_certificate")
    key = _read(config.tls_key, "tls_key", secret=True)
    context = _context(config.tls_certificate, config.tls_key)
    _check_certificate(context, config.tls_certificate, chain)
    authorities = None
    if config.tls_client_ca is not None:
        authorities = "\n".join(_certificates(_read(config.tls_client_ca, "tls_client_ca")))
        _ask_for_certificates(context, config.tls_client_ca, authorities)
    credentials = grpc.ssl_server_credentials(
        [(key, chain)],
        root_certificates=authorities.encode() if authorities else None,
        require_client_auth=authorities is not None,
    )
    return Tls(context, credentials)


def _read(path: Path, setting: str, *, secret: bool = False) -> bytes:
    """Return the bytes of a file; links are followed, for mounted secrets are links."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SettingsError(
            f"[gateway] {setting}: {path} cannot be read: {error.strerror}",
            remedy="Name a PEM file that the gateway may read.",
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"[gateway] {setting}: {path} is not a file")
        if secret:
            _require_private(path, status)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise SettingsError(f"[gateway] {setting}: {path} is larger than {MAX_BYTES} bytes")
    return content


def _require_private(path: Path, status: os.stat_result) -> None:
    """Refuse a key that others may use; a group may read root's key, as PostgreSQL has it.

    That is how Kubernetes mounts a secret for a process that is not root.
    """
    owner, mode = status.st_uid, stat.S_IMODE(status.st_mode)
    if owner not in (os.geteuid(), 0):
        raise SettingsError(f"[gateway] tls_key: {path} belongs to another user")
    if mode & (0o077 if owner == os.geteuid() else 0o037):
        raise SettingsError(
            f"[gateway] tls_key: {path} may be read by others", remedy=f"Run `chmod 600 {path}`."
        )


def _certificates(content: bytes) -> list[str]:
    """Return the PEM certificates of a file without what stands between them."""
    return _CERTIFICATE.findall(content.decode("latin-1"))


def _context(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    asked = False

    def no_password() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(chain, key, password=no_password)
    except ssl.SSLError as error:
        if asked:
            fault, remedy = f"tls_key: {key} is encrypted", "Name a key without a password."
        elif error.reason == _MISMATCH:
            fault = f"tls_key: {key} does not belong to the certificate {chain}"
            remedy = "Name the two that were made together; the server's certificate comes first."
        else:
            fault = f"{chain} or {key} cannot be used: {error.reason or 'not PEM'}"
            remedy = "Name PEM files of a certificate and its key."
        raise SettingsError(f"[gateway] {fault}", remedy=remedy) from error
    return context


def _check_certificate(server: ssl.SSLContext, path: Path, chain: bytes) -> None:
    """Shake hands with it in memory, as one who trusts this certificate and nothing else.

    OpenSSL then says what is wrong with it, its dates among others.
    """
    leaf = _leaf(path, chain)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(cadata=leaf)
        _shake_hands(client, server)
    except ssl.SSLCertVerificationError as error:
        why = _WHY_NOT.get(error.verify_code, f"cannot be used: {error.verify_message}")
        raise SettingsError(
            f"[gateway] tls_certificate: {path} {why}", remedy="Put a new one in its place."
        ) from error
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(f"[gateway] tls_certificate: {path} cannot be used: {error}") from error


def _leaf(path: Path, chain: bytes) -> bytes:
    """Return the server's own certificate in DER, if both servers can use its key."""
    try:
        leaf = ssl.PEM_cert_to_DER_cert(_certificates(chain)[0])
    except (IndexError, ValueError) as error:
        raise SettingsError(
            f"[gateway] tls_certificate: {path} does not begin with a PEM certificate"
        ) from error
    if not any(kind in leaf for kind in _KEYS_OF_GRPC):
        raise SettingsError(
            f"[gateway] tls_certificate: {path} has a kind of key that gRPC cannot use",
            remedy="Make one with RSA, P-256 or P-384.",
        )
    return leaf


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_ROUND_TRIPS):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()


def _ask_for_certificates(context: ssl.SSLContext, path: Path, authorities: str) -> None:
    try:
        context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"[gateway] tls_client_ca: {path} holds no PEM certificate",
            remedy="Name the certificates of those who sign your callers' certificates.",
        ) from error
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    if ends and max(ends) <= time.time():
        raise SettingsError(
            f"[gateway] tls_client_ca: {path} has expired", remedy="Put a new one in its place."
        )
    context.verify_mode = ssl.CERT_REQUIRED
