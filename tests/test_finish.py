"""A person ends a search: with `evo finish`, or with a budget below what was proposed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import evo
from evo.errors import ConfigurationError, RunError
from evo.evaluation import Evaluation, replicate_number
from evo.loop.finished import is_finished
from evo.loop.plan import plan_of
from evo.record.journal import Journal
from evo.record.run import Run
from tests.test_ending import SPACE, Messages, noisy, search, stopped


def test_finish_ends_a_stopped_search_with_a_winner(tmp_path: Path) -> None:
    stopped(tmp_path / "run", after=9, budget=40)
    before = evo.load(tmp_path / "run")
    run = evo.finish(tmp_path / "run", noisy)
    assert run.trainings == before.trainings == 9
    assert run.finalists == plan_of(before).individuals
    assert run.winner in run.finalists
    assert is_finished(evo.load(tmp_path / "run"))
    whole = search(budget=40)
    again = evo.resume(tmp_path / "run", noisy)
    assert (again.finalists, again.winner) == (whole.finalists, whole.winner)


def test_a_version_that_does_not_know_how_a_search_ended_takes_it_for_unfinished(tmp_path: Path) -> None:
    """Keys that an older version ignores raise no format number, so what it then sees must do no harm."""
    stopped(tmp_path / "run", after=9, budget=40)
    ended = evo.finish(tmp_path / "run", noisy, finalists=1, time_budget=60)
    journal, older = tmp_path / "run" / "journal.jsonl", tmp_path / "older.jsonl"
    first, *events = Journal.read(journal).events
    written = Journal.create(older, settings=first["settings"])
    for event in events:
        ignored = ("number", "seeds", "ended_early") if event["kind"] == "finalists" else ("number",)
        written.append({name: value for name, value in event.items() if name not in ignored})
    written.close()
    assert len(older.read_text()) < len(journal.read_text())
    older.replace(journal)
    seen = evo.load(tmp_path / "run")
    assert (seen.finalists, seen.winner) == (ended.finalists, ended.winner)
    assert not is_finished(seen)
    assert evo.resume(tmp_path / "run", noisy).winner == search(budget=40, finalists=1).winner


def test_finish_twice_changes_nothing(tmp_path: Path) -> None:
    stopped(tmp_path / "run", after=9, budget=40)
    evo.finish(tmp_path / "run", noisy)
    journal = (tmp_path / "run" / "journal.jsonl").read_bytes()
    evo.finish(tmp_path / "run", noisy)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == journal


def test_finish_refuses_a_run_that_is_being_written_that_has_nothing_and_that_searches_nothing(tmp_path: Path) -> None:
    stopped(tmp_path / "run", after=5)
    held = Run.open(tmp_path / "run", warn=lambda message: None)
    with pytest.raises(RunError, match="another process"):
        evo.finish(tmp_path / "run", noisy)
    held.close()
    stopped(tmp_path / "nothing", after=0)
    with pytest.raises(RunError, match=r"nothing is evaluated yet.*evo\.resume"):
        evo.finish(tmp_path / "nothing", noisy)
    with pytest.raises(ConfigurationError, match=r'was made with the objective "noisy"'):
        evo.finish(tmp_path / "run")


def test_finish_of_a_search_that_is_done_names_its_winner(tmp_path: Path) -> None:
    stopped(tmp_path / "run", after=12, budget=12)
    run = evo.finish(tmp_path / "run", noisy)
    whole = search(budget=12)
    assert (run.finalists, run.winner, run.ended_early) == (whole.finalists, whole.winner, False)


def test_finish_names_a_winner_also_where_the_search_was_to_have_none(tmp_path: Path) -> None:
    stopped(tmp_path / "run", after=9, budget=40, finalists=0)
    with pytest.raises(ConfigurationError, match="--finalists: must be"):
        evo.finish(tmp_path / "run", noisy, finalists=0)
    run = evo.finish(tmp_path / "run", noisy)
    assert run.winner in run.finalists
    with pytest.raises(ConfigurationError, match="--finalists: must be"):
        evo.finish(tmp_path / "run", noisy, finalists=0)
    assert evo.load(tmp_path / "run").winner == run.winner


def test_not_to_finish_needs_a_time(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--no-finish: .* give --time-budget"):
        search(finish=False)


# A smaller budget.


def record_out_of_order(folder: Path, told: list[int], proposed: int = 18) -> None:
    """Leave a run of so many proposals, of which some have results."""
    stopped(folder, after=0, budget=40)
    run = Run.open(folder, warn=lambda message: None)
    strategy = evo.make_strategy("random", SPACE, seed=3, budget=40)
    proposals = strategy.ask(proposed)
    for one in proposals:
        run.record_proposal(one)
    for number in told:
        fitness = noisy(proposals[number].genome, 0)  # type: ignore[arg-type]  # numbers
        run.record(Evaluation(number, 0, 0, "complete", fitness=fitness))
    run.close()


def test_a_budget_below_what_was_proposed_ends_the_search_there(tmp_path: Path) -> None:
    record_out_of_order(tmp_path / "run", told=[0, 1, 2, 4, 16])
    run = evo.resume(tmp_path / "run", noisy, budget=14)
    assert sorted(e.individual for e in run.search_evaluations) == [*range(14), 16]
    assert run.winner is not None
    assert is_finished(evo.load(tmp_path / "run"))
    journal = (tmp_path / "run" / "journal.jsonl").read_bytes()
    evo.resume(tmp_path / "run", noisy)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == journal, "it is finished"
    larger = evo.resume(tmp_path / "run", noisy, budget=30)
    assert larger.trainings == 30
    assert is_finished(larger)


def test_a_smaller_budget_keeps_time_for_its_finalists(tmp_path: Path) -> None:
    def objective(config: dict[str, float], seed: int) -> float:
        time.sleep(0.05)
        return noisy(config, seed)

    record_out_of_order(tmp_path / "run", told=[0, 1, 2, 4, 16], proposed=40)
    run = evo.resume(tmp_path / "run", objective, budget=38, time_budget=1.5)
    assert run.settings.closed
    assert run.trainings < 38
    assert run.winner is not None
    assert run.ended_early
    assert is_finished(evo.load(tmp_path / "run"))
    whole = evo.resume(tmp_path / "run", noisy)
    assert whole.trainings == 38, "it continues"
    assert not whole.ended_early


@pytest.mark.parametrize("budget", [4, 20, 22])
def test_a_smaller_budget_in_the_middle_of_a_race_ends_the_search(tmp_path: Path, budget: int) -> None:
    """The last proposals of a surrogate search are a race, so a smaller budget would have had other ones."""
    stopped(tmp_path / "run", after=21, budget=60, strategy="surrogate")
    assert len(evo.load(tmp_path / "run").proposals) > 20
    run = evo.resume(tmp_path / "run", noisy, budget=budget)
    assert run.winner is not None
    assert is_finished(run)
    assert evo.resume(tmp_path / "run", noisy, budget=60).trainings == 60


def test_a_smaller_budget_whose_race_would_have_begun_already_ends_the_search(tmp_path: Path) -> None:
    """Of 21 trainings the last two are a race, which would wait for results that the run does not have yet."""
    stopped(tmp_path / "run", after=0, budget=60, strategy="surrogate")
    run = Run.open(tmp_path / "run", warn=lambda message: None)
    strategy = evo.make_strategy("surrogate", SPACE, seed=3, budget=60, retrainable=True)
    while len(run.proposals) < 21:
        for one in strategy.ask(21 - len(run.proposals)):
            run.record_proposal(one)
        for one in run.unevaluated()[:-3]:
            evaluation = Evaluation(one.id, 0, 0, "complete", fitness=noisy(one.genome, 0))  # type: ignore[arg-type]  # numbers
            run.record(evaluation)
            strategy.tell(evaluation)
    run.close()
    ended = evo.resume(tmp_path / "run", noisy, budget=21)
    assert (ended.trainings, ended.settings.closed) == (21, True)
    assert ended.winner is not None
    assert is_finished(evo.load(tmp_path / "run"))
    assert evo.resume(tmp_path / "run", noisy, budget=60).trainings == 60


def test_a_resume_says_that_the_search_is_finished_only_if_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    search(output=folder, finalists=1)
    told = []
    for finalists in (None, 3, None):
        messages = Messages()
        evo.resume(folder, noisy, finalists=finalists, observer=messages)
        told.append([text.split(";")[0] for text in messages.texts])
    finished = ["the search is finished"]
    assert told == [finished, ["training 3 finalists on new seeds (6 trainings)"], finished]


def test_a_resume_trains_the_finalists_that_the_clock_has_cut_off(tmp_path: Path) -> None:
    """The search is done, but not all of its finalists were trained."""
    run = Run.create(search(finalists=3).settings, tmp_path / "run")
    strategy = evo.make_strategy("random", SPACE, seed=3, budget=12)
    for one in strategy.ask(12):
        run.record_proposal(one)
        run.record(Evaluation(one.id, 0, 0, "complete", fitness=noisy(one.genome, 0)))  # type: ignore[arg-type]  # numbers
    best = run.ranked()[0].id
    run.record_finalists([best], 1, ended_early=True)
    run.record(Evaluation(best, replicate_number("finalist"), 0, "complete", fitness=0.5, phase="finalist"))
    run.record_winner(best)
    run.close()
    messages = Messages()
    assert len(evo.resume(tmp_path / "run", noisy, observer=messages).finalist_evaluations) == 9
    assert messages.texts == ["training 3 finalists on new seeds (8 trainings)"]
