"""One POST, tried again where that may help."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Poster:
    """Posts JSON to one address, which it tells nobody: it may hold a secret."""

    url: str
    timeout_s: float
    attempts: int

    async def post(self, body: bytes, headers: Mapping[str, str]) -> str:
        """Return "" if the body was accepted, else what went wrong, in a few words.

        Tries again after network errors and statuses that may pass, with a pause that doubles.
        The answer's body is not read.
        """
        fault = ""
        async with httpx.AsyncClient(timeout=self.timeout_s) as client:
            for attempt in range(self.attempts):
                if attempt:
                    pause = _FIRST_PAUSE_S * 2 ** (attempt - 1)
                    await asyncio.sleep(min(pause, _LONGEST_PAUSE_S))
                fault, again = await self._once(client, body, headers)
                if not again:
                    break
        return fault

    async def _once(
        self, client: httpx.AsyncClient, body: bytes, headers: Mapping[str, str]
    ) -> tuple[str, bool]:
        sent = {"content-type": "application/json", "user-agent": "torchkeep", **headers}
        try:
            async with client.stream("POST", self.url, content=body, headers=sent) as response:
                status = response.status_code
        except httpx.TransportError as error:
            return f"not reached: {type(error).__name__}", True
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return f"cannot be sent: {type(error).__name__}", False
        if 200 <= status < 300:
            return "", False
        return f"answered {status}", status >= 500 or status in _AGAIN
