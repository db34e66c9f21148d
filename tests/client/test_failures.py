"""What fails as a whole raises one typed error, the same over REST and gRPC."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.client.protocol_servers import TOKEN, Model, Servers, serve_grpc
from torchkeep.client import Client, RequestError, ServerError, answer, failures, rest
from torchkeep.client import grpc as grpc_transport
from torchkeep.errors import SettingsError

IMAGE = b"\x89PNG\r\n\x1a\n and the rest of an image"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def hasty_server(reply: bytes) -> Iterator[int]:
    """Accept one connection, read a bit, send `reply` and hang up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=answer_once)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_at_the_address_is_said_with_a_remedy(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with Client(url) as client, pytest.raises(ServerError) as caught:
        client.predict(IMAGE)
    assert str(caught.value).startswith(f"no answer from {url}: ")
    assert "`torchkeep up`" in caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("host", ["no-such-host.invalid", "unix"])
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_unknown_host_is_said(scheme: str, host: str) -> None:
    with Client(f"{scheme}://{host}:1") as client, pytest.raises(ServerError) as caught:
        client.health()
    assert "resol" in str(caught.value) or "not known" in str(caught.value)


def test_a_client_finds_a_server_that_came_back(servers: Servers) -> None:
    port = free_port()
    with Client(f"grpc://127.0.0.1:{port}", token=TOKEN) as client:
        for _ in range(2):
            with pytest.raises(ServerError):
                client.health()
            with serve_grpc(Model(), port):
                wait_until(lambda: client.health().healthy, seconds=5)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            assert holds()
        except ServerError:
            assert time.monotonic() < end, "the server was never reached"
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_says_nothing_is_given_up_at_the_deadline(scheme: str) -> None:
    with silent_server() as port, Client(f"{scheme}://127.0.0.1:{port}", timeout=0.3) as client:
        assert_late(lambda: client.predict(IMAGE), 0.3)
        assert_late(lambda: client.health(timeout=0.1), 0.1)


def test_the_deadline_of_a_call_beats_that_of_the_client(url: str) -> None:
    with Client(url, model="slow", token=TOKEN, timeout=60) as client:
        assert_late(lambda: client.predict(IMAGE, timeout=0.2), 0.2)


def test_a_trickled_answer_is_late_too(servers: Servers) -> None:
    with Client(servers.rest, model="drip", token=TOKEN, timeout=0.4) as client:
        assert_late(lambda: client.predict(IMAGE), 0.4)


def test_a_body_that_is_not_taken_is_late_too() -> None:
    body = np.zeros((1, 1, 4096, 4096), dtype=np.uint8)  # more than the sockets' buffers hold
    with silent_server() as port, Client(f"http://127.0.0.1:{port}", timeout=0.3) as client:
        assert_late(lambda: client.predict(body), 0.3)


def assert_late(ask: Callable[[], object], seconds: float) -> None:
    start = time.monotonic()
    with pytest.raises(RequestError, match=f"no answer within {seconds:g} s") as caught:
        ask()
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert seconds <= time.monotonic() - start < seconds + 2


@pytest.mark.parametrize("token", [None, "wrong", f"{TOKEN}x"])
def test_a_wrong_token_is_refused_and_not_told(url: str, token: str | None) -> None:
    with Client(url, token=token) as client:
        for ask in (lambda: client.predict(IMAGE), client.health):
            with pytest.raises(RequestError, match="the server refused the token") as caught:
                ask()
            assert caught.value.code == "PERMISSION_DENIED"
            assert token is None or token not in str(caught.value)


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nbreak", "naïve", "\0"])
def test_a_token_no_header_may_hold_is_not_sent(url: str, token: str) -> None:
    with Client(url, token=token) as client, pytest.raises(SettingsError) as caught:
        client.health()
    assert not token.strip() or token not in str(caught.value)


def test_an_unknown_model_is_refused(url: str) -> None:
    with Client(url, model="absent", token=TOKEN) as client, pytest.raises(RequestError) as caught:
        client.predict(IMAGE, request_id="r-3")
    error = caught.value
    assert (error.code, error.request_id) == ("NOT_FOUND", "r-3")
    assert error.message == "Model not found: absent"


def test_a_full_queue_means_try_again_later(url: str) -> None:
    with Client(url, model="full", token=TOKEN) as client, pytest.raises(ServerError) as caught:
        client.predict(IMAGE)
    assert caught.value.message.startswith("the server is unavailable: ")
    assert "has no worker" in caught.value.message


def test_a_request_that_the_handler_refuses_raises(url: str) -> None:
    with Client(url, model="refusing", token=TOKEN) as client:
        for ask in (client.predict, client.explain):
            with pytest.raises(RequestError, match="10001 items, at most 10000") as caught:
                ask(IMAGE, request_id="r-4")
            assert caught.value.code == "RESOURCE_EXHAUSTED"
            assert caught.value.request_id == "r-4"


def test_an_answer_that_is_none_raises(url: str) -> None:
    with Client(url, model="garbage", token=TOKEN) as client, pytest.raises(RequestError) as caught:
        client.predict(IMAGE, request_id="r-5")
    assert "cannot be read" in caught.value.message
    assert (caught.value.code, caught.value.request_id) == ("MALFORMED_ANSWER", "r-5")


def test_a_handler_that_crashed_is_told(url: str) -> None:
    with (
        Client(url, model="crashing", token=TOKEN) as client,
        pytest.raises(RequestError) as caught,
    ):
        client.predict(IMAGE)
    assert (caught.value.message, caught.value.code) == ("Prediction failed", "INTERNAL")


@pytest.mark.parametrize(
    "reply",
    [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"HTTP/1.1 "],
)
def test_a_server_of_another_kind_is_said(reply: bytes) -> None:
    with (
        hasty_server(reply) as port,
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(ServerError, match="no answer from http://"),
    ):
        client.predict(IMAGE)


@pytest.mark.parametrize(
    ("status", "code"),
    [(302, "UNKNOWN"), (404, "NOT_FOUND"), (500, "INTERNAL"), (599, "INTERNAL")],
)
def test_a_proxys_page_is_told_by_its_status(status: int, code: str) -> None:
    page = f"HTTP/1.1 {status} Oops\r\nContent-Length: 5\r\n\r\n<html".encode()
    with (
        hasty_server(page) as port,
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(RequestError, match=f"HTTP status {status}") as caught,
    ):
        client.predict(IMAGE)
    assert caught.value.code == code


def test_grpc_says_that_a_web_server_is_none(servers: Servers) -> None:
    with Client(servers.rest.replace("http", "grpc")) as client, pytest.raises(ServerError):
        client.predict(IMAGE)


def test_rest_says_that_a_grpc_server_is_none(servers: Servers) -> None:
    with Client(servers.grpc.replace("grpc", "http")) as client, pytest.raises(ServerError):
        client.predict(IMAGE)


def test_an_answer_beyond_all_bounds_is_cut(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_ANSWER_BYTES", 100)
    options = (("grpc.max_receive_message_length", 100),)
    monkeypatch.setattr(grpc_transport, "OPTIONS", options)
    assert answer.MAX_ANSWER_BYTES > 100
    with Client(url, token=TOKEN) as client, pytest.raises(RequestError) as caught:
        client.predict(IMAGE)
    assert caught.value.code == "RESOURCE_EXHAUSTED"


def test_a_closed_client_says_so(client: Client) -> None:
    client.predict(IMAGE)
    client.close()
    client.close()
    for ask in (lambda: client.predict(IMAGE), client.health):
        with pytest.raises(RuntimeError, match="closed"):
            ask()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_deadline_is_a_positive_number(url: str, timeout: float) -> None:
    with pytest.raises(SettingsError, match="timeout"):
        Client(url, timeout=timeout)
    with Client(url) as client, pytest.raises(SettingsError, match="timeout"):
        client.predict(IMAGE, timeout=timeout)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"type": 1}', b'{"message": []}', b"\xff"])
def test_a_refusal_of_any_shape_is_told(body: bytes) -> None:
    error = failures.of_http(599, body, "r-6")
    assert isinstance(error, RequestError)
    assert (error.message, error.code, error.request_id) == ("HTTP status 599", "INTERNAL", "r-6")


@pytest.mark.parametrize("details", ["", "\n", "one line", "a\nb\njava.lang.OutOfMemoryError"])
def test_a_status_with_any_details_is_told(details: str) -> None:
    error = failures.of_rpc("INTERNAL", details, "address", None)
    assert isinstance(error, RequestError)
    assert error.code == "INTERNAL"
    assert error.message in {"INTERNAL", "one line", "a"}


def test_a_request_that_is_too_large_is_told_alike() -> None:
    rest_says = failures.of_http(413, b"", None)
    grpc_says = failures.of_rpc("CANCELLED", "Stream removed (RST_STREAM)", "address", None)
    answer_says = failures.of_http(507, b'{"type": "InternalServerException"}', None)
    for error in (rest_says, grpc_says, answer_says):
        assert isinstance(error, RequestError)
        assert error.code == "RESOURCE_EXHAUSTED"
    assert rest_says.message == "HTTP status 413 Request Entity Too Large"
