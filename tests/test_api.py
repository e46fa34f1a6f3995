"""The Python interface keeps its promises: the documented example, objectives of every kind, resume and extension."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evo
from evo.errors import ConfigurationError, SearchError
from evo.individual import genome_key
from evo.loop.deadline import Stop
from evo.loop.search_loop import SilentObserver

pytestmark = pytest.mark.usefixtures("quick_models")

SPACE = evo.SearchSpace(
    {
        "layers": evo.Layers(depth=(1, 3), width=(4, 64), log=True),
        "x": evo.Float(0.0, 1.0),
        "drop": evo.Boolean(),
        "rate": evo.Float(0.1, 0.5, when={"drop": True}),
    },
    name="small",
)


def height(config: dict[str, Any]) -> float:
    return float(config["x"]) - len(config["layers"]) / 10


def rows(run: evo.Run) -> list[dict[str, Any]]:
    table = run.table.drop(columns=["seconds", "started"])
    return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in table.to_dict("records")]


def test_the_documented_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()

    def f(config: dict[str, Any]) -> float:
        assert isinstance(config["hidden_layers"], tuple)
        return -abs(math.log10(config["learning_rate"]) + 3) - len(config["hidden_layers"])

    space = evo.SearchSpace({
        "hidden_layers": evo.Layers(depth=(1, 5), width=(16, 512), log=True),
        "learning_rate": evo.Float(1e-5, 1e-1, log=True),
        "batch_size": evo.Integer(32, 1024, log=True),
        "steps": evo.Integer(100, 1600, log=True),
        "activation": evo.Categorical(["relu", "gelu"]),
        "batch_norm": evo.Boolean(),
    })  # fmt: skip
    run = evo.search(space, objective=f, budget=30, seed=1)
    assert len(run.table) == 30
    assert run.best.fitness == f(run.best.config) == max(run.table["fitness"])
    assert list((tmp_path / "results").iterdir()) == []
    evo.search(space, objective=f, budget=30, seed=1, output="results/my-run")
    assert rows(evo.load("results/my-run")) == rows(run)
    assert len(evo.resume("results/my-run", objective=f, budget=40).table) == 40
    assert "ga" in evo.strategy_names()
    algorithm = evo.make_strategy("random", space, seed=1)
    [individual] = algorithm.ask()
    algorithm.tell(individual, f(individual.config))
    assert algorithm.best == individual


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    first, again, other = (evo.search(SPACE, height, budget=12, population=4, seed=seed) for seed in (1, 1, 2))
    assert rows(first) == rows(again)
    assert rows(first) != rows(other)


def test_another_number_of_workers_gives_the_same_table() -> None:
    one = evo.search(SPACE, height, budget=8, population=4, seed=1)
    two = evo.search(SPACE, height, budget=8, population=4, seed=1, workers=2)
    assert [row | {"worker": ""} for row in rows(two)] == [row | {"worker": ""} for row in rows(one)]
    assert set(two.table["worker"]) <= {"worker-0", "worker-1"}


def test_the_table_has_a_type_for_every_column() -> None:
    table = evo.search(SPACE, height, budget=12, population=4, seed=1).table
    for name in ("individual", "replicate", "generation", "seed"):
        assert table[name].dtype == "int64", name
    for name in ("x", "rate", "fitness", "seconds"):
        assert table[name].dtype == "float64", name
    assert all(isinstance(cell, bool) for cell in table["drop"])
    assert all(cell == ",".join(str(int(width)) for width in cell.split(",")) for cell in table["layers"])
    assert (table["rate"].isna() == ~table["drop"].astype(bool)).all()
    assert table["rate"].isna().any()
    assert not table["rate"].isna().all()


def test_a_run_in_memory_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = evo.search(SPACE, lambda config, seed: height(config), budget=6, population=3, output=None)
    assert run.path is None
    assert run.winner is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("result", "reason"), [("good", "expected a number"), (math.nan, "expected a finite"), (True, "expected a number")]
)
def test_an_objective_that_returns_no_number_is_a_failed_row(result: Any, reason: str) -> None:
    calls: list[int] = []

    def objective(config: dict[str, Any]) -> Any:
        calls.append(1)
        return result if len(calls) == 3 else height(config)

    table = evo.search(SPACE, objective, budget=6, population=3).table
    assert list(table["status"]) == ["complete"] * 2 + ["failed"] + ["complete"] * 3
    assert reason in table["error"][2]
    assert pd.isna(table["fitness"][2])


def test_an_objective_that_always_raises_stops_the_search_with_the_reason() -> None:
    def objective(config: dict[str, Any]) -> float:
        raise FileNotFoundError("train.csv")

    with pytest.raises(SearchError, match=r"FileNotFoundError: train\.csv"):
        evo.search(SPACE, objective, budget=6, population=3)


def test_an_objective_gets_seeds_that_depend_on_its_run() -> None:
    seeds: list[int] = []

    def objective(config: dict[str, Any], *, seed: int) -> float:
        seeds.append(seed)
        return height(config)

    run = evo.search(SPACE, objective, budget=4, population=4, seed=1, finalists=0)
    assert seeds == list(run.table["seed"])
    assert len(set(seeds)) == 4


def test_extending_keeps_the_past_and_asks_for_the_objective_again(tmp_path: Path) -> None:
    short = evo.search(SPACE, height, budget=6, population=3, seed=1, output=tmp_path / "run")
    with pytest.raises(ConfigurationError, match=r'made with the objective "height".*evo\.resume'):
        evo.resume(tmp_path / "run", budget=12)
    longer = evo.resume(tmp_path / "run", height, budget=12)
    assert len(longer.table) == 12
    assert rows(longer)[:6] == rows(short)
    assert evo.load(tmp_path / "run").settings.budget == 12


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run = evo.search(SPACE, height, budget=6, population=3, output=tmp_path / "run")
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    assert rows(evo.resume(tmp_path / "run", height)) == rows(run)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("evaluated", range(1, 9, 2))
def test_an_objective_that_was_interrupted_goes_on_to_the_same_table(tmp_path: Path, evaluated: int) -> None:
    whole = evo.search(SPACE, height, budget=9, population=3, seed=1)
    calls: list[int] = []

    def interrupted(config: dict[str, Any]) -> float:
        calls.append(1)
        if len(calls) > evaluated:
            raise KeyboardInterrupt
        return height(config)

    interrupted.__qualname__ = "height"
    with pytest.raises(KeyboardInterrupt):
        evo.search(SPACE, interrupted, budget=9, population=3, seed=1, output=tmp_path / "run")
    assert rows(evo.resume(tmp_path / "run", height)) == rows(whole)


def test_a_run_can_be_loaded_while_it_is_running(tmp_path: Path) -> None:
    seen: list[int] = []

    def objective(config: dict[str, Any]) -> float:
        running = evo.load(tmp_path / "run")
        assert len(running.individuals) == len(seen) + 1
        seen.append(len(running.search_evaluations))
        return height(config)

    evo.search(SPACE, objective, budget=4, population=2, output=tmp_path / "run")
    assert seen == [0, 1, 2, 3]


def test_a_search_that_is_not_to_finish_stops_at_its_time_and_keeps_what_was_done(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="time budget"):
        evo.search(SPACE, height, budget=100_000, time_budget=0.2, finish=False, output=tmp_path / "run")
    run = evo.load(tmp_path / "run")
    assert 0 < len(run.search_evaluations) < 100_000


def test_known_configurations_enter_the_first_population() -> None:
    run = evo.search(SPACE, height, budget=6, population=3, initial=[{"layers": (4, 4, 4), "x": 0.25}])
    assert (run.individuals[0].genome["layers"], run.individuals[0].genome["x"]) == ((4, 4, 4), 0.25)
    assert run.individuals[0].operator == "initial"


def test_the_best_of_another_run_enter_the_first_population(tmp_path: Path) -> None:
    first = evo.search(SPACE, height, budget=6, population=3, seed=1, output=tmp_path / "run")
    second = evo.search(SPACE, height, budget=6, population=3, seed=2, initial_from=tmp_path / "run")
    assert second.individuals[0].genome == first.best.config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "budget: must be greater than or equal to 1, got 0"),
        ({"population": -1}, "population: must be a whole number of at least 1, got -1"),
        ({"generations": 0}, "generations: must be greater than or equal to 1, got 0"),
        ({"workers": 0}, "--workers: must be a whole number of at least 1, got 0"),
        ({"time_budget": math.nan}, "--time-budget: must be a number above 0, got nan"),
        ({"seed": -1}, "--seed: must be a whole number of at least 0, got -1"),
        ({"seed": True}, "--seed: must be a whole number of at least 0, got True"),
        ({"fitness": "tests"}, '--fitness: unknown fitness "tests". Did you mean "test"'),
        ({"strategy": "gaa"}, 'unknown strategy "gaa". Did you mean "ga"'),
        ({"initial": [{"x": 7.0}]}, r"initial\[0\].x: 7.0 is not in"),
        ({"objective": None}, "names no model to train"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evo.search(SPACE, **({"objective": height, "output": tmp_path / "run"} | arguments))
    assert list(tmp_path.iterdir()) == []


def test_an_objective_is_refused_by_a_run_that_trains_networks(uninterrupted: Path) -> None:
    with pytest.raises(ConfigurationError, match="takes no objective"):
        evo.resume(uninterrupted, height)


class Listener(SilentObserver):
    """Keeps what it must know."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_more_known_configurations_than_the_population_holds_are_warned_of() -> None:
    listener, known = Listener(), [{"x": x / 10} for x in range(5)]
    run = evo.search(SPACE, height, budget=3, population=3, initial=known, observer=listener)
    assert [individual.genome["x"] for individual in run.individuals] == [0.0, 0.1, 0.2]
    assert listener.warnings == ["note: of 5 known configurations the first 3 are tried"]
    evo.search(SPACE, height, budget=3, population=3, initial=known[:3], observer=listener)
    assert len(listener.warnings) == 1


