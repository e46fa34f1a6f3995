"""Whole searches on CIFAR-10: evo's default strategy and its peers."""
