"""What the gateway is told about the TorchServe behind it."""

from __future__ import annotations

import shutil

from gateway.upstream import ServedVersion, Upstream
from handlers.config import LimitsConfig
from release.model_config import Device
from release.ports import LOOPBACK
from release.run_folder import RunFolder
from release.server_config import ServerConfig
from release.state import Launch
from release.vet import VettedArchive
from torchkeep.keys import envelope_key_file
from torchkeep.paths import Home
from torchkeep.settings import Settings


def upstream(
    run: RunFolder, home: Home, plan: Launch, vetted: VettedArchive, settings: Settings
) -> Upstream:
    """Return where TorchServe will listen, what it will serve, and what it needs to be shown."""
    manifest, limits = vetted.manifest, settings.section("limits", LimitsConfig)
    server = settings.section("server", ServerConfig)
    served = ServedVersion(
        name=manifest.name,
        version=manifest.version,
        digest=vetted.artifact_digest,
        input=manifest.input.chw,
        classes=manifest.classes,
        device=_device(vetted),
        workers=plan.workers,
        screened=manifest.screening is not None,
        max_items=limits.max_items,
        max_explain_items=limits.max_explain_items,
        max_forward_batch=limits.max_forward_batch,
        max_bytes=min(limits.max_bytes, server.max_request_bytes),
    )
    return Upstream(
        http_address=f"{LOOPBACK}:{plan.ports.rest_port}",
        token_file=str(run.keys),
        envelope_key=str(envelope_key_file(home)),
        models=(served,),
        max_response_bytes=server.max_response_bytes,
    )


def _device(vetted: VettedArchive) -> str:
    """Return where workers will compute; TorchServe asks the same program for GPUs."""
    wanted = Device.of(vetted.manifest)
    return "cuda" if wanted is Device.GPU and shutil.which("nvidia-smi") else "cpu"
