"""The 2019 report: its Table 1, its figures, and its way of measuring."""
