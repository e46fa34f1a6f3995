"""Whole searches on CIFAR-10, evo's default against peers: space `mlp`, the same trainings, start and budget for all.

    python -m benchmarks.search_quality setup --peers optuna --environments DIR
    python -m benchmarks.cifar10_searches run --data-dir cifar10 --environments DIR
    python -m benchmarks.cifar10_searches report

A method proposes one genome at a time with all results known. What a search recommends after 10, 20 and 40 trainings is
trained on three new seeds and measured on the test set. Every training is kept, so a run goes on where it was stopped.
A report is of the seeds whose searches are there for every method. Beside the seconds of the trainings, which depend on
the machines that made them, it has their arithmetic, which does not.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.search_quality_methods import Adapters, Method, Searcher, check_method, make_searcher
from benchmarks.search_quality_places import Places, single_threaded
from benchmarks.search_quality_tasks import Task, Training
from evo.data.splits import validation_count
from evo.errors import ConfigurationError
from evo.files import write_text
from evo.individual import Genome, genome_from_json, genome_key, training_seed
from evo.loop.cost import counter
from evo.models.mlp import build
from evo.space import SearchSpace
from evo.space.file import load_space

OUTPUT = Path("benchmarks/results/cifar10-searches")
METHODS = "surrogate,optuna-tpe-multivariate,random"
ANCHOR: Genome = {"hidden_layers": (100,), "learning_rate": 1e-3, "batch_size": 200, "steps": 1500}
"""What `evo train` trains without a flag: every method's first genome."""
TESTED_AFTER = (10, 20, 40)
TEST_SEEDS = 3
TEST_SEED = -1
"""In place of a search's seed, for trainings that judge a genome: nobody has seen theirs."""
SEARCHES = "searches"
"""Folder of the searches that have ended, beside that of the trainings."""
CHANCE = 0.1
"""What a training counts that diverged: the accuracy of guessing."""

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One search.

    Attributes:
        method: Name of the method.
        seed: Of the search.
        budget: Trainings.
        data_dir: CIFAR-10 as an image folder.
        output: Folder of the results.
        places: Where the peers' environments are.
    """

    method: str
    seed: int
    budget: int
    data_dir: Path
    output: Path
    places: Places

    @property
    def file(self) -> Path:
        """The search's trainings, one JSON line each."""
        return self.output / "trainings" / f"{self.method}-{self.seed}.jsonl"

    @property
    def search_file(self) -> Path:
        """What the whole search was, a line a training."""
        return self.output / SEARCHES / f"{self.method}-{self.seed}.jsonl"


class CifarTask(Task):
    """The shipped space `mlp` with `ANCHOR` as its known configuration."""

    def space(self) -> SearchSpace:
        shipped = load_space("mlp")
        return SearchSpace(shipped.genes, name=self.name, initial=[ANCHOR], training=shipped.training)


TASK = CifarTask("cifar10-mlp", "reporting", Training(best=1.0, reference=CHANCE), seeds=3)
IMAGES, SHAPE, CLASSES = 50_000, (3, 32, 32), 10
"""CIFAR-10's training images, of which evo holds a tenth out for validation."""


class Trainings:
    """Trains genomes and keeps every result in a file; what is there is not trained again.

    Args:
        file: One JSON line a training.
        train: Takes a genome, a seed and whether to measure on the test set; returns accuracy and seconds of a core.
    """

    def __init__(self, file: Path, train: Callable[[Genome, int, bool], tuple[float, float]]):
        self.file, self._train = file, train
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # a kill has torn the last line
            write_text(file, whole)
        rows: list[Row] = [json.loads(line) for line in whole.splitlines()]
        self._known = {(row["key"], row["seed"], row["part"]): row for row in rows}

    def measure(self, genome: Genome, seed: int, part: str, note: Row) -> Row:
        """Return the row of a training: `accuracy` on the part, `seconds`, and what `note` says of it."""
        where = (genome_key(genome), seed, part)
        if where not in self._known:
            accuracy, seconds = self._train(genome, seed, part == "test")
            row = {
                "key": where[0],
                "seed": seed,
                "part": part,
                "accuracy": accuracy,
                "seconds": round(seconds, 3),
                **note,
            }
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self._known[where] = row
        return self._known[where]


