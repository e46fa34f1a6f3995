"""What people look at after a search; made from a run's records alone."""
