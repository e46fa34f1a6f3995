"""Tracebacks of user code as plain texts of a bounded size; no code of an exception's own class runs for them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from evo.plain_text import made_plain, text_of, type_name

LONGEST = 20_000
"""Characters of a traceback. (Of an exception's own message, a quarter of them.)"""
FRAMES, CHAIN = 40, 5
"""Most frames of an exception, and most exceptions that led to it."""
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"
_EVALUATORS = str(Path(__file__).parent / "evaluators") + os.sep
_CAUSE, _CONTEXT, _SUPPRESSES, _TRACEBACK, _VALUES = (
    vars(BaseException)[name]
    for name in ("__cause__", "__context__", "__suppress_context__", "__traceback__", "__dict__")
)


def traceback_of(problem: BaseException) -> str:
    """Return the traceback of an exception, as Python prints it, without the frames of evo's evaluators at its top."""
    try:
        text = "".join(_exceptions(problem)).replace("\r", "\n")
    except Exception as failure:  # such as too little memory; the reason of the failure is recorded anyway
        text = f"no traceback: {type(failure).__name__}\n"
    return made_plain(shortened(text, LONGEST))


def shortened(text: str, most: int) -> str:
    """Return the beginning and the end of a text that is too long."""
    if len(text) <= most:
        return text
    half = most // 2 - 40
    return f"{text[:half]}\n… {len(text) - 2 * half} characters are left out …\n{text[-half:]}"


def _exceptions(problem: BaseException) -> Iterator[str]:
    """Yield the texts of an exception and of those that led to it, the first of these first."""
    chain: list[tuple[BaseException, str]] = []
    one, joint = problem, ""
    while len(chain) < CHAIN and all(one is not other for other, _ in chain):
        chain.append((one, joint))
        before, joint = _CAUSE.__get__(one), CAUSED
        if before is None and not _SUPPRESSES.__get__(one):
            before, joint = _CONTEXT.__get__(one), DURING
        if before is None:
            break
        one = before
    for one, joint in reversed(chain):
        yield _text_of_one(one) + joint


def _text_of_one(problem: BaseException) -> str:
    frames = _frames(_TRACEBACK.__get__(problem))
    lines = ["Traceback (most recent call last):\n"] if frames else []
    first, last = frames[: FRAMES // 2], frames[FRAMES // 2 :][-FRAMES // 2 :]
    lines += traceback.StackSummary.extract(iter(first)).format()
    if left_out := len(frames) - len(first) - len(last):
        lines.append(f"  … {left_out} frames are left out …\n")
    lines += traceback.StackSummary.extract(iter(last)).format()
    lines.append(f"{type_name(problem)}: {shortened(text_of(problem), LONGEST // 4)}\n")
    notes = _VALUES.__get__(problem).get("__notes__")
    lines += [f"{shortened(text_of(note), LONGEST // 4)}\n" for note in notes[:CHAIN]] if type(notes) is list else []
    return "".join(lines)


def _frames(found: TracebackType | None) -> list[tuple[FrameType, int]]:
    frames: list[tuple[Any, int]] = list(traceback.walk_tb(found))
    own = next((n for n, (frame, _) in enumerate(frames) if not _is_evaluator(frame)), len(frames))
    return frames[own:] or frames


def _is_evaluator(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_EVALUATORS)
