"""What unmodified clients of the Open Inference Protocol see of a server; knows nothing of ours.

    python peer.py WAY REST GRPC MODEL FOLDER

WAY is one of `WAYS`, the key comes in the variable KEY, and FOLDER holds `images.npy` (N C H W,
uint8) and each of them as a PNG. Prints one JSON object: what each call returned, or its error.
The two libraries cannot be in one process: both bring the protocol's messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

OUTPUTS = ("label", "probabilities")
NUMBER = "probabilities"


class Material:
    """What is asked, where."""

    def __init__(self, rest: str, grpc: str, model: str, folder: str) -> None:
        self.rest, self.grpc, self.model = rest, grpc, model
        self.images = np.load(Path(folder) / "images.npy", allow_pickle=False)
        files = [Path(folder) / f"{place}.png" for place in range(len(self.images))]
        self.files = np.array([file.read_bytes() for file in files], dtype=np.object_)

    @property
    def headers(self) -> dict[str, str]:
        """The key, each time anew: `tritonclient` adds to what it is given."""
        return {"authorization": f"Bearer {os.environ['KEY']}"}

    def ways_to_say_it(self) -> dict[str, tuple[str, Any]]:
        """The same images as each datatype that the server takes."""
        import ml_dtypes

        unit = self.images.astype(np.float32) / 255
        return {
            "UINT8": ("UINT8", self.images),
            "FP32": ("FP32", unit),
            "FP16": ("FP16", unit.astype(np.float16)),
            "BF16": ("BF16", unit.astype(ml_dtypes.bfloat16)),
            "BYTES": ("BYTES", self.files),
        }


def plain(value: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value.decode() if isinstance(value, bytes) else value


def tried(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the error it raises."""
    try:
        return plain(call())
    except Exception as error:
        return {"error": str(error), "type": type(error).__name__}


async def awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what an awaited call returns, or the error it raises."""
    try:
        return plain(await call())
    except Exception as error:
        return {"error": str(error), "type": type(error).__name__}


def told(answer: Any, names: tuple[str, ...] = (NUMBER, "label", "item_status")) -> Any:
    """Return an answer's tensors."""
    return {name: answer.as_numpy(name) for name in names}


def triton_inputs(library: Any, asked: Material, *, binary: bool = True) -> dict[str, Any]:
    """Return the images as inputs, one for each datatype that travels so."""
    inputs = {}
    for name, (datatype, values) in asked.ways_to_say_it().items():
        if not binary and name not in ("UINT8", "FP32"):
            continue  # 16-bit floats and files have no JSON
        tensor = library.InferInput("image", list(values.shape), datatype)
        how = {} if binary else {"binary_data": False}
        tensor.set_data_from_numpy(values, **how)
        inputs[name] = [tensor]
    return inputs


def triton_http(asked: Material) -> dict[str, Any]:
    """All that `tritonclient.http` asks."""
    import tritonclient.http as library

    client = library.InferenceServerClient(asked.rest.removeprefix("http://"), concurrency=4)
    seen = _triton_description(client, asked)
    ask = _triton_ask(client, asked)
    raw = triton_inputs(library, asked)
    for name, inputs in raw.items():
        seen[f"infer {name}"] = tried(lambda inputs=inputs: told(ask(inputs)))
    for name, inputs in triton_inputs(library, asked, binary=False).items():
        outputs = [library.InferRequestedOutput(name, binary_data=False) for name in OUTPUTS]
        seen[f"infer {name} as JSON"] = tried(
            lambda i=inputs, o=outputs: told(ask(i, outputs=o), OUTPUTS)
        )
    outputs = [library.InferRequestedOutput(name) for name in OUTPUTS]
    image = raw["UINT8"]
    seen["infer two outputs"] = tried(lambda: _only_those(ask(image, outputs=outputs)))
    for coding in ("gzip", "deflate"):
        seen[f"infer {coding}"] = tried(
            lambda coding=coding: told(ask(image, request_compression_algorithm=coding))
        )
    seen["answer gzip"] = tried(lambda: told(ask(image, response_compression_algorithm="gzip")))
    seen["infer later"] = tried(
        lambda: told(client.async_infer(asked.model, image, headers=asked.headers).get_result())
    )
    seen["answer's id"] = tried(lambda: ask(image, request_id="theirs").get_response()["id"])
    seen |= _triton_errors(library, client, asked, image)
    client.close()
    return seen


