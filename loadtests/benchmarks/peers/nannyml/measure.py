"""The three of the five measures that NannyML has, of every feature.

    python measure.py REFERENCE.parquet CURRENT.parquet FEATURES

The current rows are one chunk. It is fitted to the reference once, which is timed apart.
"""

from __future__ import annotations

import sys
import time

import nannyml  # type: ignore[import-not-found]
import pandas as pd

from loadtests.benchmarks.drift.told import tell

METHODS = {
    "wasserstein": "wasserstein",
    "jensen_shannon": "jensen_shannon",
    "ks": "kolmogorov_smirnov",
}


def main(reference: str, current: str, features: str) -> None:
    """Compare the first `features` columns."""
    columns = [f"feature_{number}" for number in range(int(features))]
    start = time.perf_counter()
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=columns, continuous_methods=list(METHODS.values()), chunk_number=1
    )
    calculator.fit(pd.read_parquet(reference, columns=columns))
    fitted, cpu = time.perf_counter(), time.process_time()
    found = calculator.calculate(pd.read_parquet(current, columns=columns))
    seconds, cpu_seconds = time.perf_counter() - fitted, time.process_time() - cpu
    table = found.filter(period="analysis").to_df()
    values = {
        measure: [float(table[name, method, "value"].iloc[0]) for name in columns]
        for measure, method in METHODS.items()
    }
    tell(
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        prepare_seconds=fitted - start,
        values=values,
        packages=("nannyml", "pandas", "numpy", "scipy", "pyarrow"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
