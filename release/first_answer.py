"""Waiting for a real prediction: a server that only answers `/ping` may have no model yet."""

from __future__ import annotations

import threading
import time
import uuid

import orjson

from release.loopback import Reply, request
from release.run_folder import RunFolder
from release.state import Launch
from release.tokens import Keys, read_keys, token_refused

POLL_S = 0.1
PROBE_ID = "torchkeep-start-"
"""Request ids of these predictions begin so; the request log holds one for each start."""


class FirstAnswer(threading.Thread):
    """Waits until all workers are ready, then has one black image predicted.

    When it has ended, `problem` says what went wrong; it is empty if the image was answered.
    """

    def __init__(self, run: RunFolder, launch: Launch) -> None:
        super().__init__(name="first-answer", daemon=True)
        self.problem = f"it did not listen within {launch.startup_timeout_s} s"
        self._run_folder = run
        self._launch = launch
        self._given_up = threading.Event()

    def run(self) -> None:
        """Poll until answered, refused for good, given up, or out of time."""
        deadline = time.monotonic() + self._launch.startup_timeout_s
        while time.monotonic() < deadline:
            keys = read_keys(self._run_folder.keys)
            if keys is not None and self._settled(keys):
                return
            if self._given_up.wait(POLL_S):
                return

    def give_up(self) -> None:
        """Have it end soon: the server it waits for has ended."""
        self._given_up.set()

    def _settled(self, keys: Keys) -> bool:
        """Try once; return whether trying again would be no use."""
        try:
            if not self._workers_ready(keys):
                return False
            self.problem = self._predict(keys)
        except OSError as error:
            self.problem = f"no answer from the server: {error}"
            return False
        return True

    def _workers_ready(self, keys: Keys) -> bool:
        path = f"/models/{self._launch.model}"
        reply = request(self._launch.ports.management_port, path, token=keys.management)
        if reply.status != 200:
            self.problem = f"the server does not know the model: {_message(reply)}"
            return False
        workers = orjson.loads(reply.body)[0]["workers"]
        ready = len([worker for worker in workers if worker["status"] == "READY"])
        self.problem = (
            f"{ready} of {self._launch.workers} workers were ready "
            f"within {self._launch.startup_timeout_s} s"
        )
        return ready >= self._launch.workers

    def _predict(self, keys: Keys) -> str:
        """Return what is wrong with the answer to a black image, '' if nothing is."""
        reply = request(
            self._launch.ports.rest_port,
            f"/predictions/{self._launch.model}",
            token=keys.inference,
            body=bytes(self._launch.input_bytes),
            headers={
                "Content-Type": "application/octet-stream",
                "X-Request-Id": f"{PROBE_ID}{uuid.uuid4().hex}",
            },
            timeout_s=self._launch.startup_timeout_s,
        )
        if token_refused(reply.status, reply.body):
            raise ConnectionError("the token was renewed in the meantime")
        try:
            item = orjson.loads(reply.body)["predictions"][0]
            answered = item["status"] in ("ok", "rejected")
            return "" if answered else f"the first prediction failed: {item.get('error', reply)}"
        except (ValueError, KeyError, TypeError, IndexError):
            return f"the first prediction failed: {_message(reply)}"


def _message(reply: Reply) -> str:
    try:
        return str(orjson.loads(reply.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {reply.status}"