def triton_grpc(asked: Material) -> dict[str, Any]:
    """All that `tritonclient.grpc` asks."""
    import tritonclient.grpc as library

    client = library.InferenceServerClient(asked.grpc.removeprefix("grpc://"))
    seen = _triton_description(client, asked, as_json=True)
    ask = _triton_ask(client, asked)
    raw = triton_inputs(library, asked)
    for name, inputs in raw.items():
        seen[f"infer {name}"] = tried(lambda inputs=inputs: told(ask(inputs)))
    outputs = [library.InferRequestedOutput(name) for name in OUTPUTS]
    image = raw["UINT8"]
    seen["infer two outputs"] = tried(lambda: _only_those(ask(image, outputs=outputs)))
    for coding in ("gzip", "deflate"):
        seen[f"infer {coding}"] = tried(
            lambda coding=coding: told(ask(image, compression_algorithm=coding))
        )
    seen["infer later"] = tried(lambda: told(_later(client, asked, image)))
    seen["answer's id"] = tried(lambda: ask(image, request_id="theirs").get_response().id)
    seen["a stream"] = tried(lambda: _streamed(client, asked, image))
    seen |= _triton_errors(library, client, asked, image)
    client.close()
    return seen


def _triton_ask(client: Any, asked: Material) -> Callable[..., Any]:
    return lambda inputs, **more: client.infer(asked.model, inputs, headers=asked.headers, **more)


