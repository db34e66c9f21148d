"""The parts of an analysis of drift: the tests, estimates, and what they say of its kind."""
