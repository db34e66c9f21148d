"""The parts of the sequential alarm: scores, conformal p-values, bets, and the e-detector."""
