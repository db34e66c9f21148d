"""The client: one class for REST and gRPC, chosen by the address."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias, Unpack

from torchkeep.client.answer import parse_answer, parse_explanation
from torchkeep.client.endpoint import Endpoint
from torchkeep.client.question import Input, Question, Tags, encode
from torchkeep.client.results import ExplainResult, Health, PredictResult
from torchkeep.errors import SettingsError
from torchkeep.ids import new_id
from torchkeep.schema import Operation

Token: TypeAlias = str | Callable[[], str] | None
"""The server's token, or a function that is called for it before each request."""

DEFAULT_TIMEOUT: Final = 30.0
TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class Transport(Protocol):
    """What carries a question to a server and the bytes of its answer back."""

    def ask(self, question: Question, token: str | None, timeout: float) -> bytes: ...

    def health(self, token: str | None, timeout: float) -> Health: ...

    def close(self) -> None: ...


class Client:
    """Asks a served model; safe to share between threads, and to be closed after use.

    `url` begins with http, https, grpc or grpcs. `timeout` is a deadline in seconds over a whole
    request. An item that was not predicted (screened out, not an image) is a result with a status;
    what fails as a whole raises `RequestError` (refused, late, malformed) or `ServerError`
    (nobody there). `ca_file` names the certificates to trust instead of the usual ones.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "mnist",
        version: str | None = None,
        token: Token = None,
        timeout: float = DEFAULT_TIMEOUT,
        ca_file: Path | None = None,
    ) -> None:
        self._model = model
        self._version = version or ""
        self._token = token
        self._timeout = _seconds(timeout)
        self._transport = _transport(Endpoint.parse(url), ca_file)
        self._closed = False

    def predict(
        self, value: Input, *, timeout: float | None = None, **tags: Unpack[Tags]
    ) -> PredictResult:
        """Ask for the class of one or many images; `tags` are `request_id` and its like."""
        question, body = self._ask(Operation.PREDICT, value, timeout, tags)
        return parse_answer(body, request_id=question.request_id, items=question.body.items)

    def explain(
        self, value: Input, *, timeout: float | None = None, **tags: Unpack[Tags]
    ) -> ExplainResult:
        """Ask for the class of one or many images and which pixels spoke for it."""
        question, body = self._ask(Operation.EXPLAIN, value, timeout, tags)
        return parse_explanation(body, request_id=question.request_id, items=question.body.items)

    def health(self, *, timeout: float | None = None) -> Health:
        """Ask the server how it is; raise `ServerError` if nobody answers."""
        return self._open().health(self._current_token(), self._deadline(timeout))

    def close(self) -> None:
        """Close the connections; a closed client cannot be used again."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self, operation: Operation, value: Input, timeout: float | None, tags: Tags
    ) -> tuple[Question, bytes]:
        given: dict[str, Any] = {name: tag for name, tag in tags.items() if tag is not None}
        question = Question(
            operation=operation,
            model=self._model,
            version=self._version,
            body=encode(value),
            **{"request_id": new_id()} | given,
        )
        token = self._current_token()
        return question, self._open().ask(question, token, self._deadline(timeout))

    def _open(self) -> Transport:
        if self._closed:
            raise RuntimeError("the client is closed")
        return self._transport

    def _deadline(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else _seconds(timeout)

    def _current_token(self) -> str | None:
        if self._token is None:
            return None
        token = (self._token() if callable(self._token) else self._token).strip()
        if not TOKEN.fullmatch(token):
            raise SettingsError("the token is empty or holds what no header may hold")
        return token


def _transport(endpoint: Endpoint, ca_file: Path | None) -> Transport:
    """Make the transport of an address; only what it needs is imported."""
    if endpoint.scheme.startswith("grpc"):
        from torchkeep.client.grpc import GrpcTransport

        return GrpcTransport(endpoint, ca_file)
    from torchkeep.client.rest import RestTransport

    return RestTransport(endpoint, ca_file)


def _seconds(timeout: float) -> float:
    if not (math.isfinite(timeout) and timeout > 0):
        raise SettingsError(f"timeout is {timeout}", remedy="Give seconds, more than 0.")
    return timeout
