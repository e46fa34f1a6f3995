"""What people type and see on a terminal."""
