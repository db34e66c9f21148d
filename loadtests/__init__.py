"""Load on a running server, over REST and gRPC, from outside: only the client is used."""
