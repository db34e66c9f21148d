"""What TorchServe's own callers send and get."""
