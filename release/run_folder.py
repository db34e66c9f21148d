"""The private folder of one running server: its state, keys, configuration and logs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torchkeep.errors import ServerError

LONGEST_SOCKET_PATH = 107
"""Bytes in the path of a Unix socket, on Linux."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one server; TorchServe runs in this folder."""

    path: Path

    @property
    def state(self) -> Path:
        """What runs here, or why it ended."""
        return self.path / "state.json"

    @property
    def keys(self) -> Path:
        """TorchServe's tokens; it writes them to its working directory."""
        return self.path / "key_file.json"

    @property
    def properties(self) -> Path:
        """TorchServe's configuration."""
        return self.path / "config.properties"

    @property
    def log4j2(self) -> Path:
        """The configuration of TorchServe's log."""
        return self.path / "log4j2.xml"

    @property
    def log(self) -> Path:
        """TorchServe's warnings and what its workers print; named in `log4j2.xml`."""
        return self.path / "server.log"

    @property
    def console(self) -> Path:
        """What the Java machine and the supervisor print."""
        return self.path / "console.log"

    @property
    def upstream(self) -> Path:
        """What the gateway is told about TorchServe: its address and what it serves."""
        return self.path / "gateway.json"

    @property
    def gateway_log(self) -> Path:
        """What the gateway prints."""
        return self.path / "gateway.log"

    @property
    def store(self) -> Path:
        """The folder that holds the archive being served."""
        return self.path / "store"

    @property
    def scratch(self) -> Path:
        """Temporary files and worker sockets: in this folder, unless its path is too long."""
        inside = self.path / "tmp"
        if len(os.fsencode(inside / ".ts.sock.10000")) <= LONGEST_SOCKET_PATH:
            return inside
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"torchkeep-{os.getuid()}-{name}"

    def create(self) -> None:
        """Make the folder, for this user alone. Raises `ServerError` if it cannot be."""
        _private_folder(self.path)

    def furnish(self) -> None:
        """Make the folders that `clear` removes, likewise."""
        for folder in (self.store, self.scratch):
            _private_folder(folder)

    def sweep(self) -> None:
        """Remove the keys, sockets and temporary files of a TorchServe that has ended."""
        self.keys.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        _private_folder(self.scratch)

    def clear(self) -> None:
        """Remove keys, sockets, the served copy and temporary files; logs and state stay."""
        self.keys.unlink(missing_ok=True)
        self.upstream.unlink(missing_ok=True)
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    @contextmanager
    def locked(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the folder's lock. Raises `ServerError` if another process keeps holding it."""
        deadline = time.monotonic() + wait_s
        with (self.path / "lock").open("wb") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise ServerError(
                            f"another command is starting the server in {self.path}",
                            remedy="Wait for it, or end it.",
                        ) from None
                time.sleep(0.05)
            yield


def _private_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = path.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            raise ServerError(f"{path} is not a folder of yours", remedy="Remove it.")
        path.chmod(0o700)
    except OSError as error:
        raise ServerError(
            f"{path} cannot be made: {error.strerror}", remedy="Choose another TORCHKEEP_HOME."
        ) from error
