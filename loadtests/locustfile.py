"""Users that ask a running server for predictions, over REST and over gRPC.

    locust -f loadtests/locustfile.py --headless -u 8 -t 30s --token-file token

Name `RestUser` or `GrpcUser` at the end of the command to have only one kind.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from argparse import Namespace
from functools import cache
from pathlib import Path
from typing import Any

import grpc.experimental.gevent  # type: ignore[import-not-found]
from locust import FastHttpUser, User, constant_throughput, events, task
from locust.env import Environment
from locust.runners import Runner

from loadtests import images
from loadtests.options import add_options, token_of
from loadtests.outcome import PREDICT, judge
from torchkeep.client import Client
from torchkeep.client.answer import parse_answer
from torchkeep.client.question import Question, encode
from torchkeep.client.rest import answer_of, headers_of, path_of
from torchkeep.schema import Operation

DRAWN = 64


def make_grpc_cooperative(**_: Any) -> None:
    """Let a user that waits for gRPC give way to the others; Locust has patched the rest."""
    grpc.experimental.gevent.init_gevent()


def end_after_requests(environment: Environment, runner: Runner, **_: Any) -> None:
    """End the run, for all users, once `--requests` have been booked."""
    options: Any = environment.parsed_options
    booked = itertools.count(1)

    def count(**_: Any) -> None:
        if next(booked) == options.requests:
            threading.Thread(target=runner.quit).start()  # no user can wait for its own end

    environment.events.request.add_listener(count)  # type: ignore[no-untyped-call]


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
events.init.add_listener(make_grpc_cooperative)  # type: ignore[no-untyped-call]
events.init.add_listener(end_after_requests)  # type: ignore[no-untyped-call]


@cache
def contents(file: str, shape: str, seed: int, items: int) -> list[bytes]:
    """Return what users send in turn: .npy files of `items` images each."""
    pixels = images.load(Path(file)) if file else images.draw(DRAWN, images.shape_of(shape), seed)
    return [encode(batch).content for batch in images.in_requests(pixels, items)]


class AskingUser(User):
    """Sends one request after the other, each with its own id, and starts at its own image."""

    abstract = True
    started = itertools.count()

    def on_start(self) -> None:
        """Take up the options."""
        options = self.options
        sent = contents(options.images, options.shape, options.image_seed, options.items)
        start = next(self.started) % len(sent)
        self.contents = itertools.cycle(sent[start:] + sent[:start])
        self.token = token_of(options)

    @property
    def options(self) -> Namespace:
        """The command line."""
        options: Namespace = self.environment.parsed_options
        return options

    def wait_time(self) -> float:
        """Pause as `--rate` says."""
        return constant_throughput(self.options.rate)(self) if self.options.rate else 0.0


class RestUser(AskingUser, FastHttpUser):
    """Asks over REST by Locust's own client, which takes the least of the machine."""

    host = "http://127.0.0.1:8000"
    insecure = False

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.network_timeout = self.connection_timeout = self.options.deadline
        super().__init__(environment)

    @task
    def predict(self) -> None:
        """Send one request and book how it ended."""
        question = Question(
            operation=Operation.PREDICT,
            model=self.options.model,
            version=self.options.model_version,
            body=encode(next(self.contents)),
            request_id=uuid.uuid4().hex,
        )
        token = self.token() if callable(self.token) else self.token
        with self.client.post(
            path_of(question),
            data=question.body.content,  # type: ignore[arg-type]  # bytes are sent as they are
            headers=headers_of(question, token and token.strip()),
            name=PREDICT,
            catch_response=True,
        ) as response:
            response.request_meta["request_type"] = "REST"
            if not response.status_code:
                return  # there was no answer at all, and Locust knows why
            status, body = response.status_code, response.content or b""
            outcome = judge(
                lambda: parse_answer(answer_of(status, body, question.request_id)),
                self.options.items,
            )
            response.request_meta["name"] = outcome.name
            if outcome.failure:
                response.failure(outcome.failure)
            else:
                response.success()


class GrpcUser(AskingUser):
    """Asks over gRPC by our client."""

    def on_start(self) -> None:
        """Open the channel."""
        super().on_start()
        self.client = Client(
            self.options.grpc_host,
            model=self.options.model,
            version=self.options.model_version,
            token=self.token,
            timeout=self.options.deadline,
        )

    def on_stop(self) -> None:
        """Close the channel."""
        self.client.close()

    @task
    def predict(self) -> None:
        """Send one request and book how it ended."""
        content = next(self.contents)
        start = time.perf_counter()
        outcome = judge(lambda: self.client.predict(content), self.options.items)
        self.environment.events.request.fire(
            request_type="gRPC",
            name=outcome.name,
            response_time=(time.perf_counter() - start) * 1000,
            response_length=0,
            exception=outcome.failure,
            context=self.context(),
        )
