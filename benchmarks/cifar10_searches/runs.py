"""The runs of the benchmark: each begins, or goes on where it was stopped, and is then written as rows.

All are runs of evo, in a folder that is not committed; the rows are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evo
from benchmarks.cifar10_searches.clock import Clock, Times, whole_lines
from benchmarks.cifar10_searches.peer import OptunaTPE
from benchmarks.cifar10_searches.rows import SEARCH, TRAINING, write_rows
from evo.data.cache import PreparedDataset
from evo.data.prepared import prepare_dataset
from evo.individual import Genome
from evo.loop.deadline import RESUMABLE_EXIT, Stop, StopCheck
from evo.loop.execution import Execution
from evo.loop.finished import is_finished
from evo.loop.listed import train_configurations
from evo.names import DEFAULT_STRATEGY
from evo.record.folder import is_run
from evo.space import SearchSpace
from evo.space.chosen import chosen
from evo.space.file import load_space

METHODS = (DEFAULT_STRATEGY, "random", OptunaTPE.name)
"""What is compared in pairs."""
NEVER_REACHED = 1000
"""Times the minutes of a search by the processor clock: a bound by wall clock."""


@dataclass(frozen=True)
class Bench:
    """Where and how the runs are made.

    Attributes:
        output: Folder of the rows.
        runs: Folder of the runs.
        dataset: One of `evo.names.DATASETS`, or None for what the space has.
        data_dir: Where it is.
        workers: Trainings at the same time.
        peer: Version of the peer's package.
        processor_clock: Whether a search's minutes are processor time, of evo and its workers by their number, not wall
            clock.
        command: The command that is being carried out, to be shown with its results.
        stop_check: Called often; raises `Stop` to end, to be continued.
        say: Prints a line.
    """

    output: Path
    runs: Path
    dataset: str | None = None
    data_dir: Path | None = None
    workers: int = 2
    peer: str = ""
    processor_clock: bool = False
    command: str = ""
    stop_check: StopCheck = lambda: None
    say: Callable[[str], None] = print

    def clock(self, name: str) -> Path:
        """Return the file of a run's clock."""
        return self.runs / "clocks" / f"{name}.jsonl"

    def times(self, name: str) -> Times:
        """Return what a run's clock says."""
        return Times(whole_lines(self.clock(name)))

    def prepared(self, of_space: str = "cifar10") -> PreparedDataset:
        """Return the data, decoded if they are not yet: what was asked for, else those that a space names."""
        name = of_space if self.dataset is None and self.data_dir is None else self.dataset
        return prepare_dataset(name, self.data_dir)

    @property
    def how(self) -> dict[str, Any]:
        """What continuing a run takes."""
        return {"data_dir": self.data_dir, "workers": self.workers, "stop_check": self.stop_check}


@dataclass(frozen=True)
class Search:
    """A search with so much time, whose best genomes are then trained again and tested.

    Attributes:
        kind: `SEARCH` or `PAIR`.
        space: A space's name or file.
        strategy: Of the search.
        seed: Of the search.
        minutes: For the search alone.
        budget: Most trainings; None for that of the space.
        finalists: Genomes that are trained again, each on three seeds; None for what evo does by default.
    """

    kind: str
    space: str
    strategy: str
    seed: int
    minutes: float
    budget: int | None = None
    finalists: int | None = None

    @property
    def name(self) -> str:
        """Names its run and its rows."""
        return f"{self.kind}-{load_space(self.space).name}-{self.strategy}-{self.seed}"


def train(bench: Bench, space: str, seeds: int) -> None:
    """Train the initial configuration of a space on all training images, on some seeds; as `evo train --config`."""
    loaded = load_space(space)
    name = f"{TRAINING}-{loaded.name}"
    folder = bench.runs / name
    bench.say(f"{name}: {seeds} trainings")
    seeds = max(seeds, evo.load(folder).settings.seeds) if is_run(folder) else seeds
    one = chosen(loaded, name="train")
    try:
        train_listed(bench, name, one, list(one.initial), seeds=seeds, fitness="test")
    finally:
        write_rows(bench, name, loaded, {"kind": TRAINING})


def train_listed(
    bench: Bench,
    name: str,
    space: SearchSpace,
    configurations: Sequence[Genome],
    *,
    seeds: int = 1,
    fitness: str = "validation",
) -> None:
    """Train configurations, or what is left of them."""
    folder = bench.runs / name
    if is_run(folder) and len(evo.load(folder).evaluations) >= len(configurations) * seeds:
        return
    with Clock(bench.clock(name), TRAINING, bench.say) as clock:
        if is_run(folder):
            evo.resume(folder, seeds=seeds, observer=clock, **bench.how)
            return
        train_configurations(
            space,
            configurations,
            Execution(bench.dataset, bench.data_dir, workers=bench.workers, output=folder),
            seeds=seeds,
            fitness=fitness,
            observer=clock,
            stop_check=bench.stop_check,
        )


def search(bench: Bench, asked: Search) -> None:
    """Search without known configurations until the time is over, then name and test a winner."""
    space, name = load_space(asked.space), asked.name
    folder, seconds = bench.runs / name, 60 * asked.minutes
    facts = {"kind": asked.kind, "strategy": asked.strategy, "seed": asked.seed, "minutes": asked.minutes}
    facts["clock"] = "processor" if bench.processor_clock else "wall"
    facts |= {"peer": bench.peer} if asked.strategy == OptunaTPE.name else {}
    bench.say(f"{name}: {asked.minutes:g} min")
    try:
        _search_in_time(bench, asked, space, folder, seconds)
        if evo.load(folder).ranked():
            _finish(bench, name, folder)
    finally:  # also of what was stopped, or found nothing
        write_rows(bench, name, space, facts)


def _search_in_time(bench: Bench, asked: Search, space: SearchSpace, folder: Path, seconds: float) -> None:
    left = seconds - bench.times(asked.name).used(SEARCH)
    if left <= 0 or (is_run(folder) and evo.load(folder).winner is not None):
        return
    shared_by = bench.workers if bench.processor_clock else None
    with Clock(bench.clock(asked.name), SEARCH, bench.say, shared_by) as clock:

        def check() -> None:
            bench.stop_check()
            if clock.elapsed >= seconds:
                raise Stop("the time is over", RESUMABLE_EXIT)

        # A search that has a time budget weighs costs, so one by the processor clock needs one, which it never reaches.
        budget = left * NEVER_REACHED if bench.processor_clock else left
        how = {**bench.how, "stop_check": check, "observer": clock, "time_budget": budget, "finish": False}
        try:
            if is_run(folder):
                evo.resume(folder, **how)
            else:
                _begin(bench, asked, space, folder, how)
        except Stop:
            if clock.elapsed < seconds:  # a person's, not the clock's
                raise


def _begin(bench: Bench, asked: Search, space: SearchSpace, folder: Path, how: dict[str, Any]) -> None:
    evo.search(
        space,
        strategy=asked.strategy,
        budget=asked.budget,
        seed=asked.seed,
        finalists=asked.finalists,
        no_initial=True,
        dataset=bench.dataset,
        output=folder,
        **how,
    )


def _finish(bench: Bench, name: str, folder: Path) -> None:
    run = evo.load(folder)
    if run.winner is None or not is_finished(run):
        with Clock(bench.clock(name), "finish", bench.say) as clock:
            evo.finish(folder, observer=clock, **bench.how)
