"""A search that ends in time ends with a winner, and its finalists cost no more than it did."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.individual import DURATION
from evo.loop.cost import CostModel, guessed_cost
from evo.loop.finished import is_finished
from evo.loop.plan import Plan, makespan, plan_of
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run
from evo.record.settings import Settings
from tests.command import rows_of, run_command

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)}, name="line")
TRAINED = evo.SearchSpace(
    {
        "hidden_layers": evo.Layers(choices=[(4,), (64, 64)]),
        "learning_rate": evo.Float(1e-3, 1e-1, log=True),
        "steps": evo.Integer(20, 400, step=20),
    },
    name="trained",
    model="mlp",
    dataset="digits",
    training={"evaluate_every": 20, "batch_size": 32},
)


def noisy(config: dict[str, float], seed: int) -> float:
    return config["x"] + (seed % 1000) / 10_000


def slowly(config: dict[str, float], seed: int) -> float:
    time.sleep(0.02)
    return noisy(config, seed)


def search(objective: Callable[..., Any] = noisy, **arguments: Any) -> Run:
    return evo.search(SPACE, objective, **({"budget": 12, "strategy": "random", "seed": 3} | arguments))


def stopped(folder: Path, after: int, objective: Callable[..., Any] = noisy, **arguments: Any) -> None:
    """Leave a run that was stopped after so many checks."""
    checks = itertools.count()

    def stop_check() -> None:
        if next(checks) >= after:
            raise evo.Stop("enough", 75)

    with pytest.raises(evo.Stop):
        search(objective, output=folder, stop_check=stop_check, **arguments)


# Finalists and what the search has cost.


def work_of(run: Run) -> tuple[float, float]:
    """Return the counted work of the search of a run whose trainings share nothing, and of its finalists."""
    cost = guessed_cost(run.settings, run.space.training)
    works = [cost.seconds(run.individuals[e.individual].config) for e in run.search_evaluations]
    return sum(works), sum(cost.seconds(run.config_of(e.individual), "finalist") for e in run.finalist_evaluations)


@pytest.mark.parametrize(("budget", "plan"), [(12, (3, 3)), (8, (2, 3)), (5, (1, 3)), (2, (1, 2)), (1, (1, 1))])
def test_finalists_cost_no_more_than_the_search_unless_a_number_was_given(budget: int, plan: tuple[int, int]) -> None:
    run = search(budget=budget)
    assert (len(run.finalists), run.finalist_seeds) == plan
    assert len(run.finalist_evaluations) == plan[0] * plan[1] <= budget
    assert run.winner in run.finalists
    assert is_finished(run)
    by_hand = search(budget=budget, finalists=3)
    assert len(by_hand.finalist_evaluations) == 3 * min(3, budget)


def test_a_number_in_the_space_is_kept_and_one_given_at_a_resume_is(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)}, name="line", search={"finalists": 3})
    assert len(evo.search(space, noisy, budget=4, strategy="random").finalists) == 3
    assert len(search(budget=4, output=tmp_path / "run").finalists) == 1
    assert len(evo.resume(tmp_path / "run", noisy, finalists=3).finalist_evaluations) == 9
    assert len(evo.resume(tmp_path / "run", noisy).finalist_evaluations) == 9, "it stays given by hand"


@pytest.mark.usefixtures("quick_models", "in_process")
def test_the_cost_is_counted_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seconds say, the same search has the same finalists."""
    runs = []
    for place, factor in enumerate((1.0, 1e-3, 1e3)):
        with monkeypatch.context() as patch:
            patch.setattr(CostModel, "learn", learning_of_a_machine(factor))
            runs.append(evo.search(TRAINED, strategy="random", budget=6, seed=4, output=tmp_path / str(place)))
    assert len({(run.finalists, run.finalist_seeds) for run in runs}) == 1
    searched, judged = work_of(runs[0])
    assert judged <= searched
    assert runs[0].finalist_evaluations
    first, *others = (rows_of(run.folder / "finalists.csv") for run in runs)
    assert others == [first, first]


