"""LitServe, tuned."""
