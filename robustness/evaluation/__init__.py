"""Evaluation of an artifact: attacks in blocks, checks before belief, one report."""
