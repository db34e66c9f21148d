"""Learning curves: how accuracy grows with labels, and what more labels would be worth."""
