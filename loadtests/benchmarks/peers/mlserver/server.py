"""The network behind MLServer, with its adaptive batching; knows no screening.

    python server.py ARTIFACT HTTP_PORT GRPC_PORT WORKERS BATCH WAIT_MS

takes an image as one element of a BYTES tensor: as it is over gRPC, in Base64 over REST. A tensor
of numbers would become a Python list with an element for each pixel. Compression, metrics and the
access log are off. With 0 workers the network runs in the process of the server itself.
"""

from __future__ import annotations

import asyncio
import sys

from mlserver import MLServer, ModelSettings, Settings  # type: ignore[import-not-found]
from mlserver.settings import ModelParameters  # type: ignore[import-not-found]
from mlserver.utils import install_uvloop_event_loop  # type: ignore[import-not-found]

NAME = "network"
RUNTIME = "loadtests.benchmarks.peers.mlserver.runtime.Runtime"


async def serve(
    artifact: str, http_port: str, grpc_port: str, workers: str, batch: str, wait_ms: str
) -> None:
    """Serve until SIGTERM."""
    settings = Settings(
        host="127.0.0.1",
        http_port=int(http_port),
        grpc_port=int(grpc_port),
        metrics_endpoint=None,
        parallel_workers=int(workers),
        gzip_enabled=False,
        debug=False,
    )
    model = ModelSettings(
        name=NAME,
        implementation=RUNTIME,
        max_batch_size=int(batch),
        max_batch_time=float(wait_ms) / 1000,
        parameters=ModelParameters(uri=artifact),
    )
    await MLServer(settings).start([model])


def main(*arguments: str) -> None:
    """Run the server on its faster event loop."""
    install_uvloop_event_loop()
    asyncio.run(serve(*arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
