"""Methods that are known but not offered, each with what to do instead."""

from __future__ import annotations

from typing import Final

_MODELS = "this server serves what it was started with; `torchkeep up` starts it with other models"
_MEMORY = "shared memory is not offered; send tensors in raw_input_contents"
_TRACES = "traces are a setting: [gateway] otlp_endpoint, and callers choose by `traceparent`"
_LOGS = "what is logged is a setting: [request_log]; `torchkeep log` shows it"

INSTEAD: Final = {
    "inference.GRPCInferenceService/ModelStreamInfer": (
        "streams are not offered; send each request by ModelInfer, many at once if you like"
    ),
    "inference.GRPCInferenceService/RepositoryModelLoad": _MODELS,
    "inference.GRPCInferenceService/RepositoryModelUnload": _MODELS,
    "inference.GRPCInferenceService/SystemSharedMemoryStatus": _MEMORY,
    "inference.GRPCInferenceService/SystemSharedMemoryRegister": _MEMORY,
    "inference.GRPCInferenceService/SystemSharedMemoryUnregister": _MEMORY,
    "inference.GRPCInferenceService/CudaSharedMemoryStatus": _MEMORY,
    "inference.GRPCInferenceService/CudaSharedMemoryRegister": _MEMORY,
    "inference.GRPCInferenceService/CudaSharedMemoryUnregister": _MEMORY,
    "inference.GRPCInferenceService/TraceSetting": _TRACES,
    "inference.GRPCInferenceService/LogSettings": _LOGS,
    "org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions": (
        "answers in parts are not offered; ask by Predictions"
    ),
}

UNKNOWN: Final = "unknown"
"""The route under which methods that nobody knows are recorded."""
UNKNOWN_METHOD: Final = "there is no such method; reflection lists those there are"
