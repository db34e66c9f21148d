"""The gRPC skin: the Open Inference Protocol, TorchServe's own service, health and reflection."""
