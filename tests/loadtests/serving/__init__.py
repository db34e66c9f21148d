"""Tests of the benchmark of servers: what it sends, what it believes, and what it compares."""
