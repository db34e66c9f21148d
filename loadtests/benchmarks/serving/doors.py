"""A way into a server: one address, one request that is sent again and again, and its answer.

Bodies are made once, in the form that costs the server least. gRPC messages carry the five bytes
that precede each on the wire (gRPC over HTTP/2, "Length-Prefixed-Message").
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from torchkeep.client.stubs import inference_pb2, open_inference_pb2
from torchkeep.client.stubs.inference_pb2 import PredictionResponse, PredictionsRequest
from torchkeep.client.stubs.open_inference_pb2 import ModelInferRequest, ModelInferResponse

# C channels, H W pixels, K classes

Protocol = Literal["REST", "gRPC"]
Image = NDArray[np.uint8]  # C H W
Probabilities = NDArray[np.float32]  # K

RAW_TYPE = "application/octet-stream"
INPUT = "image"
OUTPUT = "probabilities"

_TORCHSERVE = inference_pb2.DESCRIPTOR.services_by_name["InferenceAPIsService"].full_name
_OPEN_INFERENCE = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """`read` takes the body of an answer, or its gRPC message, and gives its probabilities."""

    protocol: Protocol
    url: str
    message: bytes
    read: Callable[[bytes, Mapping[str, str]], Probabilities]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """What is sent, as it is on the wire."""
        return framed(self.message) if self.protocol == "gRPC" else self.message

    @property
    def sent_headers(self) -> dict[str, str]:
        """All headers of a request but those that every client adds."""
        if self.protocol == "gRPC":
            return {"content-type": "application/grpc", "te": "trailers", **self.headers}
        return dict(self.headers)


def framed(message: bytes) -> bytes:
    """Return a message as gRPC sends it: a flag (not compressed), its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def raw_rest(url: str, image: Image) -> Door:
    """Return a door that takes the pixels alone and answers JSON."""
    return Door(
        protocol="REST",
        url=url,
        message=image.tobytes(),
        headers={"content-type": RAW_TYPE},
        read=_of_json,
    )


def torchserve_grpc(address: str, model: str, image: Image) -> Door:
    """Return TorchServe's own gRPC method, with the pixels alone."""
    request = PredictionsRequest(model_name=model, input={"data": image.tobytes()})
    return Door(
        protocol="gRPC",
        url=f"{address}/{_TORCHSERVE}/Predictions",
        message=request.SerializeToString(),
        read=lambda answer, _: _of_json(PredictionResponse.FromString(answer).prediction, {}),
    )


def tensor_rest(url: str, image: Image, headers: Mapping[str, str]) -> Door:
    """Return `/infer` of the Open Inference Protocol, with the tensor as binary data."""
    tensor = {
        "name": INPUT,
        "shape": [1, *image.shape],
        "datatype": "UINT8",
        "parameters": {"binary_data_size": image.nbytes},
    }
    head = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    length = {"inference-header-content-length": str(len(head))}
    return Door(
        protocol="REST",
        url=url,
        message=head + image.tobytes(),
        headers={"content-type": RAW_TYPE, **length, **headers},
        read=_of_open_inference,
    )


def tensor_grpc(address: str, model: str, image: Image, headers: Mapping[str, str]) -> Door:
    """Return ModelInfer of the Open Inference Protocol, with the tensor as raw contents."""
    request = ModelInferRequest(model_name=model, raw_input_contents=[image.tobytes()])
    request.inputs.add(name=INPUT, datatype="UINT8", shape=[1, *image.shape])
    return _model_infer(address, request, headers)


def element_rest(url: str, image: Image) -> Door:
    """Return `/infer` with the pixels as the one element of a BYTES tensor, in Base64."""
    text = base64.b64encode(image.tobytes()).decode()
    tensor = {"name": INPUT, "shape": [1], "datatype": "BYTES", "data": [text]}
    return Door(
        protocol="REST",
        url=url,
        message=json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode(),
        headers={"content-type": "application/json"},
        read=_of_open_inference,
    )


def element_grpc(address: str, model: str, image: Image) -> Door:
    """Return ModelInfer with the pixels as the one element of a BYTES tensor."""
    element = image.nbytes.to_bytes(4, "little") + image.tobytes()
    request = ModelInferRequest(model_name=model, raw_input_contents=[element])
    request.inputs.add(name=INPUT, datatype="BYTES", shape=[1])
    return _model_infer(address, request, {})


def _model_infer(address: str, request: ModelInferRequest, headers: Mapping[str, str]) -> Door:
    return Door(
        protocol="gRPC",
        url=f"{address}/{_OPEN_INFERENCE}/ModelInfer",
        message=request.SerializeToString(),
        headers=headers,
        read=_of_model_infer,
    )


def _of_json(answer: bytes, _: Mapping[str, str]) -> Probabilities:
    return np.asarray(json.loads(answer)["probabilities"], np.float32)


def _of_open_inference(answer: bytes, headers: Mapping[str, str]) -> Probabilities:
    """Read JSON outputs, or those whose data stand behind the JSON."""
    length = int(headers.get("inference-header-content-length", len(answer)))
    outputs = json.loads(answer[:length])["outputs"]
    offset = length
    for output in outputs:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        if output["name"] == OUTPUT:
            data: Any = output.get("data")
            if data is None:
                return np.frombuffer(answer, "<f4", size // 4, offset)
            return np.asarray(data, np.float32).ravel()
        offset += size
    raise ValueError(f"the answer has no output {OUTPUT!r}")


def _of_model_infer(message: bytes, _: Mapping[str, str]) -> Probabilities:
    answer = ModelInferResponse.FromString(message)
    for number, output in enumerate(answer.outputs):
        if output.name == OUTPUT:
            if answer.raw_output_contents:
                return np.frombuffer(answer.raw_output_contents[number], "<f4")
            return np.asarray(output.contents.fp32_contents, np.float32)
    raise ValueError(f"the answer has no output {OUTPUT!r}")
