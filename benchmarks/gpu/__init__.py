"""Which ways of training a population on one GPU are worth having in evo."""
