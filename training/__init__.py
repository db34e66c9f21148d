"""Training: recipes, the adversarial loop, and the record each training leaves."""
