"""`torchkeep package`: from a model artifact to the archive that TorchServe loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from torchkeep.output import AsJson, print_json


def package(
    artifact: Annotated[Path, typer.Argument(help="Folder of the artifact.")],
    model_store: Annotated[
        Path | None, typer.Option(help="Folder of archives, in place of the settings'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pack a model artifact as <model store>/<name>.mar.

    The artifact's hashes are verified, and the archive is vetted before it replaces an older one.
    The same artifact gives the same bytes.

    Examples:
        torchkeep package .torchkeep/artifacts/mnist-1.0

        torchkeep package my-artifact --model-store /srv/models --json

    """
    from release.package import package as pack
    from release.server_config import ServerConfig
    from torchkeep.artifact import ModelArtifact
    from torchkeep.atomic_file import sha256_file
    from torchkeep.settings import Settings

    loaded = ModelArtifact.load(artifact)
    store = model_store or Settings.load().section("server", ServerConfig).model_store
    archive = pack(loaded, store)
    if as_json:
        print_json(
            {
                "archive": str(archive),
                "sha256": sha256_file(archive),
                "model": loaded.manifest.name,
                "version": loaded.manifest.version,
                "artifact_digest": loaded.digest,
            }
        )
    else:
        Console().print(str(archive), soft_wrap=True, highlight=False, markup=False)
