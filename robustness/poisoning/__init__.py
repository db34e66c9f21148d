"""Poisoned training data: attacks to measure with, detectors, and the scan that fuses them."""
