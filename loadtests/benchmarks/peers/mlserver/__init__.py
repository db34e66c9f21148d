"""MLServer, tuned."""
