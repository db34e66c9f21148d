"""Tests of the report as people read it."""
