"""The REST interface described for programs: an OpenAPI 3.1 document, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import orjson

from gateway.openinference.inputs import DATATYPES
from gateway.openinference.outputs import OUTPUTS
from gateway.upstream import ServedVersion
from torchkeep import __version__

Json = dict[str, Any]

_ERRORS: Final = {
    400: "The request is malformed; the text says what was expected",
    401: "No key, or none that is in force",
    403: "The key lacks a permission",
    404: "No such model or version",
    405: "No such method here; the header Allow names those there are",
    408: "The body did not arrive in time",
    413: "The body, or the number of items, is over a limit",
    415: "A content encoding or media type that is not read",
    422: "The only item was screened out",
    429: "Too much is waiting; the header Retry-After says when to come back",
    501: "Not offered; the text names the alternative",
    503: "Not ready, or shutting down; the header Retry-After says when to come back",
    504: "The deadline had passed",
}
_ALWAYS: Final = (400, 405, 503)
_KEYED: Final = (*_ALWAYS, 401, 403, 404)
_BODY: Final = (*_KEYED, 408, 413, 415, 429)
_ASKED: Final = (*_BODY, 422, 501, 504)


@cache
def described(models: tuple[ServedVersion, ...]) -> bytes:
    """Return the description as JSON; it is asked for without a key, so it is made once."""
    return orjson.dumps(document(models))


def document(models: Sequence[ServedVersion]) -> Json:
    """Return the description of every path, with what is served as examples."""
    whole = _whole()
    for item in whole["paths"].values():
        for parameter in item.get("parameters", ()):
            if examples := _examples(parameter["name"], models):
                parameter["examples"] = examples
    return whole


def _whole() -> Json:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Torchkeep",
            "version": __version__,
            "description": "Open Inference Protocol v2 (REST), and TorchServe's predictions.",
        },
        "security": [{"key": []}],
        "paths": {**_health(), **_about(), **_inference(), **_torchserve(), **_absent()},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _SCHEMAS,
            "headers": {
                "RetryAfter": {
                    "description": "Seconds after which it may be worth another try.",
                    "schema": {"type": "integer", "minimum": 1},
                }
            },
        },
    }


def _health() -> Json:
    alive = _answer("Whether it is so", "Health")
    return {
        path: {"get": {"operationId": name, "security": [], "responses": {**alive, **more}}}
        for path, name, more in (
            ("/v2/health/live", "live", {}),
            ("/v2/health/ready", "ready", _answer("It is not", "Health", 503)),
            ("/ping", "ping", _answer("It is not", "Health", 500)),
            ("/openapi.json", "openapi", {}),
        )
    }


def _about() -> Json:
    paths: Json = {
        "/v2": {"get": _get("server", "ServerMetadata")},
        "/v2/models/stats": {"get": _get("all_statistics", "Statistics")},
        "/v2/repository/index": {
            "post": {
                "operationId": "index",
                "requestBody": {"content": _json("IndexRequest")},
                "responses": {**_answer("What is served", "Index"), **_errors(_BODY)},
            }
        },
    }
    for path, named in _models():
        parameters = _parameters(path)
        for end, name, schema in (
            ("", "metadata", "ModelMetadata"),
            ("/ready", "model_ready", "Health"),
            ("/config", "config", "Config"),
            ("/stats", "statistics", "Statistics"),
        ):
            get = _get(f"{name}{named}", schema)
            paths[f"{path}{end}"] = {"parameters": parameters, "get": get}
    return paths


def _inference() -> Json:
    paths: Json = {}
    for path, named in _models():
        for verb in ("infer", "explain"):
            post = {
                "operationId": f"{verb}{named}",
                "parameters": _HEADERS,
                "requestBody": {
                    "required": True,
                    "content": _json("InferRequest"),
                    "description": "JSON, or JSON and behind it binary tensor data, the header "
                    "Inference-Header-Content-Length then being the length of the JSON.",
                },
                "responses": {**_answer("An answer per item", "InferAnswer"), **_errors(_ASKED)},
            }
            paths[f"{path}/{verb}"] = {"parameters": _parameters(path), "post": post}
    return paths


def _torchserve() -> Json:
    kinds = ("image/png", "image/jpeg", "image/webp", "application/x-npy", "application/json")
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: Json = dict.fromkeys((*kinds, "application/octet-stream"), binary)
    paths: Json = {}
    for verb in ("predictions", "explanations"):
        for path, named in ((f"/{verb}/{{model}}", ""), (f"/{verb}/{{model}}/{{version}}", "_of")):
            post = {
                "operationId": f"{verb}{named}",
                "parameters": _HEADERS,
                "requestBody": {"required": True, "content": content},
                "responses": {
                    **_answer("An answer per item", "Answer"),
                    **_errors(_ASKED, "TorchServeError"),
                },
            }
            paths[path] = {"parameters": _parameters(path), "post": post}
    return paths


def _absent() -> Json:
    """Describe what the protocol's extensions have and this server refuses."""
    memory = ("systemsharedmemory", "cudasharedmemory")
    posts = [
        *(f"/v2/repository/models/{{model}}/{verb}" for verb in ("load", "unload")),
        *(f"{path}/{verb}" for path, _ in _models() for verb in ("generate", "generate_stream")),
        *(f"/v2/{kind}/{verb}" for kind in memory for verb in ("register", "unregister")),
        *(
            f"/v2/{kind}/region/{{region}}/{verb}"
            for kind in memory
            for verb in ("register", "unregister")
        ),
    ]
    gets = [f"/v2/{kind}/{end}status" for kind in memory for end in ("", "region/{region}/")]
    both = ["/v2/models/{model}/trace/setting", "/v2/trace/setting", "/v2/logging"]
    refusal = {"responses": _errors((*_KEYED, 501))}
    paths: Json = {}
    for path in (*posts, *gets, *both):
        methods = {"post": refusal} if path not in gets else {}
        methods |= {"get": refusal} if path not in posts else {}
        paths[path] = {"parameters": _parameters(path), **methods}
    return paths


