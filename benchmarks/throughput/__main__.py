"""How fast evo trains populations, compared with what users write themselves."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.throughput.analysis import evaluations_of_search, overhead_table
from benchmarks.throughput.ladder import GROWTH, Plan, climb, count_work, grow, measure_peaks, rungs_of, scale_workers
from benchmarks.throughput.machine import WorkSetup, cores, facts_of_the_machine
from benchmarks.throughput.populations import MEMBERS, Population, make_population
from benchmarks.throughput.report import Results, check_folder, write_measurements, write_results
from evo.data import PreparedDataset, prepare_dataset, split_train
from evo.errors import ConfigurationError, EvoError, did_you_mean

PARTS = ("ladder", "growth", "workers")
PEAK_SIZE = {"cpu": 3072, "cuda": 8192}
"""Rows and columns of the matrices whose product is the machine's peak."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 0, 1 if a time does not count, 2 for a wrong option, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(words)
    try:
        results = run(options, words)
    except EvoError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"interrupted; populations that were measured completely are in {options.output}", file=sys.stderr)
        return 130
    for line in results.void:
        print(f"void: {line}", file=sys.stderr)
    if results.disturbed:
        print(results.disturbed, file=sys.stderr)
    print(f"written to {options.output}", file=sys.stderr)
    return 1 if results.void else 0


def run(options: argparse.Namespace, words: list[str]) -> Results:
    """Do the requested parts; the files are written after each."""
    parts, names = _names(options.parts, PARTS, "--parts"), _names(options.populations, tuple(MEMBERS), "--populations")
    if options.quick:
        options.repeats, options.seconds = 1, 1.0
    _check(options)
    check_folder(options.output, options.overwrite)
    results = Results(facts_of_the_machine(words))
    if options.search_run is not None:
        results.overhead = overhead_table(evaluations_of_search(options.search_run))
    try:
        if parts:
            _measure(options, parts, names, results)
    finally:
        if results.anything:
            write_results(results, options.output)
    return results


def _measure(options: argparse.Namespace, parts: list[str], names: list[str], results: Results) -> None:
    say = _Progress()
    if options.data_dir is None and options.dataset is None:
        raise ConfigurationError("--data-dir: needed, unless --dataset digits is given")
    dataset = prepare_dataset(options.dataset, options.data_dir, notify=say)
    populations = _populations(options, names, results)
    largest = min(GROWTH[-1], options.members or GROWTH[-1])
    growth = replace(make_population("small", largest), name="growth")
    scaled = replace(make_population("report", options.members), name="workers")
    everyone = (*populations, growth, scaled)
    plan = _plan(options, dataset, everyone, say, results)
    results.notes += rungs_of(plan)[1]
    if "ladder" in parts:
        quick = {"size": 512, "repetitions": 2}
        size = PEAK_SIZE[plan.device.partition(":")[0]]
        results.peaks = measure_peaks(plan, **(quick if options.quick else {"size": size, "repetitions": 8}))
        for population in populations:
            results.timings += climb(plan, population)
            results.note_shares()
            write_measurements(results, options.output)
    if "growth" in parts:
        results.growth = grow(plan, growth)
        write_measurements(results, options.output)
    if "workers" in parts:
        known = [row["steps"] for row in results.timings if row["population"] == "report"]
        results.workers = scale_workers(plan, scaled, known[0] if known else None)


def _populations(options: argparse.Namespace, names: list[str], results: Results) -> list[Population]:
    """Return the populations that this machine can train on every rung; a note says what is left out."""
    made = [make_population(name, options.members, gpu=options.device.startswith("cuda")) for name in names]
    if importlib.util.find_spec("torchvision") is not None:
        return made
    augmented = [population for population in made if population.training.augment != "none"]
    results.notes += [
        f"population {population.name} left out: torchvision, which augments for the usual loop, is not installed "
        "(pip install torchvision)"
        for population in augmented
    ]
    return [population for population in made if population not in augmented]


def _plan(
    options: argparse.Namespace,
    dataset: PreparedDataset,
    populations: tuple[Population, ...],
    say: _Progress,
    results: Results,
) -> Plan:
    say("counting the operations of a step")
    shape, classes = dataset.image_shape, len(dataset.classes)
    trained_on = len(split_train(dataset.train_count)[0])
    setup = WorkSetup(populations, shape, classes, trained_on, options.device, options.precision)
    facts, counts = count_work(setup)
    default = cores() if facts["device"] == "cpu" else 1
    plan = Plan(
        dataset,
        facts["device"],
        facts["precision"],
        tuple(facts["engines"]),
        options.workers or default,
        options.seconds,
        options.repeats,
        options.steps,
        say,
        {population.name: costs for population, costs in zip(populations, counts, strict=True)},
    )
    named = {name: facts[name] for name in ("device", "device_name", "precision", "engines", "default_threads")}
    results.hardware |= named | {"data": dataset.variant, "workers": plan.workers, "images_trained_on": trained_on}
    return plan


class _Progress:
    """Prints lines with the seconds since the start on stderr."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:7.1f} s] {line}", file=sys.stderr, flush=True)


def _names(text: str, known: tuple[str, ...], option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f'{option}: unknown "{name}".{did_you_mean(name, known)} Known: {", ".join(known)}'
            )
    return list(dict.fromkeys(names))


def _check(options: argparse.Namespace) -> None:
    for name in ("seconds", "repeats", "workers", "members", "steps"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ConfigurationError(f"--{name}: must be greater than 0, got {value}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    add = parser.add_argument
    add("--data-dir", type=Path, help="torchvision's root of CIFAR-10, or a tree of images")
    add("--dataset", choices=("cifar10", "digits", "imagefolder"), help="digits need no --data-dir")
    add("--populations", default=",".join(MEMBERS), help="default: all of %(default)s")
    add("--parts", default=",".join(PARTS), help="what to measure, of %(default)s; none: only --search-run")
    add("--seconds", type=float, default=60.0, help="about how long the slowest rung takes (default: %(default)g)")
    add("--repeats", type=int, default=3, help="how often each rung is timed (default: %(default)s)")
    add("--workers", type=int, help="processes of evo and Optuna (default: one per core; on a GPU one)")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--members", type=int, help="networks per population, instead of its usual number")
    add("--steps", type=int, help="steps of each network, instead of a calibration")
    add("--quick", action="store_true", help="one repeat, one second: shows that it runs, not how fast")
    add("--search-run", type=Path, help="folder of a finished search: shows where its time went")
    add("--output", type=Path, default=Path("benchmarks/throughput/results/latest"), help="default: %(default)s")
    add("--overwrite", action="store_true", help="replace the files of an earlier benchmark")
    return parser


if __name__ == "__main__":
    sys.exit(main())
