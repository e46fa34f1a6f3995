"""The benchmark of trainings and searches on CIFAR-10: how it goes on after a stop, its peer, its clock, its page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from benchmarks.cifar10_searches import clock as clock_module
from benchmarks.cifar10_searches import peer as peer_module
from benchmarks.cifar10_searches import random_trainings
from benchmarks.cifar10_searches.__main__ import app
from benchmarks.cifar10_searches.clock import Clock, Times, WorkerProcessors, whole_lines
from benchmarks.cifar10_searches.peer import OptunaTPE, add_peer
from benchmarks.cifar10_searches.random_trainings import cheapest_first, train_at_random
from benchmarks.cifar10_searches.report import (
    median_estimate,
    paired,
    probability_above,
    speed,
    summary,
)
from benchmarks.cifar10_searches.rows import (
    CHANCE,
    PAIR,
    RANDOM,
    SEARCH,
    Kept,
    Row,
    best_found,
    operations,
    random_rows,
    read_all,
)
from benchmarks.cifar10_searches.runs import Bench, Search, search, train
from benchmarks.search_quality.encoding import decode, encode
from evo.errors import ConfigurationError
from evo.evaluation import Evaluation
from evo.loop.deadline import Stop
from evo.space.file import load_space
from evo.strategies import STRATEGIES
from tests.conftest import TINY_SPACE

INITIAL = """
[[initial]]
hidden_layers = [8]
learning_rate = 1e-2
steps = 20
"""


@pytest.fixture
def space(tmp_path: Path) -> str:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY_SPACE + INITIAL)
    return str(file)


@pytest.fixture
def bench(tmp_path: Path, in_process: None) -> Bench:
    return Bench(tmp_path / "rows", tmp_path / "runs", workers=1, command="as asked", say=lambda line: None)


def kept_of(bench: Bench, name: str) -> Kept:
    [one] = read_all(bench.output, name)
    return one


def stopping_after(bench: Bench, trainings: int) -> Bench:
    """Return it with a person who stops it after so many trainings."""
    lines: list[str] = []

    def check() -> None:
        if sum("#" in line for line in lines) >= trainings:
            raise Stop("interrupted", 130)

    return replace(bench, stop_check=check, say=lines.append)


# Runs.


def test_a_training_is_that_of_the_initial_configuration_on_all_images_and_gets_more_seeds(
    bench: Bench, space: str
) -> None:
    train(bench, space, 1)
    [row] = kept_of(bench, "training-tiny").trainings
    assert row["genome"] == {"hidden_layers": (8,), "learning_rate": 1e-2, "steps": 20}
    assert row["fitness"] == row["test"]
    train(bench, space, 2)
    one = kept_of(bench, "training-tiny")
    assert len(one.tests) == 2
    assert one.trainings[0] == row
    # Six operations a weight and image, four in the first layer; each image of both parts is measured at two points …
    steps = (4 * 64 * 8 + 6 * 8 * 10) * 64 * 20
    settings = evo.load(bench.runs / "training-tiny").settings
    assert settings.dataset is not None
    # … of the curve, those of the training part only at the end.
    measured = settings.dataset["train_count"] + 2 * settings.dataset["test_count"]
    assert row["operations"] == steps + 2 * (64 * 8 + 8 * 10) * measured


def asked_for(space: str, strategy: str = "surrogate", **more: Any) -> Search:
    return Search(PAIR, space, strategy, 1, **({"minutes": 5, "budget": 6, "finalists": 1} | more))


def test_a_search_that_was_stopped_goes_on_where_it_was_and_ends_with_its_winner_tested(
    bench: Bench, space: str, tmp_path: Path
) -> None:
    search(bench, asked_for(space))
    whole = kept_of(bench, "pair-tiny-surrogate-1")
    parts = replace(bench, output=tmp_path / "other-rows", runs=tmp_path / "other-runs")
    for stops_at in (2, 3):
        with pytest.raises(Stop):
            search(stopping_after(parts, stops_at), asked_for(space))
    assert len(kept_of(parts, whole.name).trainings) == 5, "what there is by then is kept"
    search(parts, asked_for(space))
    resumed = kept_of(parts, whole.name)
    assert [reached(row) for row in resumed.trainings] == [reached(row) for row in whole.trainings]
    assert len(resumed.tests) == 3
    assert len(resumed.of("search")) == 6
    run = evo.load(parts.runs / whole.name)
    run.settings.train_images = 10
    in_search, again = (run.evaluations[run.finalists[0], replicate] for replicate in (0, 101))
    assert operations(run, again) > operations(run, in_search), "finalists are measured on all training images"
    assert not any(
        row["genome"] == {"hidden_layers": (8,), "learning_rate": 1e-2, "steps": 20} for row in whole.trainings
    )
    before = (parts.output / f"{whole.name}.jsonl").read_text()
    search(parts, asked_for(space))
    assert (parts.output / f"{whole.name}.jsonl").read_text() == before, "a finished one is left alone"


def reached(row: Row) -> Any:
    return row["phase"], row["individual"], row["replicate"], row["fitness"], row["test"], row["operations"]


def test_a_search_has_only_the_rest_of_its_time_after_a_stop(bench: Bench, space: str) -> None:
    with pytest.raises(Stop):
        search(stopping_after(bench, 2), asked_for(space, budget=10_000))
    name = asked_for(space).name
    with bench.clock(name).open("a") as file:
        file.write(json.dumps({"stage": SEARCH, "elapsed": 300.5, "cores": 0.0}) + "\n")
    search(stopping_after(bench, 4), asked_for(space, budget=10_000))  # three trainings of its best
    one = kept_of(bench, name)
    assert len(one.of("search")) == 2
    assert len(one.tests) == 3


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processor time is read from /proc")
def test_a_search_by_the_processor_clock_ends_after_so_much_processor_time(bench: Bench, space: str) -> None:
    asked = asked_for(space, budget=10_000, minutes=0.1)
    search(replace(bench, processor_clock=True), asked)
    one = kept_of(bench, asked.name)
    assert one.head["clock"] == "processor"
    assert evo.load(bench.runs / asked.name).settings.weighs_cost, "as a search by the wall clock does"
    assert 6 <= one.head["seconds"]["search"] < 9
    assert one.tests
    assert all(0 < row["elapsed"] < 9 for row in one.of("search"))


def test_random_genomes_are_trained_cheapest_first_until_their_median_is_certain(
    bench: Bench, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_trainings, "PART", 2)
    genomes = cheapest_first(bench, load_space(space), 5)
    train_at_random(bench, space, 5)
    rows = random_rows(read_all(bench.output), "tiny")
    assert [row["genome"] for row in sorted(rows, key=lambda row: row["operations"])] == genomes
    files = {file.name: file.read_bytes() for file in bench.output.iterdir()}
    train_at_random(bench, space, 5)
    assert {file.name: file.read_bytes() for file in bench.output.iterdir()} == files

    first = replace(bench, output=bench.output / "again", runs=bench.runs / "again")
    search(first, asked_for(space, "random", budget=2))
    monkeypatch.setattr(random_trainings, "POINTS_BELOW", -100)  # so every training is far enough below
    train_at_random(first, space, 5)
    assert len(random_rows(read_all(first.output), "tiny")) == 4, "a third one is below; it is one of a part of two"


def test_what_is_kept_names_no_folder(bench: Bench, space: str, tmp_path: Path) -> None:
    search(bench, asked_for(space, "random", budget=2))
    train(bench, space, 1)
    for file in bench.output.iterdir():
        assert str(tmp_path) not in file.read_text()


# The peer.


class FakeStudy:
    """In place of a peer's process: draws at random and notes what it is told."""

    def __init__(self, *_: object) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self.asked = 0
        studies.append(self)

    def exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self.messages.append(message)
        if "ask" not in message:
            return {}
        self.asked += 1
        return {"config": encode(SPACE, {"hidden_layers": (4 + self.asked,), "learning_rate": 0.01, "steps": 30})}

    def close(self) -> None:
        """Do nothing."""


