"""One look at a model as one static HTML page, a file for each part of it."""
