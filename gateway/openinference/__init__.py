"""The Open Inference Protocol, version 2, as both protocols speak it: tensors and metadata."""