studies: list[FakeStudy] = []
SPACE = evo.SearchSpace(
    {"hidden_layers": evo.Layers(depth=(1, 2), width=(4, 64)), "learning_rate": evo.Float(1e-3, 1e-1, log=True)}
    | {"steps": evo.Integer(20, 40)},
    name="tiny",
)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> None:
    studies.clear()
    monkeypatch.setattr(peer_module, "Adapter", FakeStudy)
    monkeypatch.setitem(STRATEGIES, OptunaTPE.name, OptunaTPE)


def test_the_peer_proposes_for_every_free_worker_and_is_told_which_result_it_is(peer: None) -> None:
    strategy = OptunaTPE(SPACE, seed=3, budget=4)
    first, second = strategy.ask(2)
    strategy.tell(second, 0.8)
    strategy.tell(first, None)  # it diverged
    [study] = studies
    assert study.messages[0]["start"]["seed"] == 3
    assert study.messages[0]["start"]["anchor"] is None
    assert study.messages[3:] == [{"tell": 0.8, "of": 1}, {"tell": CHANCE, "of": 0}]
    assert [len(strategy.ask(8)), len(strategy.ask(8))] == [2, 0]


def test_a_peer_that_continues_tells_a_new_study_of_all_that_was_proposed(peer: None) -> None:
    before = OptunaTPE(SPACE, seed=3, budget=9)
    proposals = before.ask(3)
    results = [Evaluation(1, 0, seed=0, status="complete", fitness=0.7)]
    after = OptunaTPE(SPACE, seed=3, budget=9)
    after.replay(proposals, results)
    [fourth] = after.ask(1)
    assert fourth.id == 3
    start, *told = studies[-1].messages
    assert start["start"]["seed"] != 3
    seen = [decode(SPACE, message["seen"]) for message in told if "seen" in message]
    assert seen == [proposal.genome for proposal in proposals]
    assert [message for message in told if "tell" in message] == [{"tell": 0.7, "of": 1}]
    after.tell(proposals[2], 0.4)
    assert studies[-1].messages[-1] == {"tell": 0.4, "of": 2}