def search(searcher: Searcher, trainings: Trainings, seed: int, budget: int) -> list[Row]:
    """Run one search.

    Returns:
        One row a training: `number, genome, accuracy, seconds`, and of the genome recommended after it `recommended`
        and `recommended_accuracy`, the mean of its validation accuracies so far; after those of `TESTED_AFTER` also
        `test`, the test accuracies of its trainings on new seeds.
    """
    rows: list[Row] = []
    values: dict[str, list[float]] = {}
    genomes: dict[str, Genome] = {}
    for number in range(1, budget + 1):
        genome = searcher.ask()
        if genome is None:
            break
        key = genome_key(genome)
        seen = values.setdefault(key, [])
        genomes[key] = genome
        measured = trainings.measure(
            genome, training_seed(seed, genome, len(seen)), "validation", {"number": number, "genome": genome}
        )
        seen.append(measured["accuracy"])
        searcher.tell(measured["accuracy"])
        recommended = searcher.recommend() or genomes[max(values, key=lambda one: max(values[one]))]
        row = {"number": number, "genome": genome, "accuracy": measured["accuracy"], "seconds": measured["seconds"]}
        row |= {"recommended": recommended, "recommended_accuracy": statistics.fmean(values[genome_key(recommended)])}
        if number in TESTED_AFTER:
            seeds = [training_seed(TEST_SEED, recommended, replicate) for replicate in range(TEST_SEEDS)]
            row["test"] = [trainings.measure(recommended, one, "test", {"after": number})["accuracy"] for one in seeds]
        rows.append(row)
    return rows


def run_job(job: Job) -> list[Row]:
    """Return the rows of a search; see `search`."""
    searcher = make_searcher(Method(job.method), TASK, job.seed, job.budget, Adapters(job.places))
    return search(searcher, Trainings(job.file, _train_function(job.data_dir)), job.seed, job.budget)


def _train_function(data_dir: Path) -> Callable[[Genome, int, bool], tuple[float, float]]:
    """Return what trains a genome with evo's own trainer, one thread; what else the machine does is not timed."""
    import torch

    from evo.data.prepared import prepare_dataset
    from evo.training.trainer import Trainer

    torch.set_num_threads(1)
    trainer = Trainer(prepare_dataset("imagefolder", data_dir), TASK.space().training, build)

    def train(genome: Genome, seed: int, test: bool) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.safetensors"
            start = time.process_time()
            result = trainer.train(genome, seed, weights=weights if test else None)
            seconds = time.process_time() - start
            if result.status != "complete" or result.held_out is None:
                return CHANCE, seconds
            accuracy = trainer.test(genome, weights).accuracy if test else result.held_out.accuracy
        return accuracy, seconds

    return train


@app.command()
def run(
    data_dir: Annotated[Path, typer.Option(help="CIFAR-10 as an image folder.")],
    methods: Annotated[str, typer.Option(help="Names, separated by commas.")] = METHODS,
    seeds: Annotated[int, typer.Option(min=1, help="Paired seeds, from 1.")] = 3,
    budget: Annotated[int, typer.Option(min=1, help="Trainings of a search.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Searches at a time.")] = 2,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = OUTPUT,
    environments: Annotated[Path | None, typer.Option(help="Folder of the peers' environments.")] = None,
) -> None:
    """Make the searches, or go on with them."""
    names = [name for name in methods.split(",") if name]
    for name in names:
        check_method(name)
    default = Places.default()
    places = Places(environments.resolve() if environments else default.environments, default.cache)
    jobs = [Job(name, seed, budget, data_dir, output, places) for seed in range(1, seeds + 1) for name in names]
    os.environ.update(single_threaded())
    # Spawned, so that the variables above hold before NumPy is loaded.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(run_job, job): job for job in jobs}
        for future in as_completed(futures):
            job = futures[future]
            found = future.result()
            keep(job, found)
            typer.echo(f"{job.method}, seed {job.seed}: {len(found)} trainings, {_tested(found[-1])}")


def keep(job: Job, rows: Sequence[Row]) -> None:
    """Write the file of a search that has ended."""
    lines = [json.dumps({"method": job.method, "seed": job.seed, **row}) + "\n" for row in rows]
    job.search_file.parent.mkdir(parents=True, exist_ok=True)
    write_text(job.search_file, "".join(lines))


def paired_searches(output: Path) -> list[Row]:
    """Return the rows of the seeds whose searches are there for every method, in the order of `METHODS`.

    Raises:
        ConfigurationError: There is no such seed.
    """
    searches: dict[str, dict[int, list[Row]]] = {}
    for file in (output / SEARCHES).glob("*.jsonl"):
        rows: list[Row] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row |= {name: genome_from_json(row[name]) for name in ("genome", "recommended")}
        searches.setdefault(rows[0]["method"], {})[rows[0]["seed"]] = rows
    known = METHODS.split(",")
    methods = sorted(searches, key=lambda name: (known.index(name) if name in known else len(known), name))
    seeds = sorted(set.intersection(*(set(searches[name]) for name in methods))) if methods else []
    if not seeds:
        raise ConfigurationError(f"{output / SEARCHES} has no seed whose search has ended for every method: run first")
    return [row for name in methods for seed in seeds for row in searches[name][seed]]


def operations(genome: Genome) -> float:
    """Return the floating-point operations of the products of a search's training, measuring its curve included."""
    held_out = validation_count(IMAGES)
    return counter("mlp", TASK.space().training, SHAPE, CLASSES, IMAGES - held_out, held_out)(genome).amounts[0]


