"""`torchkeep attack`: attack a running endpoint as one who knows nothing but its answers."""

from __future__ import annotations

import csv
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from torchkeep.cli.predict import open_client
from torchkeep.errors import RequestError, ServerError, SettingsError
from torchkeep.output import AsJson, print_json
from torchkeep.paths import Home
from torchkeep.progress import progress

if TYPE_CHECKING:
    from torch import nn

    from robustness.black_box.campaign import Campaign
    from robustness.black_box.endpoint import Endpoint
    from robustness.black_box.results import ImageResult, Results
    from torchkeep.data import Dataset

_ATTACKS = ("square", "hopskipjump", "transfer")
_NEED_GRADIENTS = ("fgsm", "pgd", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "auto-attack", "patch")
_GO_ON = "What was found is kept: once it runs again, the same command goes on."


def attack(
    url: Annotated[str, typer.Argument(help="Address: http(s):// or grpc(s)://.")],
    attack: Annotated[str, typer.Option(help="square, hopskipjump or transfer.")] = "square",
    queries: Annotated[int, typer.Option(min=1, help="Images that may be asked, in all.")] = 2000,
    images: Annotated[int, typer.Option("-n", "--images", min=1, help="Test images.")] = 20,
    threat: Annotated[str, typer.Option(help="Threat such as linf:0.3 or l2:2.")] = "linf:0.3",
    data: Annotated[str, typer.Option(help="The data whose test images are used.")] = "mnist",
    source: Annotated[
        Path | None, typer.Option(help="Second artifact, for --attack transfer.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    model_version: Annotated[str | None, typer.Option(help="Version of the model.")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="TORCHKEEP_TOKEN", help="The server's token, if it runs elsewhere."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Images of one call, at most.")] = 64,
    pixels: Annotated[str, typer.Option(help="What is sent: float32 or uint8.")] = "float32",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 30.0,
    samples: Annotated[
        Path | None, typer.Option(help="File for one line an image: NAME.csv or NAME.jsonl.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over.")] = False,
    own: Annotated[
        bool,
        typer.Option("--i-own-this-endpoint", help="Allow addresses other than loopback."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Attack a running endpoint with a budget of queries; it goes on where it was broken off.

    Examples:
        torchkeep attack http://127.0.0.1:8000 --attack square --queries 2000 -n 20

        torchkeep attack grpc://127.0.0.1:8001 --attack hopskipjump --json

    """
    _check_name(attack)
    from robustness.black_box.address import require_loopback

    address = require_loopback(url, own=own)
    from robustness.black_box.endpoint import Endpoint
    from robustness.black_box.results import open_results
    from torchkeep.client.failures import is_throttle

    if samples is not None and samples.suffix not in (".csv", ".jsonl"):
        raise SettingsError(f"--samples {samples}", remedy="Name a .csv or a .jsonl file.")
    if pixels not in ("float32", "uint8"):
        raise SettingsError(f"--pixels {pixels}", remedy="Give float32 or uint8.")
    planned = _planned(attack, threat, data, images, source, seed, levels=pixels == "uint8")
    name = planned.digest(url=str(address), model=model, version=model_version, queries=queries)
    path = Home.default().root / "attacks" / f"{name}.jsonl"
    with (
        open_results(path, fresh=fresh) as results,
        open_client(url, token, model, model_version, timeout) as client,
    ):
        endpoint = Endpoint(
            client=client, budget=max(0, queries - results.queries), batch=batch, seed=seed
        )
        try:
            with progress() as report:
                planned.run(endpoint, results, report)
        except ServerError as error:
            raise ServerError(error.message, remedy=_GO_ON) from error
        except RequestError as error:
            if is_throttle(error):
                raise ServerError(error.message, remedy=_GO_ON) from error
            raise
        finally:
            _give(planned, endpoint, results, queries, samples, as_json=as_json)


def _check_name(name: str) -> None:
    if name in _ATTACKS:
        return
    if name in _NEED_GRADIENTS:
        raise SettingsError(
            f"{name} needs gradients, which an endpoint does not give",
            remedy="Use --attack transfer --source ARTIFACT, or torchkeep evaluate ARTIFACT.",
        )
    near = difflib.get_close_matches(name, _ATTACKS, n=1, cutoff=0.0)
    raise SettingsError(f"no attack {name!r}", remedy=f"Did you mean {near[0]}?")


def _planned(
    attack: str,
    threat: str,
    data: str,
    images: int,
    source: Path | None,
    seed: int,
    *,
    levels: bool,
) -> Campaign:
    from robustness.black_box.campaign import Campaign
    from robustness.black_box.searches import check_threat
    from torchkeep.cli.preparation import load_splits
    from torchkeep.threat_model import parse_threat

    allowed = check_threat(attack, parse_threat(threat))
    dataset, splits = load_splits(data)
    if images > len(splits.test):
        raise SettingsError(
            f"{images} images of {len(splits.test)} in the test set",
            remedy=f"Give -n {len(splits.test)} or less.",
        )
    chosen = splits.test.subset(range(images))
    return Campaign(
        attack=attack,
        threat=allowed,
        images=chosen.images,
        labels=chosen.labels,
        classes=len(dataset.classes),
        seed=seed,
        levels=levels,
        source=_network(source, dataset) if source else None,
    )


def _network(source: Path, dataset: Dataset) -> nn.Module:
    from robustness.screened_model import load_classifier
    from torchkeep.artifact import ModelArtifact

    artifact = ModelArtifact.load(source)
    if artifact.manifest.classes != dataset.classes:
        raise SettingsError(
            f"{source} knows other classes than {dataset.name}", remedy="Give another --source."
        )
    return load_classifier(artifact).eval()


def _give(
    planned: Campaign,
    endpoint: Endpoint,
    results: Results,
    queries: int,
    samples: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what was found, and write it to `samples`, however the attack ended."""
    told = summary(planned, endpoint, results, queries)
    if samples is not None:
        _write_samples(samples, results.images)
    if as_json:
        print_json(told)
        return
    console = Console()
    console.print(
        f"{told['attack']}, {told['threat']}, seed {told['seed']}: {told['attacked']} of "
        f"{told['images']} images done, {told['queries_used']} of {queries} queries",
        highlight=False,
    )
    for key in ("already_wrong", "fooled", "fooled_and_accepted", "held"):
        console.print(f"{key.replace('_', ' '):20} {told[key]}", highlight=False)
    console.print(
        f"this run met: verdicts {told['verdicts']}, throttles {told['throttles']}, "
        f"refusals {told['refusals']}",
        markup=False,
        highlight=False,
    )


def _write_samples(path: Path, rows: list[ImageResult]) -> None:
    import msgspec

    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        return
    from robustness.black_box.results import ImageResult

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ImageResult.__struct_fields__)
        writer.writeheader()
        writer.writerows(msgspec.structs.asdict(row) for row in rows)


def summary(
    planned: Campaign, endpoint: Endpoint, results: Results, queries: int
) -> dict[str, Any]:
    """Return the counts; verdicts, statuses, throttles and refusals are those of this run only."""
    from robustness.black_box.results import Outcome

    rows = results.images
    of = {outcome: [row for row in rows if row.outcome is outcome] for outcome in Outcome}
    return {
        "attack": planned.attack,
        "threat": str(planned.threat),
        "seed": planned.seed,
        "images": len(planned.images),
        "attacked": len(rows),
        "queries_allowed": queries,
        "queries_used": results.queries,
        "already_wrong": len(of[Outcome.ALREADY_WRONG]),
        "fooled": len(of[Outcome.FOOLED]),
        "fooled_and_accepted": sum(row.accepted for row in of[Outcome.FOOLED]),
        "held": len(of[Outcome.HELD]),
        "verdicts": dict(endpoint.verdicts),
        "statuses": dict(endpoint.statuses),
        "throttles": endpoint.throttles,
        "refusals": endpoint.refusals,
    }
