"""The parts of `loadtests.benchmarks.monitoring`: distances beside Evidently and NannyML."""
