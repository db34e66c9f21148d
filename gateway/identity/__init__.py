"""Who asks: API keys, and TLS with or without certificates of callers."""
