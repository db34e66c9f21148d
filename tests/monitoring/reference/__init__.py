"""The reference and the windows that are held against it."""
