"""How well a search on Dask uses its workers, and what it loses when they are killed."""
