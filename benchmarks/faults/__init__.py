"""Faults, one changed line each, that are planted to see which of them a test suite finds."""
