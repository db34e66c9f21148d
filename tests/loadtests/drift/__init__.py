"""Tests of the benchmark of distances."""
