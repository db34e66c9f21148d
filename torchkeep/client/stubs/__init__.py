"""Generated from protos/ by scripts/generate_stubs.py; do not edit by hand."""
