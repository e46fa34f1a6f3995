"""Evaluation on a Dask cluster."""
