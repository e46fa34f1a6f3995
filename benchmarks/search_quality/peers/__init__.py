"""Adapters of the peers: each runs in its peer's environment and imports nothing of evo."""
