"""One run: its journal, what happened in it, its settings, its folder and its tables."""
