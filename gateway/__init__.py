"""The front door: the only part of Torchkeep that faces a network."""
