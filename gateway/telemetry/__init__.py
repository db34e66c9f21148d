"""What is told of requests: access records, metrics, traces, health."""