def learning_of_a_machine(factor: float) -> Callable[..., None]:
    """Return what a cost model learns where trainings take so many times as long as here."""
    learn = CostModel.learn
    return lambda self, config, seconds, *phase: learn(self, config, seconds * factor, *phase)


def test_a_run_of_before_keeps_its_finalists(tmp_path: Path) -> None:
    """Its settings lack the new fields, which then mean what evo did before there were any."""
    stopped(tmp_path / "run", after=4, budget=4)
    path = tmp_path / "run" / "settings.json"
    values = json.loads(path.read_text())
    for name in ("finalists_by_cost", "distinct_finalists", "closed"):
        del values[name]
    path.write_text(json.dumps(values))
    journal = tmp_path / "run" / "journal.jsonl"
    text = journal.read_text()
    journal.write_text(_with_digest_of(tmp_path / "run", text))
    assert len(evo.resume(tmp_path / "run", noisy).finalist_evaluations) == 9


def _with_digest_of(folder: Path, journal: str) -> str:
    """Return a journal that begins with the settings of a folder."""
    first, rest = journal.split("\n", 1)
    event = json.loads(first)["event"] | {"settings": Settings.load(folder).digest}
    text = json.dumps(event, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f'{{"checksum":"{digest}","event":{text}}}\n{rest}'


def test_genomes_that_differ_only_in_their_steps_are_one_finalist() -> None:
    space = evo.SearchSpace({"x": evo.Categorical([0.1, 0.2]), "steps": evo.Integer(1, 9)}, name="lengths")

    def objective(config: dict[str, Any], seed: int) -> float:
        return config["x"] * 100 + config["steps"]

    run = evo.search(space, objective, strategy="random", budget=15, finalists=3)
    genomes = [run.individuals[number].genome for number in run.finalists]
    assert {genome["x"] for genome in genomes} == {0.1, 0.2}
    assert len(genomes) == 2
    assert run.finalists[0] == run.ranked()[0].id
    assert set(DURATION) == {"steps", "epochs"}


def test_a_plan_shrinks_by_finalists_and_then_by_seeds() -> None:
    sizes = [(len(plan.individuals), plan.seeds) for plan in Plan((4, 2, 7), 3).down_to_one()]
    assert sizes == [(3, 3), (2, 3), (1, 3), (1, 2), (1, 1)]
    assert [plan.individuals[0] for plan in Plan((4, 2, 7), 3).down_to_one()] == [4] * 5
    assert Plan((4, 2), 2).first_that(lambda plan: False) == Plan((4,), 1)


def test_the_longest_start_first() -> None:
    assert makespan([1, 1, 1, 3], 2) == 3
    assert makespan([2, 2, 2], 2) == 4
    assert makespan([], 3) == 0


# Time.


def test_a_search_with_a_time_budget_ends_in_time_with_a_winner(tmp_path: Path) -> None:
    began = time.monotonic()
    run = search(slowly, budget=100_000, time_budget=2.0, output=tmp_path / "run")
    assert time.monotonic() - began < 2.5
    assert run.finalist_evaluations
    assert run.winner is not None
    assert 20 < run.trainings < 100
    assert run.ended_early
    assert is_finished(evo.load(tmp_path / "run"))


def trained(folder: Path, **asked: Any) -> Run:
    return evo.search(TRAINED, **{"budget": 9, "seed": 2, "workers": 1, "finalists": 0, "output": folder, **asked})


def test_a_search_that_is_bound_by_time_weighs_what_trainings_cost_also_when_it_is_resumed(
    tmp_path: Path, in_process: None
) -> None:
    plain, whole = trained(tmp_path / "plain"), trained(tmp_path / "whole", time_budget=600)
    cost = guessed_cost(plain.settings, TRAINED.training)
    first, cheaper = (sum(cost.seconds(one.genome) for one in run.individuals[:6]) for run in (plain, whole))
    assert cheaper < 0.7 * first, "the first ones are drawn, the others depend on what these reach"
    with pytest.raises(evo.Stop):
        trained(tmp_path / "run", time_budget=600, stop_check=after_evaluations(tmp_path / "run", 5))
    resumed = evo.resume(tmp_path / "run")
    assert [one.genome for one in resumed.individuals] == [one.genome for one in whole.individuals]
    assert list(resumed.table["fitness"]) == list(whole.table["fitness"])


def after_evaluations(folder: Path, count: int) -> Callable[[], None]:
    """Return a check that stops a search after so many evaluations."""

    def stop_check() -> None:
        if folder.exists() and evo.load(folder).trainings >= count:
            raise evo.Stop("enough", 75)

    return stop_check


def test_where_costs_are_unknown_or_the_strategy_does_not_ask_for_them_nothing_is_weighed(tmp_path: Path) -> None:
    assert not search(strategy="surrogate", time_budget=60).settings.weighs_cost
    assert not trained(tmp_path / "run", strategy="random", budget=1, time_budget=600).settings.weighs_cost


def test_a_resume_continues_the_search_and_names_its_winner_anew(tmp_path: Path) -> None:
    first = search(slowly, budget=200, time_budget=1.5, output=tmp_path / "run")
    assert first.trainings < 200
    again = evo.resume(tmp_path / "run", noisy)
    assert again.trainings == 200
    assert not again.ended_early
    assert again.finalists == plan_of(again).individuals
    assert again.winner in again.finalists
    assert is_finished(again)
    whole = search(budget=200)
    assert list(again.table["fitness"]) == list(whole.table["fitness"])
    assert (again.finalists, again.winner) == (whole.finalists, whole.winner)
    keys = [(e.individual, e.replicate) for e in again.results]
    assert len(keys) == len(set(keys)), "a training was done twice"


def test_a_search_that_is_done_before_its_time_ends_as_without_one(tmp_path: Path) -> None:
    run, whole = search(time_budget=600), search()
    assert not run.ended_early
    assert (run.finalists, run.winner) == (whole.finalists, whole.winner)


class Messages(SilentObserver):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def notify(self, message: str) -> None:
        """Keep it."""
        self.texts.append(message)


def test_where_no_finalists_are_wanted_the_end_of_the_time_is_a_stop(tmp_path: Path) -> None:
    """No winner is named, so the search is only interrupted: a resume continues it, `finish` ends it with a winner."""
    messages, folder = Messages(), tmp_path / "run"
    with pytest.raises(evo.Stop, match="time budget") as caught:
        search(slowly, budget=100_000, time_budget=0.5, finalists=0, output=folder, observer=messages)
    assert caught.value.exit_code == 75
    assert not any("finalists" in text for text in messages.texts)
    stopped_there = evo.load(folder)
    assert stopped_there.best.id == stopped_there.ranked()[0].id
    assert not is_finished(stopped_there)
    assert evo.resume(folder, noisy, budget=stopped_there.trainings + 5).trainings == stopped_there.trainings + 5
    assert evo.finish(folder, noisy).winner is not None


def test_an_objective_without_a_seed_has_its_best_when_the_time_is_over(tmp_path: Path) -> None:
    """There is nothing to train again: the best value is what it is, whenever the search ends."""

    def exact(config: dict[str, float]) -> float:
        time.sleep(0.02)
        return config["x"]

    messages = Messages()
    run = search(exact, budget=100_000, time_budget=0.5, output=tmp_path / "run", observer=messages)
    assert run.ended_early
    assert run.best.fitness == max(run.table["fitness"])
    assert messages.texts == ["the search ends here, because its time is over"]
    assert is_finished(evo.load(tmp_path / "run"))


def test_where_there_is_no_time_for_all_finalists_fewer_are_trained(tmp_path: Path) -> None:
    def objective(config: dict[str, float], seed: int) -> float:
        time.sleep(0.2)
        return noisy(config, seed)

    run = search(objective, budget=100, finalists=9, time_budget=2.0, output=tmp_path / "run")
    assert 0 < len(run.finalist_evaluations) < 27
    assert len(run.finalist_evaluations) == len(run.finalists) * run.finalist_seeds
    assert run.winner is not None
    assert is_finished(evo.load(tmp_path / "run"))
    more = evo.finish(tmp_path / "run", noisy)
    assert len(more.finalist_evaluations) == 3 * min(9, run.trainings)


def test_a_prediction_that_was_too_short_still_names_a_winner() -> None:
    """The finalists that are trained when the time is over are the finalists."""
    calls = itertools.count()

    def objective(config: dict[str, float], seed: int) -> float:
        time.sleep(0.01 if next(calls) < 20 else 0.25)
        return noisy(config, seed)

    run = search(objective, budget=20, time_budget=1.5)
    assert run.winner is not None
    assert run.ended_early
    assert 0 < len(run.finalist_evaluations) < 9


def slow_when_asked(config: dict[str, float], seed: int) -> float:
    if (Path(os.environ["EVO_TEST_FOLDER"]) / "slow").exists():
        time.sleep(60)
    return noisy(config, seed)


class SlowFinalists(SilentObserver):
    """Makes every evaluation slow from the finalists' on."""

    def notify(self, message: str) -> None:
        """Watch for them."""
        if "on new seeds" in message:
            (Path(os.environ["EVO_TEST_FOLDER"]) / "slow").touch()


@pytest.mark.slow
def test_too_little_time_for_any_finalist_is_a_stop_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVO_TEST_FOLDER", str(tmp_path))
    watching: dict[str, Any] = {"observer": SlowFinalists(), "workers": 2, "output": tmp_path / "run"}
    with pytest.raises(evo.Stop, match="time budget") as caught:
        search(slow_when_asked, budget=6, time_budget=8.0, **watching)
    assert caught.value.exit_code == 75
    run = evo.load(tmp_path / "run")
    assert (run.trainings, run.winner) == (6, None)
    assert not is_finished(run)
    assert evo.resume(tmp_path / "run", noisy, workers=1).winner is not None


LONG = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 20
batch_size = 32

[genes.hidden_layers]
type = "layers"
choices = [[32], [64, 64]]

[genes.learning_rate]
type = "float"
low = 1e-3
high = 1e-2
log = true

[genes.steps]
type = "integer"
low = 20
high = 400000

[[initial]]
hidden_layers = [32]
steps = 100

[[initial]]
hidden_layers = [64, 64]
steps = 400000
"""


@pytest.mark.slow
def test_a_training_in_flight_is_saved_while_the_finalists_of_a_search_are_trained(tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text(LONG)
    run = tmp_path / "run"
    search = ("search", tmp_path / "long.toml", "--strategy", "random", "--population", "2", "--budget", "2")
    began = time.monotonic()
    ended = run_command(*search, "--workers", "2", "--time-budget", "20s", "-o", run)
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < 30
    assert "trainings in flight save their state" in ended.stderr
    assert f"evo resume {run}" in ended.stdout
    loaded = evo.load(run)
    assert (loaded.finalists, loaded.winner, loaded.trainings) == ((0,), 0, 1)
    assert set(loaded.tests) == {(e.individual, e.replicate) for e in loaded.finalist_evaluations}
    assert (run / "checkpoints" / "1-0.safetensors").exists()
    stopped = run_command("resume", run, "--time-budget", "5s", "--no-finish")
    assert stopped.returncode == 75, stopped.stderr
    assert "best of 1 trainings so far: #0" in stopped.stderr
    assert f"evo finish {run}" in stopped.stderr
    finished = run_command("finish", run)
    assert finished.returncode == 0, finished.stderr
    assert (run / "checkpoints" / "1-0.safetensors").exists()