def _models() -> tuple[tuple[str, str], ...]:
    return ("/v2/models/{model}", ""), ("/v2/models/{model}/versions/{version}", "_of")


def _parameters(path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in ("model", "version", "region")
        if f"{{{name}}}" in path
    ]


def _examples(parameter: str, models: Sequence[ServedVersion]) -> Json:
    if parameter not in ("model", "version"):
        return {}
    names = [served.name if parameter == "model" else served.version for served in models]
    return {name: {"value": name} for name in names}


def _get(name: str, schema: str) -> Json:
    return {"operationId": name, "responses": {**_answer("As asked", schema), **_errors(_KEYED)}}


def _answer(description: str, schema: str, status: int = 200) -> Json:
    return {str(status): {"description": description, "content": _json(schema)}}


def _errors(codes: tuple[int, ...], schema: str = "Error") -> Json:
    return {str(code): _error(code, schema) for code in sorted(codes)}


def _error(code: int, schema: str) -> Json:
    told: Json = {"description": _ERRORS[code], "content": _json(schema)}
    if code in (429, 503):
        told["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    return told


def _json(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _object(required: tuple[str, ...], **properties: Any) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _header(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema}


_TEXT: Final[Json] = {"type": "string"}
_WHOLE: Final[Json] = {"type": "integer"}
_IF_VALID: Final = "; ignored unless it is 1 to 128 of A-Z a-z 0-9 . _ : -"
_SHAPE: Final = _list(_WHOLE)
_DESCRIBED: Final = _object(("name", "datatype", "shape"), name=_TEXT, datatype=_TEXT, shape=_SHAPE)

_HEADERS: Final = [
    _header("x-request-id", f"Kept end to end, and logged{_IF_VALID}", **_TEXT),
    _header("x-correlation-id", f"Of requests that belong together{_IF_VALID}", **_TEXT),
    _header("x-session-id", f"Of a session{_IF_VALID}", **_TEXT),
    _header("x-segments", 'Attributes for the log: a JSON object such as {"plan": "pro"}', **_TEXT),
    _header("x-request-timeout-ms", "How long the caller waits", type="integer", minimum=1),
    _header("traceparent", "W3C Trace Context", **_TEXT),
]

_SCHEMAS: Final[Json] = {
    "Error": _object(("error",), error=_TEXT),
    "TorchServeError": {
        "description": "Of a single item, the answer tells why it has no prediction.",
        "anyOf": [
            {"$ref": "#/components/schemas/Error"},
            {"$ref": "#/components/schemas/Answer"},
        ],
    },
    "Health": {"type": "object"},
    "ServerMetadata": _object(
        ("name", "version", "extensions"), name=_TEXT, version=_TEXT, extensions=_list(_TEXT)
    ),
    "ModelMetadata": _object(
        ("name", "versions", "platform", "inputs", "outputs"),
        name=_TEXT,
        versions=_list(_TEXT),
        platform=_TEXT,
        inputs=_list(_DESCRIBED),
        outputs=_list(_DESCRIBED),
        parameters={"type": "object"},
    ),
    "Config": _object(("name", "input", "output"), name=_TEXT),
    "Statistics": _object(("model_stats",), model_stats=_list({"type": "object"})),
    "IndexRequest": _object((), ready={"type": "boolean"}),
    "Index": _list(_object(("name", "version", "state"), name=_TEXT, version=_TEXT, state=_TEXT)),
    "InferRequest": _object(
        ("inputs",),
        id=_TEXT,
        parameters=_object((), timeout=_WHOLE, binary_data_output={"type": "boolean"}),
        inputs={
            **_list(
                _object(
                    ("name", "datatype", "shape"),
                    name={"const": "image"},
                    datatype={"enum": list(DATATYPES)},
                    shape=_SHAPE,
                    data={"type": "array"},
                    parameters=_object((), binary_data_size=_WHOLE, content_type=_TEXT),
                )
            ),
            "minItems": 1,
            "maxItems": 1,
        },
        outputs=_list(
            _object(
                ("name",),
                name={"enum": list(OUTPUTS)},
                parameters=_object((), binary_data={"type": "boolean"}),
            )
        ),
    ),
    "InferAnswer": _object(
        ("model_name", "model_version", "id", "parameters", "outputs"),
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        parameters={"type": "object"},
        outputs=_list(_DESCRIBED),
    ),
    "Answer": _object(
        ("schema", "request_id", "model", "model_version", "predictions"),
        schema=_WHOLE,
        request_id=_TEXT,
        model=_TEXT,
        model_version=_TEXT,
        predictions=_list({"type": "object"}),
    ),
}
