"""Earlier results: a search that begins with a table learns its rows, trains none of them, and says which they are."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.errors import ConfigurationError
from evo.individual import Genome, genome_key
from evo.loop.deadline import Stop
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run

SPACE = evo.SearchSpace(
    {
        "x": evo.Float(0.0, 2.0),
        "kind": evo.Categorical([None, (1, 2), "a"]),
        "depth": evo.Integer(0, 4),
        "rate": evo.Float(0.0, 1.0, when={"depth": ">= 2"}),
    }
)
TRAINED: list[Genome] = []


def worth(config: Genome, seed: int = 0) -> float:
    TRAINED.append(config)
    x, rate = config["x"], config.get("rate", 0.0)
    assert isinstance(x, float)
    assert isinstance(rate, float)
    return -((x - 1.3) ** 2) - (config["kind"] is not None) + 0.05 * rate


def table_of(count: int = 20, **more: Any) -> pd.DataFrame:
    rng = random.Random(0)
    rows = [SPACE.sample(rng) for _ in range(count)]
    cells = [{name: row.get(name, math.nan) for name in SPACE.genes} | {"fitness": worth(row), **more} for row in rows]
    return pd.DataFrame(cells)


class Notes(SilentObserver):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def notify(self, message: str) -> None:
        self.texts.append(message)

    warn = notify


def search(table: Any, **more: Any) -> Run:
    settings = {"strategy": "ageing", "budget": 8, "population": 5, "seed": 1, "finalists": 0, **more}
    return evo.search(SPACE, worth, initial_from=table, **settings)


def rows_of(run: Run) -> pd.DataFrame:
    return run.table.drop(columns=["started", "seconds", "worker", "seconds_before"])


@pytest.mark.usefixtures("quick_models")
@pytest.mark.parametrize("strategy", ["surrogate", "ga", "ageing", "random", "report2019-fixed"])
def test_rows_are_learned_and_not_trained(strategy: str) -> None:
    table = table_of()
    TRAINED.clear()
    run = search(table, strategy=strategy, finalists=2)
    known = 20 if strategy in ("surrogate", "random") else 5
    assert run.table["status"].tolist() == ["earlier"] * known + ["complete"] * 8
    assert run.table["operator"].tolist()[:known] == ["earlier"] * known
    assert (run.table["seconds"][:known] == 0).all()
    assert run.trainings == 8
    # The best that there is room for, worst first.
    assert run.table["fitness"].tolist()[:known] == sorted(table["fitness"])[-known:]
    genomes = {genome_key(individual.genome) for individual in run.individuals[:known]}
    assert not genomes & {genome_key(genome) for genome in TRAINED}
    assert min(run.finalists) >= known <= run.best.id


def test_a_search_is_made_from_what_is_known() -> None:
    """A model of the table finds the optimum sooner than one that begins with nothing."""
    with_table = search(table_of(), budget=4, strategy="surrogate")
    assert with_table.best.fitness > -0.01
    assert with_table.table["operator"].tolist()[20] != "random"
    assert search(None, budget=4, strategy="surrogate").best.fitness < -0.01


def test_the_table_is_that_of_any_number_of_workers_and_of_a_resumed_search(tmp_path: Path) -> None:
    table = table_of()
    whole = search(table, output=tmp_path / "whole")
    assert rows_of(search(table, workers=2)).equals(rows_of(whole))
    assert set(whole.table["operator"]) == {"earlier", "mutation"}
    calls = iter(range(10**6))

    def stop() -> None:
        if next(calls) > 8:
            raise Stop("enough", 75)

    with pytest.raises(Stop):
        search(table, output=tmp_path / "run", stop_check=stop)
    stopped = evo.load(tmp_path / "run")
    assert 0 < len(stopped.evaluations) < len(whole.evaluations)
    resumed = evo.resume(tmp_path / "run", worth)  # without the table
    assert rows_of(resumed).equals(rows_of(whole))
    assert evo.load(tmp_path / "run").settings.digest == whole.settings.digest
    assert evo.resume(tmp_path / "run", worth, budget=10).trainings == 10


def test_a_file_and_a_data_frame_are_the_same(tmp_path: Path) -> None:
    run = search(table_of(), output=tmp_path / "run", strategy="random")
    rows = list(csv.DictReader((tmp_path / "run" / "evaluations.csv").open(newline="")))
    assert {row["status"] for row in rows} == {"earlier", "complete"}
    again = search(tmp_path / "run" / "evaluations.csv", strategy="random")  # also the file that evo has written
    assert again.settings.earlier == search(run.table, strategy="random").settings.earlier
    assert len(again.settings.earlier) == 28


def test_what_is_no_result_of_the_space_is_left_out_and_said() -> None:
    table = table_of(more=1)
    table.loc[0, "fitness"] = math.inf
    table.loc[1, "x"] = 7.0
    table.loc[2, "depth"] = 9
    table = pd.concat([table, table.iloc[[5]].assign(fitness=table["fitness"][5] + 0.5)])
    notes = Notes()
    run = search(table, observer=notes, strategy="random")
    assert len(run.settings.earlier) == 17
    assert "nothing reads the columns more" in notes.texts[0]
    assert "3 rows are left out" in notes.texts[1]
    assert "x: 7.0 is not in 0 to 2" in notes.texts[1]
    twice = SPACE.decode(table.iloc[5].to_dict())
    [entry] = [entry for entry in run.settings.earlier if entry["genome"] == twice]
    assert entry["fitness"] == pytest.approx(table["fitness"].tolist()[5] + 0.25)  # the mean of both


def test_the_value_of_an_inactive_gene_is_ignored() -> None:
    table = table_of().fillna({"rate": 0.5})
    run = search(table, strategy="random")
    assert len(run.settings.earlier) == 20
    assert all(("rate" in entry["genome"]) == (entry["genome"]["depth"] >= 2) for entry in run.settings.earlier)


def test_a_known_configuration_is_trained_although_its_result_is_known() -> None:
    table = table_of()
    best = SPACE.decode(table.sort_values("fitness").iloc[-1].to_dict())
    run = search(table, initial=[best], strategy="random")
    assert run.individuals[20].operator == "initial"
    assert run.individuals[20].genome == best
    assert run.table["status"][20] == "complete"
    assert run.best.id >= 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["x", "depth"]), r"the table: has no column x, depth; it needs one for fitness"),
        (lambda t: t.rename(columns={"fitness": "Fitness"}), r'has no column fitness.*Did you mean "Fitness"'),
        (lambda t: t.assign(x=9.0), r"has no row that fits"),
        (lambda t: t.iloc[:0], r"has no row that fits"),
        (lambda t: pd.concat([t, t[["x"]]], axis=1), r"has the column x twice"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        search(change(table_of()))


def test_a_search_of_several_objectives_needs_all_of_them() -> None:
    with pytest.raises(ConfigurationError, match="has no column parameters"):
        search(table_of(), strategy="pareto")


@pytest.mark.usefixtures("in_process", "quick_models", "undrawn")
def test_a_command_takes_a_file(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'model = "mlp"\ndataset = "digits"\n[training]\nsteps = 20\nbatch_size = 32\nevaluate_every = 20\n'
        '[genes.hidden_layers]\ntype = "layers"\ndepth = [0, 2]\nwidth = [4, 16]\n'
        '[genes.learning_rate]\ntype = "float"\nlow = 1e-4\nhigh = 1e-1\nlog = true\n'
    )
    (tmp_path / "t.csv").write_text(
        'hidden_layers,learning_rate,fitness\n[],0.01,0.8\n"8,8",0.001,0.5\n8,0.02,0.7\n4,9,0.9\n'
    )
    words = ["search", str(tmp_path / "s.toml"), "--initial-from", str(tmp_path / "t.csv"), "--budget", "3"]
    words += ["--finalists", "0", "--strategy", "random", "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    run = evo.load(tmp_path / "run")
    assert [run.table["status"].tolist().count(status) for status in ("earlier", "complete")] == [3, 3]
    assert run.table["hidden_layers"].tolist()[2] == "[]"
    for command in (["compare", str(tmp_path / "run")], ["report", str(tmp_path / "run")]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert "of 3 individuals, and 3 earlier results" in (tmp_path / "run" / "report.html").read_text()
    result = CliRunner().invoke(app, ["replay", str(tmp_path / "run"), "0"])
    assert result.exit_code == 2
    assert "individual 0 is an earlier result" in result.output
