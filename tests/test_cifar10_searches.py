"""The benchmark of whole searches on CIFAR-10: what it keeps, that it resumes exactly, and the page it writes."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest

from benchmarks.cifar10_searches.__main__ import report
from benchmarks.cifar10_searches.report import draw, operations, paired_searches, summary
from benchmarks.cifar10_searches.searches import ANCHOR, TASK, TESTED_AFTER, Job, Row, Trainings, keep, search
from benchmarks.search_quality.methods import Adapters, Method, Searcher, make_searcher
from benchmarks.search_quality.places import Places
from evo.errors import ConfigurationError
from evo.individual import Genome, training_seed

SEED, BUDGET = 3, 12


def searcher(method: str = "random") -> Searcher:
    return make_searcher(Method(method), TASK, SEED, BUDGET, Adapters(Places.default()))


def accuracy(genome: Genome, seed: int, test: bool) -> float:
    return 0.5 - 0.1 * abs(math.log10(genome["learning_rate"]) + 3) + (seed % 101) / 1e4 - 0.01 * test


class Counted:
    """Trains by a formula; notes what was asked of it, and breaks off where it is told to."""

    def __init__(self, stops_at: float = math.inf):
        self.seeds: list[tuple[int, bool]] = []
        self.stops_at = stops_at

    def __call__(self, genome: Genome, seed: int, test: bool) -> tuple[float, float]:
        if len(self.seeds) >= self.stops_at:
            raise KeyboardInterrupt
        self.seeds.append((seed, test))
        return accuracy(genome, seed, test), 2.5


@pytest.mark.parametrize(("method", "stops_at"), [("random", 1), ("random", 11), ("surrogate", 7)])
def test_a_search_that_was_stopped_resumes_with_nothing_trained_twice(
    method: str, stops_at: int, tmp_path: Path
) -> None:
    whole = Counted()
    undisturbed = search(searcher(method), Trainings(tmp_path / "whole.jsonl", whole), SEED, BUDGET)
    with pytest.raises(KeyboardInterrupt):
        search(searcher(method), Trainings(tmp_path / "parts.jsonl", Counted(stops_at)), SEED, BUDGET)
    rest = Counted()
    resumed = search(searcher(method), Trainings(tmp_path / "parts.jsonl", rest), SEED, BUDGET)
    assert resumed == undisturbed
    assert rest.seeds == whole.seeds[stops_at:]
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_line_that_a_kill_has_torn_is_trained_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    undisturbed = search(searcher(), Trainings(kept, Counted()), SEED, BUDGET)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-20])
    again = Counted()
    assert search(searcher(), Trainings(kept, again), SEED, BUDGET) == undisturbed
    assert len(again.seeds) == 1
    assert kept.read_bytes() == whole


def test_a_method_begins_with_the_known_genome_and_is_judged_by_seeds_of_its_own(tmp_path: Path) -> None:
    train = Counted()
    rows = search(searcher(), Trainings(tmp_path / "kept.jsonl", train), SEED, BUDGET)
    assert rows[0]["recommended"] == ANCHOR
    assert [row["number"] for row in rows] == list(range(1, BUDGET + 1))
    assert [row["number"] for row in rows if "test" in row] == [TESTED_AFTER[0]]
    seeds = {test: {seed for seed, was in train.seeds if was == test} for test in (False, True)}
    assert len(seeds[False]) == BUDGET
    assert len(seeds[True]) == 3
    assert not seeds[False] & seeds[True]
    judged = rows[TESTED_AFTER[0] - 1]
    own = [training_seed(-1, judged["recommended"], number) for number in range(3)]
    assert judged["test"] == [accuracy(judged["recommended"], seed, True) for seed in own]


def two_searches(folder: Path) -> list[Row]:
    many: list[Row] = []
    for seed in (1, 2):
        one = make_searcher(Method("random"), TASK, seed, 40, Adapters(Places.default()))
        rows = search(one, Trainings(folder / f"{seed}.jsonl", Counted()), seed, 40)
        many += [{"method": "random", "seed": seed, **row} for row in rows]
    tested: list[Row] = [row for row in many if "test" in row]
    assert [row["number"] for row in tested] == 2 * list(TESTED_AFTER)
    return many


def test_the_page_says_the_means_of_the_test_accuracies(tmp_path: Path) -> None:
    rows = two_searches(tmp_path)
    lines = summary(rows)
    cells = [cell.strip() for cell in next(line for line in lines if line.startswith("| random |")).split("|")[2:-1]]
    for number, cell in zip(TESTED_AFTER, cells, strict=False):
        means = [statistics.fmean(row["test"]) for row in rows if row["number"] == number]
        assert cell == f"{statistics.fmean(means):.4f} ± {statistics.stdev(means):.4f}"
    assert cells[-2] == f"{40 * 2.5 / 3600:.2f}"
    assert cells[-1] == f"{sum(operations(row['genome']) for row in rows) / 2e15:.2f}"
    assert len([line for line in lines if line.startswith(("| random | 1 |", "| random | 2 |"))]) == 2


def test_the_arithmetic_is_that_of_the_steps_and_of_measuring_the_curve() -> None:
    genome: Genome = {"hidden_layers": (100,), "learning_rate": 1e-3, "batch_size": 200, "steps": 1500}
    # Six operations a weight and image, but four in the first layer: nothing wants the gradient of the images.
    steps = (4 * 3072 * 100 + 6 * 100 * 10) * 200 * 1500
    points = -(-1500 // TASK.space().training.evaluate_every)
    measuring = 2 * (3072 * 100 + 100 * 10) * (45_000 + 5_000 * points)
    assert operations(genome) == steps + measuring


def job(method: str, seed: int, output: Path) -> Job:
    return Job(method, seed, 40, output, output, Places.default())


def test_the_page_and_the_figure_are_made_from_the_searches_that_are_kept(tmp_path: Path) -> None:
    rows = two_searches(tmp_path)
    for seed in (1, 2):
        own = [
            {name: row[name] for name in row if name not in ("method", "seed")} for row in rows if row["seed"] == seed
        ]
        keep(job("random", seed, tmp_path), own)
    report(tmp_path)
    assert (tmp_path / "summary.md").read_text() == "\n".join(summary(rows))
    drawn = (tmp_path / "curves.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    draw(rows, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == drawn


def test_only_seeds_that_every_method_has_are_reported(tmp_path: Path) -> None:
    row = {"number": 1, "genome": ANCHOR, "recommended": ANCHOR}
    for method, seed in (("random", 3), ("surrogate", 1), ("random", 1), ("surrogate", 2)):
        keep(job(method, seed, tmp_path), [row])
    found = [(row["method"], row["seed"], row["recommended"]) for row in paired_searches(tmp_path)]
    assert found == [("surrogate", 1, ANCHOR), ("random", 1, ANCHOR)]


def test_no_finished_searches_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="use run first"):
        paired_searches(tmp_path)
    for method, seed in (("random", 2), ("surrogate", 1)):
        keep(job(method, seed, tmp_path), [{"number": 1, "genome": ANCHOR, "recommended": ANCHOR}])
    with pytest.raises(ConfigurationError, match="no seed for which every method has finished"):
        paired_searches(tmp_path)
