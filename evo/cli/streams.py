"""Output streams that take every text: a character that their encoding lacks never ends a command."""

from __future__ import annotations

import codecs
import io
import os
import sys

HANDLER = "evo.readable"
READABLE = {"–": "-", "—": "-", "…": "...", "×": "x", "±": "+-", "−": "-", "·": ".", "═": "=", "━": "-", "─": "-"}
READABLE |= {"│": "|", "┃": "|", "╇": "+", "┼": "+", "²": "2", "≥": ">=", "≤": "<=", "“": '"', "”": '"', "’": "'"}
"""What stands for the characters that evo prints, where there is only ASCII."""


def readable(error: UnicodeError) -> tuple[str, int]:
    """Return what is written instead of characters that a stream cannot write, and where to go on.

    Raises:
        UnicodeError: It is not about writing.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(READABLE.get(character, "?") for character in missing), error.end


def take_every_text() -> None:
    """Let stdout and stderr write every text, whatever their encoding, and also file names that are not UTF-8.

    A stream that was closed before evo started takes everything and shows nothing.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open as long as evo runs
    codecs.register_error(HANDLER, readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
