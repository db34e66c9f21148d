"""Evasion attacks: each moves test images within a threat model so that the model is wrong."""
