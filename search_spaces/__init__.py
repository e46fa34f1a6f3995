"""The search spaces that evo ships: one TOML file each, named like the file."""
