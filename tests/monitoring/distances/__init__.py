"""Tests of the distances between a window and its reference."""