def test_a_whole_number_of_a_float_gene_is_the_same_genome_as_the_real_one() -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 2.0)})
    whole, real = (
        evo.search(space, lambda config, seed: seed, budget=2, population=2, initial=[{"x": x}], finalists=0)
        for x in (1, 1.0)
    )
    assert genome_key(whole.individuals[0].genome) == genome_key(real.individuals[0].genome) == '{"x":1.0}'
    assert rows(whole) == rows(real)


def test_another_objective_at_a_resume_is_warned_of(tmp_path: Path) -> None:
    def other(config: dict[str, Any]) -> float:
        return float(config["x"])

    evo.search(SPACE, height, budget=4, population=2, output=tmp_path / "run")
    listener = Listener()
    evo.resume(tmp_path / "run", other, budget=6, observer=listener)
    [warning] = listener.warnings
    assert "began with the objective height" in warning
    assert "other" in warning


def test_what_a_time_budget_raises_is_public(tmp_path: Path) -> None:
    assert "Stop" in evo.__all__
    assert evo.Stop is Stop
    with pytest.raises(evo.Stop, match=r"the time budget of 0\.1 s is used up") as caught:
        evo.search(SPACE, height, budget=100_000, time_budget=0.1, finish=False, output=tmp_path / "run")
    assert caught.value.exit_code == 75


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"training": {"batch_size": 32, "schedule": "cosine"}}, "batch_size, schedule"),
        ({"training": {"batch_size": 32}, "model": "mlp"}, None),  # the space of a network, and a stand-in for it
        ({}, None),
    ],
    ids=str,
)
def test_an_objective_reads_no_settings_of_trainings(more: dict[str, Any], named: str | None) -> None:
    listener = Listener()
    genes: dict[str, Any] = {"learning_rate": evo.Float(1e-3, 0.1), "steps": evo.Integer(100, 300, step=100)}
    fixed = {"batch_size": evo.Integer(8, 16)} if not more else {}
    network = {"hidden_layers": evo.Layers(choices=[(4,)])} if "model" in more else {}
    space = evo.SearchSpace(genes | fixed | network, **more)
    evo.search(space, lambda config: config["learning_rate"], budget=4, finalists=0, observer=listener)
    told = [text for text in listener.warnings if "[training]" in text]
    note = f"note: the objective is given genes only, so nothing reads [training] {named} of the space custom"
    assert told == ([] if named is None else [note])


def test_a_search_without_the_configurations_of_the_space(tmp_path: Path) -> None:
    known = {"x": 0.123}
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)}, initial=[known])
    runs = [
        evo.search(space, lambda config: config["x"], budget=4, population=2, seed=1, no_initial=left_out, **more)
        for left_out in (False, True)
        for more in ({}, {"initial": [{"x": 0.5}]})  # the caller's own stay
    ]
    tried = [[individual.genome["x"] for individual in run.individuals] for run in runs]
    assert [0.123 in values for values in tried] == [True, True, False, False]
    assert [0.5 in values for values in tried] == [False, True, False, True]
    assert runs[2].settings.digest != runs[0].settings.digest
