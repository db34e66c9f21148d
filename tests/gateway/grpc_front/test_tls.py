"""gRPC over TLS and mTLS, as gRPC's own client does it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.gateway.grpc_front.fronts import Front, front
from tests.gateway.grpc_front.requests import raw
from tests.gateway.identity.certificates import Authority, Certificate
from torchkeep.client.stubs.open_inference_pb2_grpc import GRPCInferenceServiceStub

REQUEST = raw(np.zeros((1, 1, 8, 8), dtype="|u1"))


def ask(served: Front, authority: Authority, shown: Certificate | None = None) -> Any:
    roots = authority.certificate.read_bytes()
    own = (shown.key.read_bytes(), shown.chain.read_bytes()) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, *own)
    with grpc.secure_channel(f"localhost:{served.port}", credentials) as channel:
        stub = GRPCInferenceServiceStub(channel)
        return stub.ModelInfer(REQUEST, metadata=served.metadata(), timeout=10)


def is_turned_away(port: int, context: ssl.SSLContext) -> bool:
    """Whether the server closes such a connection without a word."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as bare,
            context.wrap_socket(bare, server_hostname="localhost") as secured,
        ):
            return secured.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_a_call_over_tls(digits_artifact: Any, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    own = authority.issue("server")
    tls = {"tls_certificate": own.chain, "tls_key": own.key}
    with front(digits_artifact, tmp_path, host="127.0.0.1", **tls) as served:
        assert ask(served, authority).model_name == "digits"
        with served.stub() as plain, pytest.raises(grpc.RpcError) as caught:
            plain.ModelInfer(REQUEST, metadata=served.metadata(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.set_alpn_protocols(["http/1.1"])
        assert is_turned_away(served.port, context)
        assert ask(served, authority).model_name == "digits"


def test_a_caller_has_to_show_a_certificate(digits_artifact: Any, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    own, known = authority.issue("server"), authority.issue("known", usage="clientAuth")
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    stranger = Authority.make(other_folder).issue("stranger", usage="clientAuth")
    tls = {
        "tls_certificate": own.chain,
        "tls_key": own.key,
        "tls_client_ca": authority.certificate,
    }
    with front(digits_artifact, tmp_path, **tls) as served:
        assert ask(served, authority, known).model_name == "digits"
        for shown in (None, stranger):
            with pytest.raises(grpc.RpcError) as caught:
                ask(served, authority, shown)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(served.records()) == 1
