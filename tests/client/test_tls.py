"""Encrypted, a client trusts only the certificates it should."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.protocol_servers import TOKEN, Certificate, Servers, serve
from torchkeep.client import Client, ServerError
from torchkeep.errors import SettingsError

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for the loopback, valid for a day."""
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "chain.pem", folder / "key.pem")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(made.key), "-out", str(made.chain)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture
def secure(certificate: Certificate) -> Iterator[Servers]:
    with serve(certificate) as running:
        yield running


def test_a_trusted_server_is_asked(secure: Servers, certificate: Certificate) -> None:
    for url in (secure.rest, secure.grpc):
        with Client(url, token=TOKEN, ca_file=certificate.chain) as client:
            assert client.health().healthy
            assert client.predict(b"image").items[0].ok


def test_a_server_that_is_not_trusted_never_sees_the_token(secure: Servers) -> None:
    for url in (secure.rest, secure.grpc):
        with Client(url, token=TOKEN) as client, pytest.raises(ServerError):
            client.predict(b"image")
    assert secure.model.asked == []


@pytest.mark.parametrize("content", [None, "not a certificate"])
@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_file_without_certificates_is_named(
    scheme: str, content: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        Client(f"{scheme}://127.0.0.1:1", ca_file=file)
