"""Five measures of every feature by Torchkeep.

    python -m loadtests.benchmarks.drift.ours REFERENCE.parquet CURRENT.parquet FEATURES THREADS

The reference is summed up in 4,096 quantiles a feature once, which is timed apart: with a model it
is done when the model is packaged.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from loadtests.benchmarks.drift.features import names_of
from loadtests.benchmarks.drift.told import tell
from monitoring.parquet_distances import distances_of_parquet, sketch_of_parquet

MEASURES = ("kl", "wasserstein", "jensen_shannon", "psi", "ks")


def main(reference: str, current: str, features: str, threads: str) -> None:
    """Compare the first `features` columns."""
    columns = names_of(int(features))
    start = time.perf_counter()
    sketch, rows = sketch_of_parquet([Path(reference)], columns, threads=int(threads))
    sketched, cpu = time.perf_counter(), time.process_time()
    found = distances_of_parquet(
        [Path(current)], columns, sketch, reference_rows=rows, threads=int(threads)
    )
    seconds, cpu_seconds = time.perf_counter() - sketched, time.process_time() - cpu
    tell(
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        prepare_seconds=sketched - start,
        values={name: getattr(found, name) for name in MEASURES},
        packages=("numpy", "scipy", "pyarrow"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
