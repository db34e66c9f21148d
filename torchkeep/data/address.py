"""Files fetched from a web address."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torchkeep.data.config import DataConfig
from torchkeep.data.fetch import FetchError, Progress
from torchkeep.data.unpack import ARCHIVES

if TYPE_CHECKING:
    import httpx

_STALLED_S = 60.0
_CHUNK = 1 << 20
_STEP = 20_000_000
"""Bytes between two lines of progress."""
_PLAIN = {"Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Address:
    """Files below a web address."""

    base: str
    files: Sequence[str]

    @classmethod
    def given(cls, url: str, files: Sequence[str]) -> Address:
        """Return the address a user gave: of one archive, else of what the files lie below."""
        base, _, name = url.rpartition("/")
        return cls(base, (name,)) if name.endswith(ARCHIVES) else cls(url.rstrip("/"), files)

    @property
    def label(self) -> str:
        return f"{self.base}/{self.files[0]}" if len(self.files) == 1 else self.base

    def fetch(self, into: Path, config: DataConfig, progress: Progress) -> None:
        """Bring the files into the folder `into`. Raises `FetchError`."""
        import httpx

        timeout = httpx.Timeout(_STALLED_S, connect=20.0)
        try:
            with httpx.Client(timeout=timeout, headers=_PLAIN, follow_redirects=True) as client:
                for name in self.files:
                    url = f"{self.base}/{name}"
                    with client.stream("GET", url) as response:
                        response.raise_for_status()
                        _save(response, into / name, config, progress)
        except httpx.HTTPStatusError as error:
            fault = f"{error.response.status_code} {error.response.reason_phrase}"
            raise FetchError(f"{fault} for {error.request.url}") from error
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:
            # The last two come of a proxy, named in the environment, that httpx does not know.
            raise FetchError(str(error) or type(error).__name__) from error


def _save(response: httpx.Response, path: Path, config: DataConfig, progress: Progress) -> None:
    deadline = time.monotonic() + config.download_timeout_s
    received = 0
    with path.open("wb") as file:
        # Raw: some servers call the .gz file itself a content encoding.
        for chunk in response.iter_raw(_CHUNK):
            received += len(chunk)
            if received > config.max_download_bytes:
                raise FetchError(f"{path.name} is longer than {config.max_download_bytes:,} bytes")
            if time.monotonic() > deadline:
                raise FetchError(f"{path.name} is not done after {config.download_timeout_s} s")
            file.write(chunk)
            if received // _STEP > (received - len(chunk)) // _STEP:
                progress(f"downloading {path.name}: {received // 10**6} MB so far")
