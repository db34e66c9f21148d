"""The history of what answered, read from the log: no other book is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitoring.analysis.deployment import Deployment
from torchkeep.schema import Role

if TYPE_CHECKING:
    import duckdb

_QUERY = """
SELECT min(timestamp_ns), model_version, coalesce(code_version, ''),
    coalesce(artifact_digest, ''), coalesce(screening.calibration_id, ''),
    coalesce(request_type.format, ''), coalesce(input_data_summary.dtype, '')
FROM inference
WHERE model = $model AND role IS NOT DISTINCT FROM $role AND input_data_summary IS NOT NULL
GROUP BY ALL ORDER BY ALL
"""


def deployments(connection: duckdb.DuckDBPyConnection, model: str) -> tuple[Deployment, ...]:
    """Return what answered for a model, oldest first, from the view `inference`.

    Canaries, shadows and items that could not be decoded do not count.
    """
    rows = connection.execute(_QUERY, {"model": model, "role": Role.DEFAULT.value}).fetchall()
    return tuple(
        Deployment(
            since_ns=since_ns,
            version=version,
            code_version=code_version,
            artifact_digest=digest,
            calibration_id=calibration,
            input_format=form,
            input_dtype=dtype,
        )
        for since_ns, version, code_version, digest, calibration, form, dtype in rows
    )
