"""The 2019 report: its Table 1, its figures, and its way of measuring."""

NAME = "table1"
"""The name of the space whose trainings are those of Table 1."""
