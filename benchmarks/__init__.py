"""Long experiments, one folder each, with their results beside them."""
