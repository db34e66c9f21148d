"""`torchkeep logs replay`: a logged input, asked again; what differs now, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from torchkeep.errors import DataError, UserError
from torchkeep.output import AsJson, print_json
from torchkeep.paths import Home
from torchkeep.schema import ItemStatus, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from monitoring.replay import Comparison
    from robustness.screened_model import ScreenedModel
    from torchkeep.artifact import ModelArtifact
    from torchkeep.client import Client, Item, PredictResult

Record = Mapping[str, Any]


def replay(
    request_id: Annotated[str, typer.Argument(help="Request whose logged pixels to send again.")],
    item: Annotated[
        int | None, typer.Option(min=0, help="That item of it alone.  [default: all with pixels]")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Server to ask.  [default: the one running here]"),
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Ask this artifact instead, without any server.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version to ask for.  [default: the server's default]")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="TORCHKEEP_TOKEN", help="The API key, if the server runs elsewhere."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Directory of the log, in place of the settings'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a logged input through any version again and show what differs, step by step.

    Only requests whose pixels were logged can be replayed: see [request_log] sample_inputs. A
    server elsewhere tells only what its answers disclose; of the one here, its log tells the rest.

    Examples:
        torchkeep logs replay 6f1d2a

        torchkeep logs replay 6f1d2a --item 3 --artifact .torchkeep/artifacts/mnist-1.1

        torchkeep logs replay 6f1d2a --to grpc://127.0.0.1:8001 --json

    """
    from monitoring.replay import compare

    if artifact is not None and (to is not None or version is not None):
        raise UserError("--artifact excludes --to and --version", remedy="Give one of them.")
    place = directory or log_directory()
    logged = _logged(place, request_id, item)
    if artifact is not None:
        again = _through_artifact(artifact, logged)
    else:
        again = _through_server(logged, place, to, token, version)
    compared = [compare(then, now) for then, now in zip(logged, again, strict=True)]
    if as_json:
        print_json({"request_id": request_id, "items": [one.to_json() for one in compared]})
    else:
        for one in compared:
            _tell(one)


def log_directory() -> Path:
    """Return where the settings say that the request log lies."""
    from monitoring.request_log import RequestLogConfig
    from torchkeep.settings import Settings

    config = Settings.load().section("request_log", RequestLogConfig)
    return config.location(Home.default())


def _logged(directory: Path, request_id: str, item: int | None) -> list[Record]:
    """The records of a request that have their pixels: from the segments, else from the store."""
    from monitoring.log_reader import find
    from monitoring.replay import replayable

    records = find(directory, request_id) or _stored(request_id)
    if not records:
        raise UserError(
            f"no record of request {request_id!r} in {directory}",
            remedy="`torchkeep log` shows the last ones.",
        )
    found = replayable(records, item)
    if not found:
        which = f"item {item} of request" if item is not None else "request"
        raise UserError(
            f"the pixels of {which} {request_id!r} were not logged",
            remedy="Have a share of them logged: [request_log] sample_inputs = 0.01.",
        )
    return found


def _stored(request_id: str) -> list[dict[str, Any]]:
    """What the store holds of a request whose segments are gone."""
    from monitoring.store import LogStore

    query = "FROM inference WHERE request_id = ? ORDER BY timestamp_ns, attempt"
    table = LogStore.from_settings().table(query, [request_id])
    records: list[dict[str, Any]] = table.to_pylist()
    for record in records:
        if record["screening"]:  # Arrow gives a map as pairs
            record["screening"]["heads"] = dict(record["screening"]["heads"] or ())
    return records


