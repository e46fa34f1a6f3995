"""What evo reaches on CIFAR-10 with the whole recipe: single trainings, searches of an hour, pairs with random and TPE.

    python -m benchmarks.search_quality setup --peers optuna --environments peers
    python -m benchmarks.cifar10_searches trainings --data-dir cifar10
    python -m benchmarks.cifar10_searches search --data-dir cifar10
    python -m benchmarks.cifar10_searches pairs --data-dir cifar10 --environments peers
    python -m benchmarks.cifar10_searches random --data-dir cifar10
    python -m benchmarks.cifar10_searches report

Each command goes on where it was stopped: give it again. Its runs are runs of evo (`evo compare` reads them) in --runs;
what is kept of them, without weights and paths, goes to --output as one JSONL file per run.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cifar10_searches.random_trainings import train_at_random
from benchmarks.cifar10_searches.rows import PAIR, SEARCH
from benchmarks.cifar10_searches.runs import METHODS, Bench, Search, search, train
from benchmarks.command_line import start
from evo.cli.signals import StopOnSignals
from evo.errors import ConfigurationError, did_you_mean
from evo.loop.deadline import Stop
from evo.names import DEFAULT_STRATEGY

RESULTS = Path("benchmarks/cifar10_searches/results/recipe")
RUNS = Path("results/cifar10-searches")

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
Spaces = Annotated[str, typer.Option(help="Names or files of spaces, separated by commas.")]
DataDir = Annotated[Path | None, typer.Option(help="CIFAR-10 as an image folder.")]
Dataset = Annotated[str | None, typer.Option(help="Another dataset than the space's, such as digits for a try.")]
Workers = Annotated[int, typer.Option(min=1, help="Trainings at a time.")]
Output = Annotated[Path, typer.Option(help="Folder of the results.")]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Environments = Annotated[Path | None, typer.Option(help="Folder of the peers' environments.")]
Budget = Annotated[int | None, typer.Option(min=1, help="Most trainings of a search. Default: the space's.")]
Seeds = Annotated[int, typer.Option(min=1)]
Minutes = Annotated[float, typer.Option(min=0.01, help="Of each search; its finalists come after them.")]

ClockKind = Annotated[
    str, typer.Option(help="wall, or processor: processor time of the workers, for a machine with other work. Linux.")
]


@app.command()
def trainings(
    data_dir: DataDir = None,
    spaces: Spaces = "mlp,cnn",
    seeds: Seeds = 3,
    dataset: Dataset = None,
    workers: Workers = 2,
    output: Output = RESULTS,
    runs: Runs = RUNS,
) -> None:
    """Train the initial configurations on all training images: `evo train --config SPACE --fitness test --seeds 3`."""
    with _bench(Bench(output, runs, dataset, data_dir, workers)) as bench:
        for space in _listed(spaces):
            train(bench, space, seeds)


@app.command("search")
def search_long(
    data_dir: DataDir = None,
    spaces: Spaces = "mlp,cnn",
    minutes: Minutes = 60,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 1,
    budget: Budget = None,
    clock: ClockKind = "wall",
    dataset: Dataset = None,
    workers: Workers = 2,
    output: Output = RESULTS,
    runs: Runs = RUNS,
) -> None:
    """Search with evo's defaults but --no-initial and --no-finish, then `evo finish`."""
    with _bench(Bench(output, runs, dataset, data_dir, workers, processor_clock=_is_processor(clock))) as bench:
        for space in _listed(spaces):
            search(bench, Search(SEARCH, space, DEFAULT_STRATEGY, seed, minutes, budget))


@app.command()
def pairs(
    data_dir: DataDir = None,
    spaces: Spaces = "mlp,cnn",
    minutes: Minutes = 20,
    seeds: Seeds = 3,
    methods: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(METHODS),
    budget: Budget = None,
    clock: ClockKind = "wall",
    dataset: Dataset = None,
    workers: Workers = 2,
    environments: Environments = None,
    output: Output = RESULTS,
    runs: Runs = RUNS,
) -> None:
    """Search with evo's default, random search and Optuna's TPE, one after another on this machine, on paired seeds.

    The best genome of each search is then trained again on three new seeds and tested.
    """
    names = _listed(methods)
    for name in names:
        if name not in METHODS:
            known = ", ".join(METHODS)
            raise ConfigurationError(f'--methods: unknown method "{name}".{did_you_mean(name, METHODS)} Known: {known}')
    peer = _peer(environments) if METHODS[-1] in names else ""
    with _bench(Bench(output, runs, dataset, data_dir, workers, peer, _is_processor(clock))) as bench:
        for space in _listed(spaces):
            for seed in range(1, seeds + 1):
                # Another first with each seed, so that a drift of the machine affects all alike.
                for place in range(len(names)):
                    name = names[(place + seed - 1) % len(names)]
                    search(bench, Search(PAIR, space, name, seed, minutes, budget, finalists=1))


@app.command("random")
def random_trainings(
    data_dir: DataDir = None,
    spaces: Spaces = "mlp,cnn",
    count: Annotated[int, typer.Option(min=1, help="Of each space.")] = 100,
    dataset: Dataset = None,
    workers: Workers = 2,
    output: Output = RESULTS,
    runs: Runs = RUNS,
) -> None:
    """Train random genomes in full, the cheapest first: their median says how easy a space is.

    Ends once the median is known to be far enough below the best that searches have found.
    """
    with _bench(Bench(output, runs, dataset, data_dir, workers)) as bench:
        for space in _listed(spaces):
            train_at_random(bench, space, count)


@app.command()
def report(
    output: Output = RESULTS,
    reference: Annotated[
        Path | None, typer.Option(help="Results of another machine: says how many hours they would take on this one.")
    ] = None,
) -> None:
    """Write the tables and the figure of what is there."""
    from benchmarks.cifar10_searches.figure import draw
    from benchmarks.cifar10_searches.report import summary
    from benchmarks.cifar10_searches.rows import read_all

    kept = read_all(output)
    if not kept:
        raise ConfigurationError(f"{output}: has no results yet; make some with trainings, search, pairs or random")
    text = "\n".join(summary(kept, read_all(reference) if reference else ()))
    (output / "summary.md").write_text(text, encoding="utf-8")
    draw(kept, output / "curves.png")
    typer.echo(text)


def _is_processor(clock: str) -> bool:
    if clock not in ("wall", "processor"):
        raise ConfigurationError(f'--clock: must be wall or processor, not "{clock}"')
    return clock == "processor"


def _listed(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _peer(environments: Path | None) -> str:
    from benchmarks.cifar10_searches.peer import add_peer

    return add_peer(environments)


@contextmanager
def _bench(bench: Bench) -> Iterator[Bench]:
    """Yield it ready to run: the data are decoded, and signals end it in order."""
    bench.prepared()  # no search's clock is to see the images being decoded
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = f"python -m benchmarks.cifar10_searches {shlex.join(words)}"
    try:
        with StopOnSignals() as signals:
            yield replace(bench, command=command, stop_check=signals.check)
    except (Stop, KeyboardInterrupt) as stop:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(stop.exit_code if isinstance(stop, Stop) else 130) from None


if __name__ == "__main__":
    start(app)
