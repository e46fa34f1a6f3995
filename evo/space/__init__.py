"""What may vary, and what a space file may say."""

from evo.space.search_space import SearchSpace

__all__ = ["SearchSpace"]
