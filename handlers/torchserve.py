"""The thin skin between TorchServe's `(data, context)` and the data plane.

TorchServe calls `handle` once with `data=None` when a worker starts, then once a batch. What
arrives per request (read in TorchServe 0.12.0):

    REST   data {"body": bytes}, or a form's parts; the request's headers, names as the caller
           wrote them, and `explain: True` for /explanations
    gRPC   data is the call's input map (values are bytes); no headers at all
"""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import torch

from handlers.config import LimitsConfig, ScreeningConfig, ServingConfig
from handlers.memory import keep_freed_memory
from handlers.request import Request, Response
from handlers.served_model import ServedModel
from handlers.service import Service
from monitoring.request_log import RequestLog, RequestLogConfig
from robustness.screened_model import load_screened_model
from torchkeep import __version__
from torchkeep.artifact import ModelArtifact
from torchkeep.keys import envelope_key_file, read_key
from torchkeep.paths import Home
from torchkeep.schema import Operation
from torchkeep.settings import Settings

logger = logging.getLogger(__name__)

BODY_KEYS = ("body", "data")
SEQUENCE_HEADERS = "ts_request_sequence"

_services: dict[str, Service] = {}
"""The one service of this worker, by its model folder: what `data=None` has set up."""


def handle(data: Sequence[Mapping[str, Any]] | None, context: Any) -> list[bytes] | None:
    """Set the worker up (`data` is None), or answer one batch of requests, one body each."""
    model_dir = str(context.system_properties["model_dir"])
    if data is None:
        _services[model_dir] = start(Path(model_dir), context)
        return None
    requests = [read_request(inputs, context, place) for place, inputs in enumerate(data)]
    responses = _services[model_dir].answer(requests)
    for place, response in enumerate(responses):
        _tell_torchserve(context, place, response)
    return [response.body for response in responses]


def start(model_dir: Path, context: Any) -> Service:
    """Build the service for the artifact in an extracted archive.

    Raises `ArtifactError` or `SettingsError`, whose one line stands in the worker's log.
    """
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # bodies are decoded here, and nowhere else
    keep_freed_memory()
    warnings.filterwarnings("ignore", module="PIL")  # callers' images must not fill our log
    settings = Settings.load()
    log_config = settings.section("request_log", RequestLogConfig)
    torch.set_num_threads(_threads(context))
    artifact = ModelArtifact.load(model_dir)
    serving = settings.section("serving", ServingConfig)
    device = _device(context.system_properties.get("gpu_id"))
    model = load_screened_model(artifact, device, serving.dtype)
    service = Service(
        model,
        ServedModel.of(artifact, model, __version__),
        RequestLog(log_config),
        limits=settings.section("limits", LimitsConfig),
        screening=settings.section("screening", ScreeningConfig),
        log_config=log_config,
        serving=serving,
        envelope_key=_envelope_key(),
    )
    service.warm_up()
    gc.collect()
    gc.freeze()  # the libraries' objects live on: no collection during a request need visit them
    logger.info("serving %s %s", artifact.manifest.name, artifact.manifest.version)
    return service


def _device(gpu_id: int | None) -> torch.device:
    if gpu_id is None or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", gpu_id)


def _threads(context: Any) -> int:
    """Return this worker's share of the processors; OMP_NUM_THREADS wins, as everywhere."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    workers = int((context.model_yaml_config or {}).get("maxWorkers", 1))
    return max(1, len(os.sched_getaffinity(0)) // max(1, workers))


def _envelope_key() -> bytes | None:
    path = envelope_key_file(Home.default())
    return read_key(path) if path.exists() else None


def read_request(inputs: Mapping[str, Any], context: Any, place: int) -> Request:
    """Return the request at one place of a batch."""
    headers = context.get_all_request_header(place)
    texts = {
        name: value
        for name, value in headers.items()
        if isinstance(value, str) and not name.startswith(SEQUENCE_HEADERS)
    }
    key = next((key for key in BODY_KEYS if key in inputs), None)
    body = None if key is None else inputs[key]
    if not texts:
        return _grpc_request(inputs, body)
    return _rest_request(texts, body, _part_type(headers, key))


def _rest_request(headers: Mapping[str, str], body: Any, part_type: str) -> Request:
    named = {name.lower(): value for name, value in headers.items()}
    return Request(
        body=body,
        protocol="rest",
        content_type=part_type or named.get("content-type", ""),
        operation=_operation(headers.get("explain") == "True"),
        request_id=named.get("x-request-id"),
        correlation_id=named.get("x-correlation-id"),
        session_id=named.get("x-session-id"),
        segments=named.get("x-segments", ""),
        traceparent=named.get("traceparent", ""),
    )


def _grpc_request(inputs: Mapping[str, Any], body: Any) -> Request:
    named = {
        name: bytes(value).decode("utf-8", "replace")
        for name, value in inputs.items()
        if name not in BODY_KEYS
    }
    return Request(
        body=body,
        protocol="grpc",
        content_type=named.get("content_type", ""),
        operation=_operation(named.get("operation") == Operation.EXPLAIN),
        request_id=named.get("request_id"),
        correlation_id=named.get("correlation_id"),
        session_id=named.get("session_id"),
        segments=named.get("segments", ""),
        traceparent=named.get("traceparent", ""),
    )


def _part_type(headers: Mapping[str, Any], key: str | None) -> str:
    """Return the content type of the body itself, which in a form is not that of the request."""
    part = headers.get(key) if key is not None else None
    return str(part["content-type"]) if isinstance(part, dict) else ""


def _operation(explain: bool) -> Operation:
    return Operation.EXPLAIN if explain else Operation.PREDICT


def _tell_torchserve(context: Any, place: int, response: Response) -> None:
    """Set what REST shows; gRPC shows the body alone, and TorchServe sets x-request-id itself."""
    phrase = HTTPStatus(response.http_status).phrase
    context.set_response_status(code=response.http_status, phrase=phrase, idx=place)
    context.set_response_content_type(place, response.content_type)
