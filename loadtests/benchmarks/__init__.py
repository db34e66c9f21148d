"""Benchmarks: each prints ratios measured within one run, the two sides in turn."""
