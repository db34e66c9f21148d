"""Certification: what no attack can change, proved by bounds or by smoothing."""
