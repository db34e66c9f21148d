"""Adaptive attacks: by those who know the detectors, and must fool both at once."""
