"""Adapters of the peers: each runs alone in its peer's environment and imports nothing of evo."""