def _triton_description(client: Any, asked: Material, *, as_json: bool = False) -> dict[str, Any]:
    model = asked.model

    def ask(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        return tried(lambda: call(*arguments, headers=asked.headers, **more))

    form = {"as_json": True} if as_json else {}
    return {
        "live": ask(client.is_server_live),
        "ready": ask(client.is_server_ready),
        "model ready": ask(client.is_model_ready, model),
        "version ready": ask(client.is_model_ready, model, "1.0"),
        "server": ask(client.get_server_metadata, **form),
        "model": ask(client.get_model_metadata, model, **form),
        "config": ask(client.get_model_config, model, **form),
        "index": ask(client.get_model_repository_index, **form),
        "statistics": ask(client.get_inference_statistics, model, **form),
        "all statistics": ask(client.get_inference_statistics, **form),
    }


def _triton_errors(library: Any, client: Any, asked: Material, image: Any) -> dict[str, Any]:
    flat = library.InferInput("image", [4, 4], "UINT8")
    flat.set_data_from_numpy(np.zeros((4, 4), dtype=np.uint8))
    unknown = [library.InferRequestedOutput("nothing")]
    classes = [library.InferRequestedOutput("probabilities", class_count=3)]
    infer = client.infer

    def ask(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        return tried(lambda: call(*arguments, headers=asked.headers, **more))

    return {
        "no key": tried(lambda: infer(asked.model, image)),
        "no model": ask(infer, "nothing", image),
        "no version": ask(infer, asked.model, image, model_version="9"),
        "no shape": ask(infer, asked.model, [flat]),
        "no output": ask(infer, asked.model, image, outputs=unknown),
        "classes": ask(infer, asked.model, image, outputs=classes),
        "no time": ask(infer, asked.model, image, timeout=1),
        "load": ask(client.load_model, asked.model),
        "unload": ask(client.unload_model, asked.model),
        "memory": ask(client.get_system_shared_memory_status),
        "traces": ask(client.get_trace_settings),
        "logs": ask(client.get_log_settings),
    }


def _only_those(answer: Any) -> Any:
    return {**told(answer, OUTPUTS), "another": answer.as_numpy("class_index")}


def _later(client: Any, asked: Material, image: Any) -> Any:
    import queue

    done: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.async_infer(
        asked.model, image, lambda result, error: done.put((result, error)), headers=asked.headers
    )
    result, error = done.get(timeout=30)
    if error is not None:
        raise error
    return result


def _streamed(client: Any, asked: Material, image: Any) -> Any:
    import queue

    done: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: done.put((result, error)), headers=asked.headers)
    client.async_stream_infer(asked.model, image)
    _, error = done.get(timeout=30)
    client.stop_stream()
    if error is not None:
        raise error


def triton_aio(asked: Material) -> dict[str, Any]:
    """The same library's asynchronous clients, of both protocols."""
    return asyncio.run(_triton_aio(asked))


async def _triton_aio(asked: Material) -> dict[str, Any]:
    import tritonclient.grpc.aio as grpc_library
    import tritonclient.http.aio as http_library

    seen = {}
    for name, library, address in (
        ("http", http_library, asked.rest.removeprefix("http://")),
        ("grpc", grpc_library, asked.grpc.removeprefix("grpc://")),
    ):
        client = library.InferenceServerClient(address)
        image = triton_inputs(library, asked)["UINT8"]
        seen[f"ready {name}"] = await awaited(
            lambda client=client: client.is_model_ready(asked.model, headers=asked.headers)
        )
        answers = await asyncio.gather(
            *(client.infer(asked.model, image, headers=asked.headers) for _ in range(8)),
            return_exceptions=True,
        )
        seen[f"infer {name}"] = [tried(lambda one=one: told(one)) for one in answers]
        await client.close()
    return seen


def kserve(asked: Material) -> dict[str, Any]:
    """All that `kserve` asks, over both protocols."""
    return asyncio.run(_kserve_rest(asked)) | asyncio.run(_kserve_grpc(asked))


def _kserve_request(asked: Material, datatype: str, *, raw: bool, outputs: bool = False) -> Any:
    import kserve as library

    _, values = asked.ways_to_say_it()[datatype]
    tensor = library.InferInput("image", list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=raw)
    requested = None
    if outputs:
        from kserve.protocol.infer_type import RequestedOutput

        requested = [RequestedOutput(name) for name in OUTPUTS]
    return library.InferRequest(asked.model, [tensor], request_outputs=requested)


def _kserve_told(answer: Any) -> Any:
    return {output.name: output.as_numpy() for output in answer.outputs}


async def _kserve_rest(asked: Material) -> dict[str, Any]:
    import kserve as library

    client = library.InferenceRESTClient(library.RESTConfig(protocol="v2", retries=1))
    base, model = asked.rest, asked.model
    seen = {
        "rest live": await awaited(lambda: client.is_server_live(base)),
        "rest ready": await awaited(lambda: client.is_server_ready(base)),
        "rest model ready": await awaited(
            lambda: client.is_model_ready(base, model, headers=asked.headers)
        ),
    }
    for name, datatype, raw, outputs in (
        ("JSON", "UINT8", False, False),
        ("JSON floats", "FP32", False, False),
        ("binary", "UINT8", True, False),
        ("two outputs", "UINT8", False, True),
        ("files", "BYTES", True, False),
    ):
        request = _kserve_request(asked, datatype, raw=raw, outputs=outputs)

        async def infer(request: Any = request) -> Any:
            return _kserve_told(await client.infer(base, request, model, headers=asked.headers))

        seen[f"rest {name}"] = await awaited(infer)
    image = _kserve_request(asked, "UINT8", raw=False)
    seen["rest no key"] = await awaited(lambda: client.infer(base, image, model))
    seen["rest no model"] = await awaited(
        lambda: client.infer(base, image, "nothing", headers=asked.headers)
    )
    await client.close()
    return seen


async def _kserve_grpc(asked: Material) -> dict[str, Any]:
    import kserve as library

    client = library.InferenceGRPCClient(asked.grpc.removeprefix("grpc://"))
    headers = tuple(asked.headers.items())
    seen = {
        "grpc live": await awaited(lambda: client.is_server_live(headers=headers)),
        "grpc ready": await awaited(lambda: client.is_server_ready(headers=headers)),
        "grpc model ready": await awaited(
            lambda: client.is_model_ready(asked.model, headers=headers)
        ),
    }
    for name, datatype, raw, outputs in (
        ("typed", "UINT8", False, False),
        ("typed floats", "FP32", False, False),
        ("raw", "UINT8", True, False),
        ("two outputs", "UINT8", True, True),
        ("files", "BYTES", True, False),
    ):
        request = _kserve_request(asked, datatype, raw=raw, outputs=outputs)

        async def infer(request: Any = request) -> Any:
            return _kserve_told(await client.infer(request, headers=headers))

        seen[f"grpc {name}"] = await awaited(infer)
    image = _kserve_request(asked, "UINT8", raw=True)
    seen["grpc no key"] = await awaited(lambda: client.infer(image))
    nothing = _kserve_request(asked, "UINT8", raw=True)
    nothing.model_name = "nothing"
    seen["grpc no model"] = await awaited(lambda: client.infer(nothing, headers=headers))
    await client.close()
    return seen


WAYS = {
    "triton-http": triton_http,
    "triton-grpc": triton_grpc,
    "triton-aio": triton_aio,
    "kserve": kserve,
}


def main(way: str, rest: str, grpc: str, model: str, folder: str) -> None:
    """Ask everything, and print what was told."""
    seen = WAYS[way](Material(rest, grpc, model, folder))
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
