"""Evidently, as it comes."""
