"""What objectives, data and goals of a user cost and gain: pruning, constraints, reports."""
