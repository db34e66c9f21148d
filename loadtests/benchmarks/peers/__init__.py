"""Servers of others that we stand beside: each runs in an environment of its own."""
