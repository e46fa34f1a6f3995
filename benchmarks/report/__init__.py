"""The searches of the 2019 report, made again."""
