"""Alert rules over named measures, and where they tell of it."""
