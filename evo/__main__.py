"""`python -m evo` is the command `evo`."""

from evo.cli.app import main

main()
