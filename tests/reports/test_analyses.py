"""What a report says follows from the CSV files, by other means than the report's."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evo
from evo.evaluation import Evaluation
from evo.individual import Individual
from evo.record.front import not_dominated
from evo.record.run import Run
from evo.reports.features import features_of
from evo.reports.gene_figures import genes_figure, genes_over_time_figure, parallel_figure
from evo.reports.importance import FEWEST, importance_of
from evo.reports.lineage import changes_table, lineage_of, operators_table
from evo.reports.progress_figures import cost_figure, generations_figure
from evo.reports.search_data import SearchData
from evo.reports.workload import PAUSE, failures_table, outcomes_table, timeline_of
from tests.reports.runs import line_of, search, space_of_kinds, written_by_hand
from tests.test_run import individual, make_settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "ga"
    search(path)
    return path


@pytest.fixture(scope="module")
def data(folder: Path) -> SearchData:
    return SearchData("ga", Run.load(folder))


@pytest.fixture(scope="module")
def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "evaluations.csv")


def test_the_best_so_far_is_the_running_maximum_of_the_column_fitness(data: SearchData, rows: pd.DataFrame) -> None:
    expected, best = [], math.nan
    for fitness in rows["fitness"]:
        best = fitness if math.isnan(best) or fitness > best else best
        expected.append(best)
    assert list(data.best_so_far) == pytest.approx(expected, abs=0)


def test_rates_of_operators_are_counted_in_the_file(data: SearchData, rows: pd.DataFrame) -> None:
    fitness = dict(zip(rows["individual"], rows["fitness"], strict=True))
    counts: dict[str, list[int]] = {}
    changes: dict[str, list[float]] = {}
    for row in rows.to_dict("records"):
        parents = [int(part) for part in str(row["parents"]).split(",")] if pd.notna(row["parents"]) else []
        known = [fitness[parent] for parent in parents if pd.notna(fitness[parent])]
        better, compared = counts.setdefault(row["operator"], [0, 0]), bool(known) and pd.notna(row["fitness"])
        if compared:
            better[0] += row["fitness"] > max(known)
            better[1] += 1
            changes.setdefault(row["operator"], []).append(row["fitness"] - max(known))
    table = operators_table(data).set_index("operator")
    assert set(table.index) == set(counts)
    assert {"crossover", "mutation", "crossover+mutation"} & {name for name, (_, n) in counts.items() if n > 10}
    for name, (better_count, compared_count) in counts.items():
        assert table.loc[name, "compared"] == compared_count
        if compared_count:
            rate, z = better_count / compared_count, 1.959963984540054
            middle = (rate + z**2 / (2 * compared_count)) / (1 + z**2 / compared_count)
            half = z * math.sqrt(rate * (1 - rate) / compared_count + z**2 / (4 * compared_count**2))
            half /= 1 + z**2 / compared_count
            assert table.loc[name, ["rate", "low", "high"]].astype(float).tolist() == pytest.approx(
                [rate, middle - half, middle + half]
            )
            assert table.loc[name, "median_change"] == pytest.approx(float(np.median(changes[name])))


def test_every_new_best_has_an_operator(data: SearchData, rows: pd.DataFrame) -> None:
    assert operators_table(data)["new_bests"].sum() == rows["fitness"].dropna().cummax().nunique()


def test_the_importance_is_that_of_the_genes_in_the_file(data: SearchData, rows: pd.DataFrame) -> None:
    found = data.importance
    again = importance_of(features_of(space_of_kinds(), rows), rows["fitness"].to_numpy(), seed=3)
    pd.testing.assert_frame_equal(found.table, again.table)
    assert found.evaluations == rows["fitness"].notna().sum()
    importance = dict(zip(found.table["gene"], found.table["importance"], strict=True))
    assert found.table["gene"].iloc[0] == "rate"
    assert importance["rate"] > 5 * abs(importance["idle"])
    assert set(importance) == set(space_of_kinds().genes)


def test_the_importance_has_another_seed_for_another_run_and_the_same_for_the_same(rows: pd.DataFrame) -> None:
    features = features_of(space_of_kinds(), rows)
    one, two = (importance_of(features, rows["fitness"].to_numpy(), seed=seed).table for seed in (3, 4))
    assert list(one["importance"]) != list(two["importance"])


def test_little_or_noise_has_no_importance(rows: pd.DataFrame) -> None:
    features = features_of(space_of_kinds(), rows)
    few = rows["fitness"].to_numpy().copy()
    few[np.flatnonzero(~np.isnan(few))[FEWEST - 1 :]] = np.nan
    found = importance_of(features, few, seed=0)
    assert len(found.table) == 0
    assert str(FEWEST) in found.reason
    noise = importance_of(features, np.random.default_rng(0).normal(size=len(rows)), seed=0)
    assert len(noise.table) == 0
    assert "R²" in noise.reason
    constant = importance_of(features, np.ones(len(rows)), seed=0)
    assert len(constant.table) == 0


def test_a_gene_that_is_never_active_does_not_vary(rows: pd.DataFrame) -> None:
    alone = rows.assign(dropout=np.nan, use_dropout=False)
    fitness = rows["fitness"].to_numpy()
    found = importance_of(features_of(space_of_kinds(), alone), fitness, seed=3)
    assert set(found.table["gene"]) == {"layers", "rate", "activation", "idle"}
    assert "dropout" in set(importance_of(features_of(space_of_kinds(), rows), fitness, seed=3).table["gene"])


def test_the_features_of_layers_are_their_number_and_their_sum(rows: pd.DataFrame) -> None:
    depth, units, *_ = features_of(space_of_kinds(), rows)
    assert list(depth.values) == [text.count(",") + 1 for text in rows["layers"]]
    assert list(units.values) == [sum(map(int, text.split(","))) for text in rows["layers"]]


def test_inactive_genes_are_no_numbers(rows: pd.DataFrame) -> None:
    dropout = next(feature for feature in features_of(space_of_kinds(), rows) if feature.gene == "dropout")
    assert list(np.isnan(dropout.values)) == [not used for used in rows["use_dropout"]]
    assert 0 < np.isnan(dropout.values).sum() < len(rows)


def test_every_step_of_the_lineage_is_the_better_parent_and_says_what_changed(
    data: SearchData, rows: pd.DataFrame
) -> None:
    assert data.best is not None
    line = lineage_of(data, data.best)
    table = rows.set_index("individual")
    assert line[-1].individual == data.best
    assert pd.isna(table.loc[line[0].individual, "parents"])
    assert len(line) > 2
    for before, step in itertools.pairwise(line):
        parents = [int(part) for part in str(table.loc[step.individual, "parents"]).split(",")]
        assert before.individual in parents
        assert before.fitness == max(table.loc[parents, "fitness"].dropna())
        assert step.change == pytest.approx(table.loc[step.individual, "fitness"] - before.fitness)
        differ = {
            name
            for name in space_of_kinds().genes
            if str(table.loc[step.individual, name]) != str(table.loc[before.individual, name])
        }
        assert set(step.changes) == differ


def test_a_line_ends_even_if_a_file_says_that_parents_come_after_their_children(tmp_path: Path) -> None:
    individuals = [Individual(0, {"x": 1}, 0, (1,), "mutation"), Individual(1, {"x": 2}, 0, (0,), "mutation")]
    evaluations = [Evaluation(number, 0, number, "complete", 0.5 + number) for number in (0, 1)]
    run = written_by_hand(individuals, evaluations, evo.SearchSpace({"x": evo.Integer(0, 9)}), tmp_path / "run")
    assert [step.individual for step in lineage_of(SearchData("run", run), 1)] == [0, 1]


def test_a_long_line_is_followed_to_its_beginning(tmp_path: Path) -> None:
    data = SearchData("line", line_of(300, tmp_path / "run"))
    assert [step.individual for step in lineage_of(data, 299)] == list(range(300))


def test_a_longer_training_of_the_same_genome_is_no_success_of_an_operator(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(0, 9)})
    individuals = [
        Individual(0, {"x": 1}, 0, (), "random", {"rung": 0}),
        Individual(1, {"x": 2}, 0, (0,), "promotion", {"rung": 1}),
        Individual(2, {"x": 3}, 0, (1,), "mutation", {"rung": 0}),
        Individual(3, {"x": 4}, 0, (0,), "mutation", {"rung": 0}),
    ]
    evaluations = [Evaluation(n, 0, n, "complete", fitness) for n, fitness in enumerate((0.2, 0.8, 0.3, 0.4))]
    data = SearchData("run", written_by_hand(individuals, evaluations, space, tmp_path / "rungs"))
    changes = changes_table(data).dropna()
    assert list(changes["individual"]) == [3]
    assert list(changes["change"]) == [pytest.approx(0.2)]
    assert list(data.best_so_far.dropna()) == [0.8, 0.8, 0.8]


def test_costs_and_failures_are_sums_over_the_file(data: SearchData, rows: pd.DataFrame) -> None:
    outcomes = outcomes_table(data).set_index("status")
    assert outcomes["evaluations"].to_dict() == rows["status"].value_counts().to_dict()
    assert outcomes["share"].sum() == pytest.approx(1)
    failures = failures_table(data)
    assert list(failures["evaluations"]) == [(rows["status"] != "complete").sum()], "one reason, whatever its numbers"
    assert failures["reason"].iloc[0] == rows.loc[rows["status"] != "complete", "error"].iloc[0]


def test_the_bars_of_the_cost_are_the_seconds_of_each_generation(tmp_path: Path) -> None:
    figure = cost_figure(SearchData("run", line_of(17, tmp_path / "run")))
    assert figure is not None
    seconds = pd.read_csv(tmp_path / "run" / "evaluations.csv").groupby("generation")["seconds"].sum()
    assert [bar.get_height() for bar in figure.axes[0].patches] == list(seconds) == [5.0, 5.0, 5.0, 2.0]


def test_many_different_reasons_are_counted_together(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(0, 99)})
    words = [f"{chr(97 + n // 10)}{chr(97 + n % 10)}" for n in range(50)]
    individuals = [Individual(n, {"x": n}) for n in range(50)]
    evaluations = [Evaluation(n, 0, n, "failed", error=f"no {word}") for n, word in enumerate(words)]
    table = failures_table(SearchData("run", written_by_hand(individuals, evaluations, space, tmp_path / "run")))
    assert table["evaluations"].sum() == 50
    assert len(table) <= 20
    assert table["reason"].iloc[-1] == "31 other reasons"


def test_the_utilisation_is_the_workers_time_in_the_file(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(0, 9)})
    # Two workers for four seconds, one of them idle for one; then a pause; then one more second of both.
    spans = [(0, 0.0, 2.0), (1, 0.0, 3.0), (0, 2.0, 2.0), (0, 4 + 2 * PAUSE, 1.0), (1, 4 + 2 * PAUSE, 1.0)]
    individuals = [Individual(n, {"x": n}) for n in range(len(spans))]
    evaluations = [
        Evaluation(n, 0, n, "complete", 0.5, seconds=seconds, worker=f"worker-{worker}", started=1.7e9 + start)
        for n, (worker, start, seconds) in enumerate(spans)
    ]
    written_by_hand(individuals, evaluations, space, tmp_path / "run")
    rows = pd.read_csv(tmp_path / "run" / "evaluations.csv")
    assert rows["seconds"].sum() == 9
    timeline = timeline_of(SearchData("run", Run.load(tmp_path / "run")))
    assert timeline is not None
    assert (timeline.workers, timeline.pauses) == (2, 1)
    assert timeline.wall == pytest.approx(5)
    assert timeline.utilisation == pytest.approx(9 / (2 * 5))


def test_a_training_that_was_resumed_stands_in_the_timeline_with_its_last_part_alone(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(0, 9)})
    evaluations = [
        Evaluation(n, 0, n, "complete", 0.5, seconds=seconds, seconds_before=before, worker="main", started=start)
        for n, (start, seconds, before) in enumerate(
            [(1.7e9, 2.0, 0.0), (1.7e9 + 2, 50.0, 47.0), (1.7e9 + 5, 1.0, 0.0)]
        )
    ]
    written_by_hand([Individual(n, {"x": n}) for n in range(3)], evaluations, space, tmp_path / "run")
    assert list(pd.read_csv(tmp_path / "run" / "evaluations.csv")["seconds_before"]) == [0.0, 47.0, 0.0]
    timeline = timeline_of(SearchData("run", Run.load(tmp_path / "run")))
    assert timeline is not None
    assert list(timeline.spans["end"]) == pytest.approx([2.0, 5.0, 6.0])
    assert (timeline.wall, timeline.workers, timeline.utilisation) == (6.0, 1, 1.0)


def test_every_part_of_a_training_that_was_paused_stands_in_the_timeline() -> None:
    proposals = [replace(individual(0), until=3), individual(1), replace(individual(0), until=9)]
    first = Evaluation(0, 0, 0, "partial", 0.4, steps_trained=3, seconds=2.0, worker="main", started=1.7e9)
    other = Evaluation(1, 0, 1, "complete", 0.3, seconds=1.0, worker="main", started=1.7e9 + 2)
    last = Evaluation(0, 0, 0, "complete", 0.5, seconds=6.0, seconds_before=2.0, worker="main", started=1.7e9 + 3)
    run = Run.create(make_settings())
    for proposal, result in zip(proposals, (first, other, last), strict=True):
        run.record_proposal(proposal)
        run.record(result)
    timeline = timeline_of(SearchData("run", run))
    assert timeline is not None
    assert list(timeline.spans["individual"]) == [0, 1, 0]
    assert list(timeline.spans["end"]) == pytest.approx([2.0, 3.0, 7.0])


def test_the_generations_of_a_continued_training_show_what_was_known_then() -> None:
    run = Run.create(make_settings())
    for until, generation, fitness, seconds in ((10, 0, 0.5, 1.0), (20, 1, 0.6, 3.0), (30, 3, 0.7, 9.0)):
        run.record_proposal(replace(individual(0), until=until, generation=generation))
        result = Evaluation(0, 0, 1, "partial", fitness, steps_trained=until, seconds=seconds, worker="main")
        run.record(result if until < 30 else replace(result, status="complete"))
    for generation in range(4):
        run.record_generation(generation, [0])
    data = SearchData("run", run)
    generations, costs = generations_figure(data), cost_figure(data)
    assert generations is not None
    assert costs is not None
    [best] = [line for line in generations.axes[0].lines if line.get_label() == "best so far"]
    assert list(best.get_ydata()) == [0.5, 0.6, 0.6, 0.7]
    assert [bar.get_height() for bar in costs.axes[0].patches] == [1.0, 2.0, 6.0]


def test_starts_are_known_to_the_millisecond(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(0, 9)})
    evaluation = Evaluation(0, 0, 0, "complete", 0.5, seconds=1.0, worker="main", started=1.7e9 + 0.25)
    written_by_hand([Individual(0, {"x": 0})], [evaluation], space, tmp_path / "run")
    started = pd.read_csv(tmp_path / "run" / "evaluations.csv")["started"].iloc[0]
    assert pd.Timestamp(started).timestamp() == 1.7e9 + 0.25


def test_a_front_holds_what_no_other_is_better_than_everywhere() -> None:
    generator = np.random.default_rng(1)
    values = generator.integers(0, 6, size=(60, 3)).astype(float)
    expected = [
        not any(all(other >= row) and any(other > row) for other in values)
        for row in values  # by the definition
    ]
    assert list(not_dominated(values)) == expected
    assert 0 < sum(expected) < 60


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of matplotlib's ticks behind the largest float
def test_genes_of_the_widest_bounds_can_be_drawn() -> None:
    space = evo.SearchSpace(
        {
            "wide": evo.Float(5e-324, 1.7e308, log=True),
            "linear": evo.Float(-8e307, 8e307),
            "tiny": evo.Float(0.0, 5e-324),
            "huge": evo.Integer(-(2**53), 2**53),
            "large": evo.Categorical([2**63, 2**64]),
            "mixed": evo.Categorical([0, 0.5, 1]),
        }
    )
    run = evo.search(space, lambda config: math.log10(config["wide"]), budget=30, population=10)
    data = SearchData("extreme", run)
    for draw in (genes_figure, genes_over_time_figure, parallel_figure):
        figure = draw(data)
        for axes in figure.axes:
            assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
        figure.canvas.draw()
    assert [feature.categories for feature in data.features[-2:]] == [(str(2**63), str(2**64)), ("0", "0.5", "1")]
