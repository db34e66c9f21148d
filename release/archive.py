"""The archive TorchServe loads: a zip whose bytes follow from its members alone.

    MAR-INF/MANIFEST.json   what torch-model-archiver says: model name, version, entry point
    artifact.json           the artifact's files, unchanged
    model.safetensors
    screening.safetensors   if detectors are fitted
    reference.safetensors   if there is a reference for monitoring
    entry.py                the same few lines in every archive
    model-config.yaml       workers and timeouts

Members are stored rather than compressed (weights hardly shrink), ordered by name and dated 1980.
So the same artifact packs to the same bytes, and no byte of an archive escapes a check of its
members: one that differs from `write_archive` of what it holds was made by someone else.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

from torchkeep.artifact import MANIFEST as ARTIFACT
from torchkeep.artifact import MODEL, REFERENCE, SCREENING

TS_MANIFEST = "MAR-INF/MANIFEST.json"
ENTRY = "entry.py"
MODEL_CONFIG = "model-config.yaml"
HANDLER = "entry:handle"
CREATED = "01/01/1980 00:00:00"

REQUIRED = frozenset({TS_MANIFEST, ARTIFACT, MODEL, ENTRY, MODEL_CONFIG})
MEMBERS = REQUIRED | {SCREENING, REFERENCE}
MAX_ARCHIVE_BYTES = 2 * 1024**3
"""Below the sizes at which zip needs 64-bit fields, which few readers agree on."""

Members = Mapping[str, Path]
"""Name in the archive → file that holds the content."""

_DATE = (1980, 1, 1, 0, 0, 0)


def entry_source() -> bytes:
    """Return the source of the entry module, the only code an archive may carry."""
    return Path(__file__).with_name(ENTRY).read_bytes()


def write_archive(path: Path, members: Members) -> None:
    """Write `members` to `path` in the one form an archive has. Raises `OSError`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with members[name].open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, 1024 * 1024)
