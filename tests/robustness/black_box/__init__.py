"""Tests of attacks on a running endpoint."""