def test_the_peer_searches_with_evos_trainings_and_goes_on_after_a_stop(
    peer: None, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "plain.toml").write_text(TINY_SPACE)
    asked = asked_for(str(tmp_path / "plain.toml"), OptunaTPE.name, budget=4)
    with pytest.raises(Stop):
        search(stopping_after(bench, 2), asked)
    search(replace(bench, peer="5.0.0"), asked)
    one = kept_of(bench, asked.name)
    assert len(one.of("search")) == 4
    assert len(one.tests) == 3
    assert one.head["peer"] == "5.0.0"


def test_a_peer_without_its_environment_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="setup --peers optuna"):
        add_peer(tmp_path)
    assert OptunaTPE.name not in STRATEGIES


# The clock.


def test_the_time_of_a_stage_is_that_of_all_commands_that_worked_on_it() -> None:
    rows = [
        {"stage": "search", "began": 1000.0},
        {"stage": "search", "individual": 0, "replicate": 0, "core_seconds": 7.5, "ended": 30.0},
        {"stage": "search", "elapsed": 60.0, "cores": 90.0, "other_load": 0.5},
        {"stage": "search", "began": 5000.0},
        {"stage": "search", "elapsed": 61.0, "cores": 1.0},
        {"stage": "search", "elapsed": 70.0, "cores": 15.0, "other_load": 0.1},
        {"stage": "finish", "began": 6000.0},
        {"stage": "finish", "elapsed": 5.0, "cores": 8.0},
    ]
    times = Times(rows)
    assert (times.used("search"), times.used("finish"), times.used("training")) == (70.0, 5.0, 0.0)
    assert (times.cores("search"), times.cores("finish")) == (105.0, 8.0)
    assert times.core_seconds == {(0, 0): 7.5}
    assert times.ended == {(0, 0): 30.0}
    assert times.other_load == 0.5


def test_a_clock_continues_and_a_line_that_a_kill_has_torn_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "clock.jsonl"
    file.write_text('{"stage": "search", "began": 1}\n{"stage": "search", "elapsed": 40, "cores": 3}\n{"sta')
    with Clock(file, "search") as clock:
        assert 40 <= clock.elapsed < 60
    assert Times(whole_lines(file)).used("search") >= 40
    assert Times(whole_lines(file)).cores("search") == 3


