"""What every adapter of a peer shares: lines of JSON on standard input and output; only the standard library.

A line in is one of
    {"start": {"parameters": [...], "anchor": {...}, "seed": 0, "budget": 100, "variant": "...", "fidelity": null}}
    {"ask": true}
    {"tell": value}                     of the last configuration; higher is better
    {"tell": value, "of": number}       of that configuration, counted from 0 (a `ParallelSearch`)
    {"seen": {...}}                     a configuration that was asked for elsewhere takes the next number (likewise)
and each is answered by one line: {"ready": {versions}}, {"config": {...}}, {"told": true}, {"seen": true} or
{"error": "..."}. A new "start" begins a new search in the same process, so that the peer is imported once.
"""

from __future__ import annotations

import json
import operator
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Protocol, cast

Config = dict[str, Any]
COMPARISONS = {
    **{"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
    **{"==": operator.eq, "!=": operator.ne},
}
"""What a condition that is a sign and a number compares; one that is a list holds for the values in it."""


class Search(Protocol):
    """One search of a peer."""

    def ask(self) -> Config:
        """Return the next configuration; parameters that are not active may be left out."""

    def tell(self, value: float) -> None:
        """Report the value of the last configuration; higher is better."""


class ParallelSearch(Search, Protocol):
    """One that proposes while results of earlier proposals are awaited; these have numbers, from 0."""

    def tell_of(self, number: int, value: float) -> None:
        """Report the value of a configuration; higher is better."""

    def see(self, config: Config) -> None:
        """Take a configuration that was asked for elsewhere as the next one; its value is told later."""


def is_active(parameter: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether a parameter's conditions hold in a configuration that has its parents."""
    return all(name in config and _holds(config[name], wanted) for name, wanted in parameter["when"].items())


def _holds(value: Any, wanted: list[Any] | dict[str, Any]) -> bool:
    if isinstance(wanted, list):
        return value in wanted
    return bool(COMPARISONS[wanted["sign"]](value, wanted["number"]))


def active_only(parameters: list[dict[str, Any]], config: Mapping[str, Any]) -> Config:
    """Return a configuration without the parameters whose conditions do not hold; parents come first."""
    active: Config = {}
    for parameter in parameters:
        if is_active(parameter, active):
            active[parameter["name"]] = config[parameter["name"]]
    return active


def serve(begin: Callable[[dict[str, Any]], Search], packages: list[str]) -> None:
    """Answer lines until standard input ends.

    Args:
        begin: Makes a search of what "start" holds.
        packages: Names of the distributions whose versions are reported.
    """
    # What a peer prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    versions = {name: version(name) for name in packages}
    search: Search | None = None
    for line in sys.stdin:
        message = json.loads(line)
        answer: dict[str, Any]
        try:
            if "start" in message:
                search = begin(message["start"])
                answer = {"ready": versions}
            elif search is None:
                answer = {"error": "no search was started"}
            elif "ask" in message:
                answer = {"config": search.ask()}
            elif "seen" in message:
                cast(ParallelSearch, search).see(message["seen"])
                answer = {"seen": True}
            elif "of" in message:
                cast(ParallelSearch, search).tell_of(int(message["of"]), float(message["tell"]))
                answer = {"told": True}
            else:
                search.tell(float(message["tell"]))
                answer = {"told": True}
        except Exception:
            # The other side raises it, with the job's name; this process can serve another search.
            search, answer = None, {"error": traceback.format_exc()}
        answers.write(json.dumps(answer, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    """Return a NumPy number or text as Python's own."""
    return value.item() if hasattr(value, "item") else str(value)
