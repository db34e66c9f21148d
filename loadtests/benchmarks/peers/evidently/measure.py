"""Five measures of every feature by Evidently.

    python measure.py REFERENCE.parquet CURRENT.parquet FEATURES

It keeps no summary of a reference, so each comparison reads both files.
"""

from __future__ import annotations

import sys
import time

import pandas as pd
from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
from evidently.metrics import ValueDrift  # type: ignore[import-not-found]

from loadtests.benchmarks.drift.told import tell

METHODS = {
    "kl": "kl_div",
    "wasserstein_over_std": "wasserstein",
    "jensen_shannon": "jensenshannon",
    "psi": "psi",
    "ks_p_value": "ks",
}


def main(reference: str, current: str, features: str) -> None:
    """Compare the first `features` columns."""
    start, cpu = time.perf_counter(), time.process_time()
    columns = [f"feature_{number}" for number in range(int(features))]
    definition = DataDefinition(numerical_columns=columns)
    before, after = (
        Dataset.from_pandas(pd.read_parquet(file, columns=columns), data_definition=definition)
        for file in (reference, current)
    )
    metrics = [
        ValueDrift(column=name, method=method) for method in METHODS.values() for name in columns
    ]
    found = [metric["value"] for metric in Report(metrics).run(after, before).dict()["metrics"]]
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    values = {
        measure: found[place * len(columns) : (place + 1) * len(columns)]
        for place, measure in enumerate(METHODS)
    }
    tell(
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        prepare_seconds=0.0,
        values=values,
        packages=("evidently", "pandas", "numpy", "scipy", "pyarrow"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