def test_a_training_has_the_processor_time_of_its_worker_while_it_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = [0.0], {11: 0.0, 12: 0.0}
    children = [SimpleNamespace(name="worker-0", pid=11), SimpleNamespace(name="worker-1", pid=12)]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr("multiprocessing.active_children", lambda: children)
    monkeypatch.setattr(clock_module, "processor_seconds", used.__getitem__)
    processors = WorkerProcessors()

    def look(at: float, first: float, second: float) -> None:
        now[0], used[11], used[12] = at, first, second
        processors.look()

    def ended(worker: str, started: float, seconds: float, before: float = 0.0) -> float | None:
        evaluation = Evaluation(0, 0, 0, "complete", worker=worker, started=started, seconds=seconds)
        return processors.of(replace(evaluation, seconds_before=before))

    look(1, 5, 5)  # imports
    look(2, 6, 6)
    look(10, 11, 12)
    assert ended("worker-0", 2, 8) == 5
    look(14, 13, 15)
    assert ended("worker-0", 10, 4) == 2
    assert ended("worker-1", 2, 24, before=12) == 18, "half of it was before a stop"
    children[0] = SimpleNamespace(name="worker-0", pid=13)  # a new process
    used[13] = 1.0
    look(20, 13, 15)
    now[0], used[13] = 25, 4.0
    assert ended("worker-0", 20, 5) == 3
    assert processors.total == 13 + 15 + 4
    assert ended("elsewhere", 0, 1) is None


# The page.


def kept(kind: str, strategy: str, seed: int, accuracies: list[float], tests: list[float], **head: Any) -> Kept:
    """Return a search of two-minute trainings; its winner is the best."""
    best = max(range(len(accuracies)), key=lambda number: accuracies[number], default=None)
    common = {"replicate": 0, "status": "complete", "seconds": 120.0, "core_seconds": 100.0, "operations": 10**13}
    common |= {"genome": {"learning_rate": 0.1}, "error": ""}
    rows = [
        {
            **common,
            "phase": "search",
            "individual": number,
            "fitness": value,
            "test": None,
            "elapsed": 60.0 * (number + 1),
        }
        for number, value in enumerate(accuracies)
    ]
    rows += [
        {
            **common,
            "phase": "finalist",
            "individual": best,
            "replicate": 101,
            "fitness": value,
            "test": value,
            "elapsed": 9.0,
        }
        for value in tests
    ]
    machine = {"processor": "P", "cores": 2, "memory_gib": 8.0, "precision": "bf16", "engine": "onednn", "threads": 1}
    machine |= {"dataset": "images", "versions": {"evo": "1"}, "workers": 2, "other_load": 0.1}
    stages: dict[str, float] = {"training": 0.0, "search": 1200.0, "finish": 60.0}
    about = {"kind": kind, "strategy": strategy, "seed": seed, "minutes": 20, "space": "mlp", "command": "as asked"}
    about |= {"winner": best, "seconds": stages, "core_seconds": stages, "used_up": False, "machine": machine}
    return Kept(f"{kind}-mlp-{strategy}-{seed}", about | head, tuple(rows))


def pair(seed: int, ours: float, others: float) -> list[Kept]:
    methods = {"surrogate": ours, "random": others, OptunaTPE.name: others + 0.01}
    return [kept(PAIR, method, seed, [0.1, value], [value] * 3) for method, value in methods.items()]


def test_best_so_far_is_what_had_ended_by_then() -> None:
    one = kept(PAIR, "random", 1, [0.3, 0.5, 0.4, 0.6], [])
    lucky = one.trainings[1] | {"replicate": 1, "fitness": 0.9}  # another seed of a known genome
    one = replace(one, trainings=(*one.trainings, lucky))
    assert one.curve() == [(60.0, 0.3), (120.0, 0.5), (240.0, 0.6)]
    assert [one.best_until(when) for when in (59, 60, 200, 900)] == [None, 0.3, 0.5, 0.6]


def test_pairs_are_of_seeds_that_all_methods_have_on_one_machine() -> None:
    third = pair(3, 0.6, 0.4)
    machine = third[-1].head["machine"] | {"processor": "another"}
    third[-1] = replace(third[-1], head=third[-1].head | {"machine": machine})
    found = paired([*pair(1, 0.6, 0.5), *pair(2, 0.7, 0.5)[:2], *third], "mlp")
    assert list(found) == ["surrogate", "random", OptunaTPE.name]
    assert all([one.head["seed"] for one in own] == [1] for own in found.values())
    assert paired(third, "mlp") == {}


