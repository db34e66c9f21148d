"""Encrypted: files that do not fit are refused in one line, and so are callers, by both servers."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest
import uvicorn

from gateway.config import GatewayConfig
from gateway.identity.tls import Tls, load_tls
from tests.gateway.identity.certificates import RSA, Authority, Certificate, openssl
from tests.house.doc_blocks import blocks, console_commands
from tests.house.source_files import ROOT
from torchkeep.errors import SettingsError
from torchkeep.settings import Settings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

METHOD = "/test.Echo/Ask"
DEPRECATED = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody asked for."""
    return Authority.make(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.issue("server")


def config(server: Certificate, client_ca: Path | None = None) -> GatewayConfig:
    return GatewayConfig(tls_certificate=server.chain, tls_key=server.key, tls_client_ca=client_ca)


def loaded(server: Certificate, client_ca: Path | None = None) -> Tls:
    tls = load_tls(config(server, client_ca))
    assert tls is not None
    return tls


def refused(server: Certificate, client_ca: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_tls(config(server, client_ca))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@dataclass
class Running:
    """Two servers behind one `Tls`, and how many requests came through to either."""

    https: int = 0
    grpcs: int = 0
    reached: list[str] = field(default_factory=list)


@asynccontextmanager
async def running(tls: Tls) -> AsyncIterator[Running]:
    found = Running()
    async with _https(tls, found), _grpcs(tls, found):
        yield found


@asynccontextmanager
async def _https(tls: Tls, found: Running) -> AsyncIterator[None]:
    async def app(scope: dict, receive: Callable, send: Callable) -> None:  # type: ignore[type-arg]
        found.reached.append("https")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    settings = uvicorn.Config(
        app, lifespan="off", log_config=None, ssl_context_factory=lambda *_: tls.context
    )
    served = uvicorn.Server(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found.https = listener.getsockname()[1]
        task = asyncio.create_task(served._serve([listener]))
        while not served.started:
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            served.should_exit = True
            await task


@asynccontextmanager
async def _grpcs(tls: Tls, found: Running) -> AsyncIterator[None]:
    async def ask(request: bytes, context: object) -> bytes:
        found.reached.append("grpcs")
        return request

    served = grpc.aio.server()
    handlers = {"Ask": grpc.unary_unary_rpc_method_handler(ask)}
    served.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
    found.grpcs = served.add_secure_port("127.0.0.1:0", tls.credentials)
    await served.start()
    try:
        yield
    finally:
        await served.stop(None)


async def https_answer(port: int, ca: Path, own: Certificate | None = None) -> str:
    """Return what the HTTPS server answers, or `refused`."""
    context = ssl.create_default_context(cafile=str(ca))
    if own:
        context.load_cert_chain(own.chain, own.key)
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        try:
            return (await client.get(f"https://127.0.0.1:{port}/")).text
        except httpx.TransportError:
            return "refused"


async def grpcs_answer(port: int, ca: Path, own: Certificate | None = None) -> str:
    """Return what the gRPC server answers, or `refused`."""
    credentials = grpc.ssl_channel_credentials(
        ca.read_bytes(),
        private_key=own.key.read_bytes() if own else None,
        certificate_chain=own.chain.read_bytes() if own else None,
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        try:
            ask = channel.unary_unary(METHOD, bytes, bytes)
            return bytes(await ask(b"hello", timeout=10)).decode()
        except grpc.aio.AioRpcError as error:
            return "refused" if error.code() is grpc.StatusCode.UNAVAILABLE else repr(error)


def both(tls: Tls, ca: Path, own: Certificate | None = None) -> tuple[list[str], list[str]]:
    """Ask both servers; return their answers and what reached the applications."""

    async def ask() -> tuple[list[str], list[str]]:
        async with running(tls) as found:
            answers = [
                await https_answer(found.https, ca, own),
                await grpcs_answer(found.grpcs, ca, own),
            ]
        return answers, found.reached

    return asyncio.run(ask())


def test_without_certificates_there_is_no_tls() -> None:
    assert load_tls(GatewayConfig()) is None


def test_a_caller_that_trusts_the_server_gets_through(
    authority: Authority, stranger: Authority, server: Certificate
) -> None:
    tls = loaded(server)
    assert both(tls, authority.certificate) == (["hello"] * 2, ["https", "grpcs"])
    assert both(tls, stranger.certificate) == (["refused"] * 2, [])


def test_an_rsa_certificate_with_its_chain_serves_as_well(authority: Authority) -> None:
    made = authority.issue("rsa", kind=RSA)
    made.chain.write_text(
        "Ünder us:\n" + made.chain.read_text() + authority.certificate.read_text()
    )
    assert both(loaded(made), authority.certificate)[0] == ["hello"] * 2


def test_mtls_lets_only_callers_with_a_good_certificate_through(
    authority: Authority, stranger: Authority, server: Certificate
) -> None:
    tls = loaded(server, authority.certificate)
    own = authority.issue("caller", usage="clientAuth")
    assert both(tls, authority.certificate, own) == (["hello"] * 2, ["https", "grpcs"])
    for other in (
        None,
        stranger.issue("caller", usage="clientAuth"),
        authority.issue("late", usage="clientAuth", days=-1),
        authority.issue("other-use", usage="emailProtection"),
    ):
        assert both(tls, authority.certificate, other) == (["refused"] * 2, [])


def shakes_hands(port: int, ca: Path, *, version: ssl.TLSVersion, ciphers: str) -> bool:
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as encrypted,
        ):
            return encrypted.version() is not None
    except (ssl.SSLError, ConnectionError):
        return False


@DEPRECATED
@pytest.mark.parametrize(
    ("version", "ciphers", "taken"),
    [
        (ssl.TLSVersion.TLSv1_3, "ALL", [True, True]),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", [True, True]),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+CHACHA20", [True, False]),
        (ssl.TLSVersion.TLSv1_2, "kRSA", [False, False]),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+SHA1", [False, False]),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA256", [False, False]),
        (ssl.TLSVersion.TLSv1_2, "DHE+AESGCM", [False, False]),
        (ssl.TLSVersion.TLSv1_2, "aNULL", [False, False]),
        (ssl.TLSVersion.TLSv1_1, "ALL", [False, False]),
    ],
)
def test_old_versions_and_weak_ciphers_are_refused(
    authority: Authority, version: ssl.TLSVersion, ciphers: str, taken: list[bool]
) -> None:
    made = authority.issue("for-ciphers", kind=RSA)

    async def shake() -> list[bool]:
        async with running(loaded(made)) as found:
            ca = authority.certificate
            return [
                await asyncio.to_thread(shakes_hands, port, ca, version=version, ciphers=ciphers)
                for port in (found.https, found.grpcs)
            ]

    assert asyncio.run(shake()) == taken


def test_what_openssl_would_let_pass_elsewhere_is_ruled_out(server: Certificate) -> None:
    context = loaded(server).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert {cipher["name"].partition("_")[0] for cipher in context.get_ciphers()} <= {
        "TLS",
        *(
            f"ECDHE-{key}-{cipher}"
            for key in ("ECDSA", "RSA")
            for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
        ),
    }


def test_a_file_that_is_missing_or_none_is_named(
    authority: Authority, server: Certificate, tmp_path: Path
) -> None:
    gone, folder = tmp_path / "gone.pem", tmp_path
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path, why in (
        (gone, "cannot be read: No such file"),
        (folder, "is not a file"),
        (pipe, "is not a file"),
    ):
        assert refused(Certificate(path, server.key)).startswith(
            f"[gateway] tls_certificate: {path} {why}"
        )
        assert refused(Certificate(server.chain, path)).startswith(f"[gateway] tls_key: {path}")
        assert f"tls_client_ca: {path} {why}" in refused(server, path)
    large = tmp_path / "large.pem"
    large.write_bytes(bytes(1024 * 1024 + 1))
    assert f"tls_certificate: {large} is larger" in refused(Certificate(large, server.key))


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nAA"]
)
def test_a_file_that_is_not_pem_is_named(
    server: Certificate, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "some.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    assert "some.pem" in refused(Certificate(path, server.key))
    assert "some.pem" in refused(Certificate(server.chain, path))
    assert f"tls_client_ca: {path} holds no PEM certificate" in refused(server, path)


def test_a_damaged_certificate_of_an_authority_is_refused(
    authority: Authority, server: Certificate, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(authority.certificate.read_text().replace("MII", "AAA"))
    assert "ca.pem" in refused(server, path)


def test_a_key_of_another_certificate_is_refused(authority: Authority, server: Certificate) -> None:
    other = authority.issue("other")
    message = refused(Certificate(server.chain, other.key))
    assert f"{other.key} does not belong to the certificate {server.chain}" in message


@pytest.mark.parametrize("curve", ["P-521", "P-384", "P-256"])
def test_a_kind_of_key_that_grpc_cannot_use_is_refused_and_no_other(
    authority: Authority, curve: str
) -> None:
    kind = ("-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}")
    made = authority.issue(curve, kind=kind)
    if curve == "P-521":
        assert "a kind of key that gRPC cannot use. Make one with RSA, P-256" in refused(made)
    else:
        assert both(loaded(made), authority.certificate)[0] == ["hello"] * 2
    weak = authority.issue("weak", kind=("-newkey", "rsa:1024"))
    assert "KEY_TOO_SMALL" in refused(weak)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(
    server: Certificate, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", str(server.key), "-aes256", "-passout", "pass:x", "-out", str(locked))
    locked.chmod(0o600)
    assert "locked.key is encrypted. Name a key without" in refused(
        Certificate(server.chain, locked)
    )


def test_an_expired_or_unfit_certificate_is_refused(
    authority: Authority, server: Certificate, tmp_path: Path
) -> None:
    assert "late.pem has expired" in refused(authority.issue("late", days=-1))
    message = refused(authority.issue("for-clients", usage="clientAuth"))
    assert "for-clients.pem is not made for servers" in message
    old = Authority.make(tmp_path, days=-1)
    assert "ca.pem has expired" in refused(server, old.certificate)
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(old.certificate.read_text() + authority.certificate.read_text())
    loaded(server, bundle)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_key_others_may_read_is_refused(server: Certificate, tmp_path: Path, mode: int) -> None:
    open_to_others = tmp_path / "open.key"
    shutil.copy(server.key, open_to_others)
    open_to_others.chmod(mode)
    message = refused(Certificate(server.chain, open_to_others))
    assert f"may be read by others. Run `chmod 600 {open_to_others}`" in message


def test_a_key_of_roots_may_be_read_by_a_group_and_one_of_another_user_by_nobody(
    server: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, real = tmp_path / "link.key", tmp_path / "real.key"
    shutil.copy(server.key, real)
    link.symlink_to(real)
    linked = Certificate(server.chain, link)
    loaded(linked)
    owner = real.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    real.chmod(0o440)
    if owner == 0:
        loaded(linked)
        real.chmod(0o444)
        assert "may be read by others" in refused(linked)
    else:
        assert "belongs to another user" in refused(linked)


def test_the_certificates_of_the_documentation_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "gateway-keys.md").read_text(encoding="utf-8")
    commands = [words for words in console_commands(page) if words[0] == "openssl"]
    assert len(commands) == 4
    for _, *words in commands:
        openssl(*words)
    Path("torchkeep.toml").write_text(
        next(block.text for block in blocks(page) if block.language == "toml")
    )
    tls = load_tls(Settings.load(environ={}).section("gateway", GatewayConfig))
    assert tls is not None
    own = Certificate(Path("web-shop.pem"), Path("web-shop.key"))
    assert both(tls, Path("server.pem"), own)[0] == ["hello"] * 2
    assert both(tls, Path("server.pem"))[0] == ["refused"] * 2
