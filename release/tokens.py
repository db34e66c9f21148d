"""TorchServe's tokens: random at each start, kept in `key_file.json`, good for a while.

The inference token opens the predictions, over REST and gRPC; the management token the
management API; the API key, which does not expire, renews both. A renewed token replaces the old
one at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from release.loopback import request
from release.run_folder import RunFolder
from release.state import ServerState
from torchkeep.errors import ServerError
from torchkeep.paths import Home

PATIENCE_S = 2.0
"""How long a key file may be half-written."""
SHORT_S = 5.0
"""A token with fewer seconds to live is renewed before it is given out."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The content of `key_file.json`; `expires` is in seconds since 1970."""

    inference: str
    management: str
    api: str
    expires: float

    @property
    def seconds_left(self) -> float:
        """Seconds until the first token expires; negative once it has."""
        return self.expires - time.time()


def read_keys(path: Path) -> Keys | None:
    """Return the keys, or None if the file is missing or only partly written."""
    try:
        content = orjson.loads(path.read_bytes())
        times = [content[name]["expiration time"] for name in ("inference", "management")]
        return Keys(
            content["inference"]["key"],
            content["management"]["key"],
            content["API"]["key"],
            min(datetime.fromisoformat(text).astimezone(UTC).timestamp() for text in times),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def renew(keys: Keys, management_port: int) -> None:
    """Have TorchServe replace both tokens. Raises `OSError` if it does not."""
    for kind in ("inference", "management"):
        reply = request(management_port, f"/token?type={kind}", token=keys.api)
        if reply.status != 200:
            raise ConnectionError(f"renewing the {kind} token: HTTP {reply.status}")


def token_refused(status: int, body: bytes) -> bool:
    """Return whether an HTTP answer says that the token is wrong; TorchServe has no 401."""
    return status == 400 and b'"InvalidKeyException"' in body


def current_token(home: Home) -> str:
    """Return the token that opens predictions now; it is renewed if it is about to expire.

    Raises `ServerError` if no server runs, or if it does not renew the token.
    """
    run = RunFolder(home.run)
    deadline = time.monotonic() + PATIENCE_S
    while run.keys.exists() and time.monotonic() < deadline:
        keys, state = read_keys(run.keys), ServerState.read(run)
        if keys is not None and keys.seconds_left > SHORT_S:
            return keys.inference
        if keys is not None and state is not None:
            _renew_or_fail(keys, state.launch.ports.management_port)
        time.sleep(0.02)
    raise ServerError("no server is running here", remedy="Start one: torchkeep up.")


def _renew_or_fail(keys: Keys, management_port: int) -> None:
    try:
        renew(keys, management_port)
    except OSError as error:
        raise ServerError(f"the token has expired: {error}", remedy="Run torchkeep up.") from error
