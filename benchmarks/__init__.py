"""Long experiments: how fast populations train, with the tables and figures that they give."""
