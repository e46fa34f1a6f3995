"""Measure searches of user-defined objectives.

    python -m benchmarks.own_objectives constraints --optuna /tmp/optuna/bin/python

`--help` after a name lists its options; README.md says what each measures.
"""

from __future__ import annotations

import argparse
import importlib

EXPERIMENTS = ("constraints", "pruning", "reports")
"""Each is a module of this package with `add_arguments(parser)` and `run(given)`."""


def main() -> None:
    """Run the experiment that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.own_objectives", description=(__doc__ or "").split("\n")[0]
    )
    names = parser.add_subparsers(dest="experiment", required=True)
    for name in EXPERIMENTS:
        module = importlib.import_module(f"benchmarks.own_objectives.{name}")
        module.add_arguments(names.add_parser(name, description=(module.__doc__ or "").split("\n")[0]))
    given = parser.parse_args()
    importlib.import_module(f"benchmarks.own_objectives.{given.experiment}").run(given)


if __name__ == "__main__":
    main()
