"""The `torchkeep` command: one file a verb; heavy imports wait until a verb runs."""
