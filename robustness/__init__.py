"""Attacks, detectors, calibration, and the screened model that is served."""
