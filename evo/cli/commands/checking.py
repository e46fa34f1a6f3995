"""Commands about search spaces: spaces, check."""

from __future__ import annotations

from typing import Annotated

import typer

from evo.cli.commands import options as option
from evo.cli.commands.shell import guarded


def spaces() -> None:
    """List the shipped search spaces."""
    from evo.cli.terminal import print_spaces

    print_spaces()


@guarded
def check(
    space: Annotated[str, typer.Argument(help="A shipped space or a TOML file.")],
    debug: option.Debug = False,
) -> None:
    """Validate a search space: every mistake at once, or its genes and what a search of it does by default.

    Examples:

      evo check mlp

      evo check my_space.toml
    """
    from evo.cli.terminal import print_space
    from evo.space.file import load_space

    print_space(load_space(space))
