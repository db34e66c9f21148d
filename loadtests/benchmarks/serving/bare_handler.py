"""The least that TorchServe can be given to do: the same network, nothing screened or logged.

This file is the handler of the archive. TorchServe hides an ImportError at the top of it behind
one of its own, so nothing is imported before the first call.
"""

from __future__ import annotations

from typing import Any

_networks: list[Any] = []  # one, once it is loaded


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[bytes]:
    """Answer a batch of raw images; `data` is None in the first call, which loads the network."""
    if data is None:
        from pathlib import Path

        from loadtests.benchmarks.serving.network import Network

        _networks[:] = [Network(Path(context.system_properties["model_dir"]))]
        return []
    # By default TorchServe gives a status line without a reason, in which h2load sees no status.
    context.set_all_response_status(200, "OK")
    answers: list[bytes] = _networks[0].answers([row.get("body") or row["data"] for row in data])
    return answers