def _tested(row: Row) -> str:
    if "test" not in row:
        return f"validation {row['recommended_accuracy']:.4f}"
    return f"validation {row['recommended_accuracy']:.4f}, test {statistics.fmean(row['test']):.4f}"


@app.command()
def report(output: Annotated[Path, typer.Option(help="Folder of the results.")] = OUTPUT) -> None:
    """Write the tables and the figure of the searches that have ended."""
    rows = paired_searches(output)
    (output / "summary.md").write_text("\n".join(summary(rows)) + "\n", encoding="utf-8")
    draw(rows, output / "curves.png")
    typer.echo((output / "summary.md").read_text(encoding="utf-8"))


def summary(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a Markdown page: means over seeds, and every search's final genome."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [
        "# Searches of whole trainings on CIFAR-10",
        "",
        "Test accuracy of the genome that a search recommends after so many trainings: mean and standard deviation",
        "over its paired seeds, of means over three trainings on new seeds. Of a search's trainings, mean: hours of",
        "one core as measured, on whatever machine made them, and PFLOP of arithmetic.",
        "",
        "| method | " + " | ".join(f"after {number}" for number in TESTED_AFTER) + " | hours | PFLOP |",
        "|---|" + "---|" * (len(TESTED_AFTER) + 2),
    ]
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        tests = _tests(own)
        cells = []
        for number in TESTED_AFTER:
            means = tests.get(number, [])
            deviation = f" ± {statistics.stdev(means):.4f}" if len(means) > 1 else ""
            cells.append(f"{statistics.fmean(means):.4f}{deviation}" if means else "")
        count = len({row["seed"] for row in own})
        cells.append(f"{sum(row['seconds'] for row in own) / 3600 / count:.2f}")
        cells.append(f"{sum(operations(row['genome']) for row in own) / 1e15 / count:.2f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += ["", "| method | seed | validation of the search | test, three seeds | genome |", "|---|---|---|---|---|"]
    for row in rows:
        if row["number"] == max(TESTED_AFTER):
            test = ", ".join(f"{value:.4f}" for value in row["test"])
            genome = " ".join(f"{name}={_cell(value)}" for name, value in row["recommended"].items())
            lines.append(f"| {row['method']} | {row['seed']} | {row['recommended_accuracy']:.4f} | {test} | {genome} |")
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw accuracy of what is recommended against trainings, hours and arithmetic; a thin line is one search."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained")
    trainings, hours, arithmetic = figure.subplots(1, 3, sharey=True, width_ratios=(1.4, 1, 1))
    for place, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        color = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")[place % 4]
        look: dict[str, Any] = {
            "color": color,
            "linestyle": ("-", "--", ":", "-.")[place % 4],
            "drawstyle": "steps-post",
        }
        curves: list[list[float]] = []
        for seed in sorted({row["seed"] for row in rows if row["method"] == method}):
            own = [row for row in rows if (row["method"], row["seed"]) == (method, seed)]
            values = [row["recommended_accuracy"] for row in own]
            trainings.plot(range(1, len(own) + 1), values, linewidth=0.7, alpha=0.5, **look)
            hours.plot(_sums(row["seconds"] / 3600 for row in own), values, linewidth=1.4, **look)
            arithmetic.plot(_sums(operations(row["genome"]) / 1e15 for row in own), values, linewidth=1.4, **look)
            curves.append(values)
        means = [statistics.fmean(column) for column in zip(*curves, strict=False)]
        trainings.plot(range(1, len(means) + 1), means, linewidth=2.2, label=f"{method}, validation", **look)
        for number, accuracies in _tests([row for row in rows if row["method"] == method]).items():
            label = f"{method}, test (mean)" if number == TESTED_AFTER[0] else None
            trainings.plot([number], [statistics.fmean(accuracies)], "os^D"[place % 4], color=color, label=label)
    trainings.set(xlabel="trainings (thick: mean)", ylabel="accuracy of the genome recommended")
    hours.set(xlabel="hours of training on one core, as measured")
    arithmetic.set(xlabel="arithmetic of the trainings (PFLOP)")
    for axes in (trainings, hours, arithmetic):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file, dpi=110)


def _tests(rows: Sequence[Row]) -> dict[int, list[float]]:
    """Return a method's test accuracies, a mean over new seeds for each search, by the trainings they come after."""
    tested: dict[int, list[float]] = {}
    for row in rows:
        if "test" in row:
            tested.setdefault(row["number"], []).append(statistics.fmean(row["test"]))
    return tested


def _sums(amounts: Iterable[float]) -> list[float]:
    return list(itertools.accumulate(amounts))


def main() -> None:
    """Run the command line; mistakes in the arguments are one line."""
    try:
        app()
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
