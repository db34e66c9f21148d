"""The network as MLServer's workers run it: a module of its own, for they import it by name."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from mlserver import MLModel  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput  # type: ignore[import-not-found]

from loadtests.benchmarks.serving.network import Network


class Runtime(MLModel):  # type: ignore[misc]
    """Images in, as elements of a BYTES tensor; probabilities out."""

    async def load(self) -> bool:
        """Load the network."""
        self._network = Network(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a batch: MLServer has joined the images of several requests in one tensor."""
        rows = self._network.probabilities(_images(payload.inputs[0].data))
        output = ResponseOutput(
            name="probabilities",
            shape=list(rows.shape),
            datatype="FP32",
            data=rows.ravel().tolist(),
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


def _images(data: Sequence[bytes | str]) -> list[bytes]:
    return [base64.b64decode(each) if isinstance(each, str) else each for each in data]
