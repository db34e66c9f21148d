"""Rendering: the one place that turns tables and series into SVG and HTML."""
