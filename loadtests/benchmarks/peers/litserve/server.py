"""The network behind LitServe, with its batching and its faster queue; knows no screening.

    python server.py ARTIFACT PORT WORKERS BATCH WAIT_MS

takes the bytes of an image as they are, which spares it JSON, and answers JSON already encoded.
LitServe reads the annotations of its hooks, so here they are objects rather than texts.
"""

import sys
from pathlib import Path
from typing import Annotated

import litserve  # type: ignore[import-not-found]
from fastapi import Body, Response  # type: ignore[import-not-found]

from loadtests.benchmarks.serving.network import Network

Raw = Annotated[bytes, Body(media_type="application/octet-stream")]


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Decode → batch → predict → unbatch → encode, as little as can be in each."""

    def __init__(self, artifact: Path, batch: int, wait_ms: float) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=wait_ms / 1000)
        self._artifact = artifact

    def setup(self, device: str) -> None:
        """Load the network, once a worker."""
        self._network = Network(self._artifact)

    def decode_request(self, request: Raw) -> bytes:
        """Return the body."""
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Return the bodies: the network joins them."""
        return inputs

    def predict(self, x: list[bytes]) -> list[bytes]:
        """Return one answer for each body."""
        return self._network.answers(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Return the answers."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Return a whole response, so that nothing of it is encoded again."""
        return Response(output, media_type="application/json")


def main(artifact: str, port: str, workers: str, batch: str, wait_ms: str) -> None:
    """Serve until SIGTERM."""
    server = litserve.LitServer(
        Api(Path(artifact), int(batch), float(wait_ms)),
        accelerator="cpu",
        devices=1,
        workers_per_device=int(workers),
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(port),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
