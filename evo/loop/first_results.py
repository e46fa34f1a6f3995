"""Whether the first evaluations of a search show that nothing works, so that the rest would only cost time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from evo.errors import SearchError, listed
from evo.evaluation import FAILURES, Evaluation
from evo.record.run import Run

ALIKE, DIFFERENT = 3, 20
"""A search is stopped after so many failures from its beginning on: of the same cause, and of any causes."""
NOT_ALLOWED = (
    "If it is the configurations that are not allowed, raise evo.Infeasible for them: the search then goes on."
)
SHOWN = 5
"""Most reasons in the error."""
FAILED_STAY = "Rows that failed stay as they are; this also tries them again:"


class FirstResults:
    """Looks at the first evaluations of a search: those from its beginning or, after it was stopped, from there on.

    Args:
        run: The run.

    Attributes:
        individuals: Those to evaluate first.
    """

    def __init__(self, run: Run):
        self._run, start = run, len(run.settings.earlier)
        while stopped := _all_failed(run, start):
            start = stopped[-1].individual + 1
        self.individuals = range(start, start + ALIKE)

    def check(self) -> None:
        """Stop the search if its first evaluations all failed.

        Raises:
            SearchError: They did.
        """
        run, start = self._run, self.individuals.start
        if not (failures := _all_failed(run, start)):
            return
        reasons = [f"individual {e.individual}: {e.status}: {e.error}" for e in failures[:SHOWN]]
        if len(failures) > SHOWN:
            reasons.append(f"and {len(failures) - SHOWN} more")
        number = "three" if len(failures) == ALIKE else str(len(failures))
        which = f"the first {number} evaluations"
        if start > len(run.settings.earlier):
            which = f"individuals {failures[0].individual} to {failures[-1].individual}"
        remedy = f"\n{NOT_ALLOWED}" if run.settings.objective is not None else ""
        if run.path is not None:
            again = run.command("resume", retry="failed")
            remedy += f"\nFix the cause, then continue with:  {run.command('resume')}\n{FAILED_STAY}  {again}"
        raise SearchError(listed(reasons, f"{which} all failed, so the search was stopped:") + remedy)


def _all_failed(run: Run, start: int) -> list[Evaluation]:
    """Return the failures that are enough to stop a search; nothing while there are too few, or one has not failed.

    They are looked at in the order of the proposals, whichever came first, so any number of workers stops alike.
    """
    failures: list[Evaluation] = []
    for number in range(start, len(run.individuals)):
        first = next((part for _, part in islice(run.parts(number), 1)), None)
        if first is None or (first.status not in FAILURES and not first.infeasible):
            return []
        failures += [] if first.infeasible else [first]
        if len(failures) == DIFFERENT or (len(failures) == ALIKE and _is_one_cause(failures)):
            return failures
    return []


def _is_one_cause(failures: Sequence[Evaluation]) -> bool:
    """Return whether failures look alike, as they do where what the search needs is broken and not its genomes.

    So it is where all took too long, all ran out of memory, or all gave the same reason but for its numbers.
    """
    return len({(one.status, _reason(one) if one.status == "failed" else "") for one in failures}) == 1


def _reason(failure: Evaluation) -> str:
    return re.sub(r"0x[0-9a-fA-F]+|\d+(\.\d+)?([eE][-+]?\d+)?|\b(True|False)\b", "#", failure.error)
