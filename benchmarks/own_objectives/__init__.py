"""Searches of objectives of one's own: constraints and goals, against other methods."""
