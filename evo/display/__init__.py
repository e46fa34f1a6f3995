"""How a run shows its progress: on a terminal, in a notebook, or line by line."""
