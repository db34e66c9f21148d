"""Attacks on a running endpoint, of which nothing is known but its answers."""
