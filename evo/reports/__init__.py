"""What people look at after a search; made only from the records of runs."""
