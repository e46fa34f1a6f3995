"""Whole searches on CIFAR-10, evo's default and its peers: space `mlp`, the same trainings, start and budget for all.

    python -m benchmarks.search_quality setup --peers optuna --environments DIR
    python -m benchmarks.cifar10_searches run --data-dir cifar10 --environments DIR
    python -m benchmarks.cifar10_searches report

A method proposes one genome at a time with all results known. What a search recommends after 10, 20 and 40 trainings is
trained on three new seeds and measured on the test set. Every training is kept, so `run` resumes where it stopped. The
report covers the seeds for which every method has finished. It has the seconds of the trainings, which depend on the
machines that made them, and their arithmetic, which does not.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cifar10_searches.report import METHODS, draw, paired_searches, summary
from benchmarks.cifar10_searches.searches import Job, Row, keep, run_job
from benchmarks.command_line import start
from benchmarks.search_quality.methods import check_method
from benchmarks.search_quality.places import Places, single_threaded

OUTPUT = Path("benchmarks/cifar10_searches/results")

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


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
    """Make the searches, or resume them."""
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


@app.command()
def report(output: Annotated[Path, typer.Option(help="Folder of the results.")] = OUTPUT) -> None:
    """Write the tables and the figure of the searches that have ended."""
    rows = paired_searches(output)
    (output / "summary.md").write_text("\n".join(summary(rows)), encoding="utf-8")
    draw(rows, output / "curves.png")
    typer.echo((output / "summary.md").read_text(encoding="utf-8"))


def _tested(row: Row) -> str:
    if "test" not in row:
        return f"validation {row['recommended_accuracy']:.4f}"
    return f"validation {row['recommended_accuracy']:.4f}, test {statistics.fmean(row['test']):.4f}"


if __name__ == "__main__":
    start(app)
