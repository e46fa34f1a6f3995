"""Prints what `evo replay` found: the recorded result beside the new one, and its spread over seeds."""

from __future__ import annotations

import math

from rich.console import Console

from evo.evaluation import Evaluation
from evo.loop.replay import Replay
from evo.numbers import deviation, number_text
from evo.reports.statistics import mean_estimate

PAUSED = "this training paused at step {}; new seeds and saved weights are those of the whole training"


def print_replay(replay: Replay, console: Console) -> None:
    """Print the recorded result, the new one, and whether they agree."""
    recorded, again = replay.recorded, replay.again
    replicate = f", replicate {recorded.replicate}" if recorded.replicate else ""
    lines = [
        f"individual {recorded.individual}{replicate}, seed {recorded.seed}, {again.engine}, {again.precision}",
        f"  recorded: {_result(recorded)}",
        f"  again:    {_result(again)}",
        *([f"  {again.error}"] if again.error else []),
        *([f"  {PAUSED.format(again.paused_at)}"] if again.paused_at is not None else []),
        _verdict(replay),
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    if replay.others:
        _print_spread(replay.others, console)


def _result(evaluation: Evaluation) -> str:
    return f"{evaluation.status}, fitness {evaluation.fitness}, loss {evaluation.loss}, {evaluation.seconds:.1f} s"


def _verdict(replay: Replay) -> str:
    """Return whether the result was reproduced; in capitals if it was not."""
    if replay.same:
        return "the same, to the last bit"
    if not replay.changed:
        return "NOT the same, although versions, processor and settings are those of the recording"
    why = f"last digits may differ: {'; '.join(replay.changed)}"
    if replay.recorded.accuracy is None or replay.again.accuracy is None:
        return f"{'the same status' if replay.came_back else 'NOT the same'} ({why})"
    figures = (
        f"accuracy differs by {number_text(replay.difference)}, the tolerance is {number_text(replay.tolerance)}: "
        f"two standard errors of an accuracy on {replay.images} images"
    )
    return f"{'the same within the tolerance' if replay.came_back else 'NOT the same'}: {figures} ({why})"


def _print_spread(others: tuple[Evaluation, ...], console: Console) -> None:
    known = [evaluation.fitness for evaluation in others if evaluation.fitness is not None]
    if known:
        seeds = "one new seed" if len(known) == 1 else f"{len(known)} new seeds"
        within = (0.0, 1.0 if max(known) <= 1 else math.inf)  # an accuracy, or a loss
        text = f"on {seeds}: fitness {mean_estimate(known, within).text()}"
        if len(known) > 1:
            text += f", standard deviation {number_text(deviation(known, of_sample=True))}"
            text += f", {number_text(min(known))} to {number_text(max(known))}"
        console.print(text, markup=False)
        console.print("The recorded training is excluded: the search may have chosen it for its luck.", style="dim")
    for evaluation in (entry for entry in others if entry.fitness is None):
        console.print(f"seed {evaluation.seed}: {evaluation.status}: {evaluation.error}", markup=False, style="yellow")
