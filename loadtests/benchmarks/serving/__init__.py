"""Serving, side by side: the same weights behind several servers, asked by one load client."""