def _pixels(record: Record) -> NDArray[np.uint8] | NDArray[np.float32]:
    from monitoring.array_fields import decode_input

    try:
        return decode_input(record["input"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"request {record['request_id']}, item {record['item']}",
            f"its logged pixels are damaged ({error})",
            "base64 of an image",
        ) from error


def _through_server(
    logged: Sequence[Record],
    directory: Path,
    to: str | None,
    token: str | None,
    version: str | None,
) -> list[Record]:
    """Send each image in a request of its own; take the record it left, else what was answered."""
    from monitoring.scope import REPLAY
    from torchkeep.cli.predict import open_client
    from torchkeep.ids import new_id

    run = f"{REPLAY}{new_id()}"
    model = str(logged[0].get("model"))
    with open_client(to, token, model, version, 30.0) as client:
        return [
            _asked(client, record, directory, f"{run}-{number}", run)
            for number, record in enumerate(logged)
        ]


def _asked(client: Client, record: Record, directory: Path, request_id: str, run: str) -> Record:
    from monitoring.log_reader import find

    result = client.predict(_pixels(record), request_id=request_id, correlation_id=run)
    left = find(directory, result.request_id)
    return left[-1] if left else _as_record(result)


def _as_record(result: PredictResult) -> Record:
    """What an answer alone tells, as a record."""
    item: Item = result.items[0]
    told = item.screening
    screening: Record | None = None
    if told is not None:
        numbers = {"score": told.score, "threshold": told.threshold}
        screening = {"verdict": str(told.verdict), "heads": {}, **numbers}
    return {
        "request_id": result.request_id,
        "item": 0,
        "model_version": result.model_version,
        "artifact_digest": None,
        "status": str(item.status),
        "prediction": [] if item.label is None else [item.label],
        "probability": [] if item.probability is None else [item.probability],
        "screening": screening,
    }


def _through_artifact(folder: Path, logged: Sequence[Record]) -> list[Record]:
    """Predict and screen in this process, on the CPU, as a worker would."""
    from robustness.screened_model import load_screened_model
    from torchkeep.artifact import ModelArtifact

    artifact = ModelArtifact.load(folder)
    model = load_screened_model(artifact, "cpu")
    images = [_pixels(record) for record in logged]
    for image, record in zip(images, logged, strict=True):
        if image.shape != model.input_shape:
            raise UserError(
                f"item {record['item']} has shape {list(image.shape)}, {folder} takes "
                f"{list(model.input_shape)}",
                remedy="Name an artifact of the same model.",
            )
    return [_screened(artifact, model, image) for image in images]


def _screened(
    artifact: ModelArtifact,
    model: ScreenedModel,
    image: NDArray[np.uint8] | NDArray[np.float32],
) -> Record:
    """What a worker would have logged of one image, as far as it depends on the model."""
    from monitoring.array_fields import encode_embeddings, encode_input
    from monitoring.input_summary import summarise

    batch = model.screen(image[None])
    order = (-batch.probabilities[0]).argsort(kind="stable")
    failed, suspicious = bool(batch.failed[0]), bool(batch.suspicious[0])
    return {
        "item": 0,
        "model_version": artifact.manifest.version,
        "artifact_digest": artifact.digest,
        "status": ItemStatus.OK,
        "input": encode_input(image),
        "input_data_summary": summarise(image[None], [image.nbytes])[0],
        "embedding": encode_embeddings(batch.embedding)[0],
        "prediction": [model.classes[index] for index in order.tolist()],
        "probability": batch.probabilities[0][order],
        "screening": {
            "verdict": _verdict(failed=failed, suspicious=suspicious),
            "score": float(batch.score[0]),
            "threshold": model.threshold,
            "heads": dict(zip(model.head_names, batch.head_p_values[0].tolist(), strict=True)),
        },
    }


def _verdict(*, failed: bool, suspicious: bool) -> Verdict:
    if failed:
        return Verdict.FAILED
    return Verdict.SUSPICIOUS if suspicious else Verdict.CLEAN


def _tell(one: Comparison) -> None:
    from torchkeep.printable import printable

    console = Console()
    title = f"{one.request_id}, item {one.item}: version {one.before_version} as logged, "
    console.print(Text(printable(f"{title}{one.after_version} now")), soft_wrap=True)
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("step", "logged", "now", "distance", ""):
        table.add_column(column)
    for step in one.steps:
        distance = "" if step.distance is None else f"{step.distance:.3g}"
        mark = "" if step.same else "differs" if step.counts else "other space"
        style = "" if step.same or not step.counts else "yellow"
        cells = (step.name, step.before, step.after, distance, mark)
        table.add_row(*(Text(printable(cell), style=style) for cell in cells))
    console.print(table)
    first = one.first_difference
    if first is None:
        console.print("nothing differs beyond noise\n")
    elif one.same_answer:
        console.print(Text(f"same label and verdict; the first difference: {first.name}\n"))
    else:
        console.print(Text(f"another answer; the first difference: {first.name}\n"))
