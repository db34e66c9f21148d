"""Tests of the load tests: Locust itself runs, against real servers on this machine."""