def test_the_page_says_by_how_much_evo_is_ahead_and_how_sure_that_is() -> None:
    searches = [*pair(1, 0.6, 0.5), *pair(2, 0.7, 0.5), *pair(3, 0.6, 0.53)]
    lines = summary(searches)
    [row] = [line for line in lines if "| `surrogate` − `random` | test |" in line]
    # Differences of 10, 20 and 7 points: mean 12.33, standard error 3.93, Student's t of 2 degrees of freedom.
    assert "**+12.33** [-4.58, +29.24] | +10.00, +20.00, +7.00 | 3 of 3 | 0.956 |" in row
    [own] = [line for line in lines if line.startswith("| `surrogate` |")]
    assert "60.00, 70.00, 60.00" in own


def test_random_genomes_that_were_not_trained_can_only_have_raised_the_median() -> None:
    three = kept(RANDOM, "random", 1000, [0.2, 0.1, 0.3], [])
    three = replace(three, head=three.head | {"drawn": 5})
    lines = summary([three, *pair(1, 0.6, 0.5)])
    [row] = [line for line in lines if line.startswith("| mlp | 5 | 3 | 0 |")]
    assert "**30.00**" in row, "of 10, 20, 30, 100 and 100"
    assert "| 30.00 | 60.00 | 30.0 |" in row


def test_the_best_found_is_what_a_winner_reached_again_not_its_luckiest_training() -> None:
    assert best_found([kept(SEARCH, "surrogate", 1, [0.9], [0.6, 0.7]), *pair(1, 0.5, 0.5)], "mlp") == pytest.approx(
        0.65
    )


def test_the_page_says_how_many_hours_it_would_be_on_this_machine() -> None:
    here = [kept("training", "listed", 0, [], [0.5])]
    assert speed(here, "mlp") == 1e11
    lines = summary(here, [kept(SEARCH, "surrogate", 1, [0.5] * 144, [])])
    # 144 trainings of 10 TFLOP, on two workers of 100 GFLOP/s each.
    assert any("| search-mlp-surrogate-1 | P; bf16; onednn | 1.44 | 0.35 | 2.00 |" in line for line in lines)


def test_probability_and_median_say_when_they_know_nothing() -> None:
    assert math.isnan(probability_above([1.0]))
    assert probability_above([0.1, 0.1]) == 1
    assert probability_above([0.0, 0.0]) == 0.5
    assert probability_above([-1.0, 1.0]) == pytest.approx(0.5)
    assert math.isnan(median_estimate([1.0, 2.0, 3.0]).low)
    wide = median_estimate([float(number) for number in range(1, 101)])
    # The order statistics 40 and 61 of 100 hold the median with 96.5 %.
    assert (wide.value, wide.low, wide.high) == (50.5, 40.0, 61.0)


def test_the_report_is_written_from_what_is_kept(
    cli: CliRunner, bench: Bench, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = cli.invoke(app, ["report", "--output", str(bench.output)])
    assert isinstance(missing.exception, ConfigurationError)
    common = ["--spaces", space, "--dataset", "digits", "--workers", "1"]
    common += ["--output", str(bench.output), "--runs", str(bench.runs)]
    assert cli.invoke(app, ["trainings", *common, "--seeds", "2"]).exit_code == 0
    more = ["--methods", "surrogate,random", "--seeds", "1", "--budget", "3", "--minutes", "5"]
    assert cli.invoke(app, ["pairs", *common, *more]).exit_code == 0
    assert cli.invoke(app, ["search", *common, "--budget", "3", "--minutes", "5"]).exit_code == 0
    assert cli.invoke(app, ["random", *common, "--count", "2"]).exit_code == 0
    shown = cli.invoke(app, ["report", "--output", str(bench.output)])
    assert shown.exit_code == 0
    for heading in ("Single trainings", "Searches", "Pairs", "Random trainings", "Machines and commands"):
        assert f"## {heading}" in shown.stdout
    assert (bench.output / "summary.md").read_text() in shown.stdout
    assert (bench.output / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_method_is_refused(cli: CliRunner, tmp_path: Path) -> None:
    refused = cli.invoke(app, ["pairs", "--methods", "optuna-tp", "--output", str(tmp_path)])
    assert 'Did you mean "optuna-tpe"' in str(refused.exception)
