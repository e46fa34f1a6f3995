"""`python -m evo` is the command `evo`."""

from evo.cli import main

main()
