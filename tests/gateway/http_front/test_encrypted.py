"""The same over TLS: a connection that is watched, bounded and closed as any other."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.config import GatewayConfig
from gateway.http_front.server import HttpFront
from gateway.refusal import Code
from tests.gateway.http_front.serving import Connection, Keys, Plane, Site, infer_body, request, run
from tests.gateway.identity.certificates import Authority, Certificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Certificate]:
    authority = Authority.make(tmp_path_factory.mktemp("tls"))
    return authority, authority.issue("server")


async def serve(certificate: Certificate, plane: Plane, **settings: Any) -> Site:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    config = GatewayConfig(**({"http_port": 0} | settings))
    front = HttpFront(cast(Any, plane), cast(Any, Keys()), config)
    return Site(plane, front, await front.start(context))


async def connect(opened: Site, ca: Path) -> Connection:
    trust = ssl.create_default_context(cafile=str(ca))
    return await opened.connect(ssl=trust, server_hostname="127.0.0.1")


def test_requests_are_answered_and_leavers_noticed(issued: tuple[Authority, Certificate]) -> None:
    async def wait(question: object) -> None:
        await asyncio.sleep(60)

    async def test() -> None:
        authority, certificate = issued
        opened = await serve(certificate, Plane())
        connection = await connect(opened, authority.certificate)
        for padding in (0, 2_000_000):
            await connection.send(request("POST", INFER, infer_body() + b" " * padding))
            assert (await connection.reply()).status == 200
        await connection.send(b"nonsense\r\n\r\n")
        assert (await connection.reply()).status == 400
        assert await connection.closed() == b""
        opened.plane.answer = wait
        leaver = await connect(opened, authority.certificate)
        await leaver.send(request("POST", INFER, infer_body()))
        await opened.settle(lambda: len(opened.plane.questions) == 3)
        leaver.close()
        await opened.settle(lambda: opened.plane.codes[-1] is Code.CANCELLED)
        await opened.close()

    run(test())


def test_a_caller_that_never_shakes_hands_is_dropped(
    issued: tuple[Authority, Certificate],
) -> None:
    async def test() -> None:
        opened = await serve(issued[1], Plane(), header_timeout_s=0.3)
        silent = await opened.connect()
        assert await silent.closed(5) == b""
        plain = await opened.connect()
        await plain.send(request("GET", "/v2"))
        assert b"HTTP" not in await plain.closed(5)
        assert opened.plane.records == []
        await opened.close()

    run(test())
