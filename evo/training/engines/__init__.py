"""How a training computes."""
