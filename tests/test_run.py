"""A run keeps what it is told, in memory and in its folder, and no files are lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import ConfigurationError, RunError
from evo.evaluation import CurvePoint, Evaluation
from evo.individual import Individual
from evo.ranking import ranking
from evo.record.folder import check_output, free_output, prune_states
from evo.record.journal import _encode
from evo.record.run import Run
from evo.record.settings import Settings

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "layers": evo.Layers(depth=(1, 2), width=(2, 9))}, name="plain")


def make_settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "space": SPACE.to_dict(),
        "space_name": "plain",
        "strategy": "ga",
        "seed": 1,
        "population": 2,
        "generations": None,
        "budget": 4,
        "time_budget": None,
        "finalists": 1,
        "objective": "f",
        "initial": [{"layers": (3, 4)}],
    }
    return Settings(**values | changes)


CURVE = (CurvePoint(10, {"train_loss": 0.5, "train_accuracy": 0.25, "validation_accuracy": 0.75, "loss": 1.5}),)


def individual(number: int, x: float = 0.5) -> Individual:
    return Individual(number, {"x": x, "layers": (3, 4)}, generation=number // 2, parents=(0,) if number else ())


def evaluation(number: int, fitness: float | None, replicate: int = 0, **more: Any) -> Evaluation:
    status = "complete" if fitness is not None else "failed"
    return Evaluation(number, replicate, 10 + number, status, fitness, **more)  # type: ignore[arg-type]


def fill(run: Run) -> None:
    for number, fitness in enumerate((0.2, 0.9, None, 0.4)):
        run.record_proposal(individual(number, x=number / 10))
        run.record(evaluation(number, fitness, curve=CURVE))
    run.record_proposal(individual(4, x=0.4))
    run.record_generation(0, [0, 1])
    run.record_generation(1, [1, 3])
    run.record_finalists([1, 3])
    run.record(evaluation(1, 0.7, replicate=101))
    run.record(evaluation(3, 0.8, replicate=101))
    run.record_winner(3)
    run.record_test(evaluation(3, None, replicate=101, test_accuracy=0.6, loss=1.5))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = Run.create(make_settings(), tmp_path / "run")
    fill(written)
    written.close()
    read = Run.load(tmp_path / "run")
    for name in ("settings", "space", "individuals", "evaluations", "generations", "finalists", "winner"):
        assert getattr(read, name) == getattr(written, name), name
    assert read.settings.initial == [{"layers": (3, 4)}]
    assert read.tests[3, 101]["test_accuracy"] == 0.6


def test_a_run_in_memory_keeps_the_same(tmp_path: Path) -> None:
    run = Run.create(make_settings())
    fill(run)
    run.write_tables()
    assert run.path is None
    assert len(run.evaluations) == 6
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_being_written_can_be_read_and_not_written(tmp_path: Path) -> None:
    run = Run.create(make_settings(), tmp_path / "run")
    run.record_proposal(individual(0))
    assert evo.load(tmp_path / "run").individuals == [individual(0)]
    with pytest.raises(RunError, match="another process is writing"):
        Run.open(tmp_path / "run", warn=print)
    run.close()
    Run.open(tmp_path / "run", warn=print).close()


def test_individuals_without_an_evaluation_are_known() -> None:
    run = Run.create(make_settings())
    fill(run)
    assert [entry.id for entry in run.unevaluated()] == [4]


def test_the_ranking_has_complete_evaluations_of_the_search_only_best_first() -> None:
    run = Run.create(make_settings())
    fill(run)
    assert [(entry.id, entry.fitness) for entry in run.ranked()] == [(1, 0.9), (3, 0.4), (0, 0.2)]


def test_equal_genomes_are_ranked_once_and_equal_fitness_by_age() -> None:
    run = Run.create(make_settings())
    for number, x in enumerate((0.1, 0.1, 0.2)):
        run.record_proposal(individual(number, x=x))
        run.record(evaluation(number, 0.5))
    assert [entry.id for entry in run.ranked()] == [0, 2]


def test_the_best_is_the_winner_where_there_is_one() -> None:
    run = Run.create(make_settings())
    fill(run)
    assert (run.best.id, run.best.fitness, run.best.config) == (3, 0.4, {"x": 0.3, "layers": (3, 4)})
    run.record_finalists([0, 1])
    assert run.best.id == 1


def test_a_run_without_a_result_has_no_best() -> None:
    run = Run.create(make_settings())
    with pytest.raises(RunError, match="no evaluation of this run is complete"):
        _ = run.best


def test_an_existing_folder_is_left_alone_without_overwrite(tmp_path: Path) -> None:
    Run.create(make_settings(), tmp_path / "run").close()
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match=r"exists.*evo\.resume\(.*--overwrite"):
        Run.create(make_settings(), tmp_path / "run")
    assert contents(tmp_path) == before


def test_overwrite_replaces_a_run_with_all_its_files(tmp_path: Path) -> None:
    old = Run.create(make_settings(), tmp_path / "run")
    fill(old)
    old.write_tables()
    old.close()
    Run.create(make_settings(seed=2), tmp_path / "run", overwrite=True).close()
    assert set(contents(tmp_path / "run")) == {"settings.json", "journal.jsonl"}
    assert Run.load(tmp_path / "run").settings.seed == 2


@pytest.mark.parametrize("damage", [b"", b"not a journal\n"])
def test_overwrite_replaces_a_damaged_run_too(tmp_path: Path, damage: bytes) -> None:
    Run.create(make_settings(), tmp_path / "run").close()
    (tmp_path / "run" / "journal.jsonl").write_bytes(damage)
    Run.create(make_settings(seed=2), tmp_path / "run", overwrite=True).close()
    assert Run.load(tmp_path / "run").settings.seed == 2


def test_overwrite_never_removes_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ConfigurationError, match="not a run's"):
        Run.create(make_settings(), tmp_path / "thesis", overwrite=True)
    assert contents(tmp_path) == {"thesis/chapter.tex": b"years of work"}


def test_overwrite_never_removes_a_run_that_is_being_written(tmp_path: Path) -> None:
    writer = Run.create(make_settings(), tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(RunError, match="another process is writing"):
        Run.create(make_settings(), tmp_path / "run", overwrite=True)
    assert contents(tmp_path) == before
    writer.close()


def test_an_empty_folder_may_be_written_and_a_file_may_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", overwrite=False)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is a file"):
        check_output(tmp_path / "file", overwrite=True)


def test_the_first_free_name_is_taken(tmp_path: Path) -> None:
    assert free_output(tmp_path, "mlp") == tmp_path / "mlp-1"
    (tmp_path / "mlp-1").mkdir()
    (tmp_path / "mlp-3").mkdir()
    assert free_output(tmp_path, "mlp") == tmp_path / "mlp-2"


def test_a_folder_of_runs_is_no_run_and_names_those_in_it(tmp_path: Path) -> None:
    Run.create(make_settings(), tmp_path / "digits-1").close()
    with pytest.raises(RunError, match=r"is not a run folder.*digits-1"):
        Run.load(tmp_path)
    with pytest.raises(RunError, match="no such run folder"):
        Run.load(tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"format": 1}', '{"format": 1, "space": 3}'])
def test_settings_that_are_none_are_refused_with_their_path(tmp_path: Path, text: str) -> None:
    Run.create(make_settings(), tmp_path / "run").close()
    (tmp_path / "run" / "settings.json").write_text(text)
    with pytest.raises(RunError, match=r"settings\.json"):
        Run.load(tmp_path / "run")


def test_settings_of_a_newer_format_are_refused_with_both_versions(tmp_path: Path) -> None:
    Run.create(make_settings(), tmp_path / "run").close()
    path = tmp_path / "run" / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(RunError, match=r"format 2.*format 1"):
        Run.load(tmp_path / "run")


def test_proposals_come_in_the_order_of_their_ids() -> None:
    run = Run.create(make_settings())
    with pytest.raises(RunError, match="proposal 3"):
        run.record_proposal(individual(3))


def test_settings_that_are_not_those_that_the_run_began_with_are_refused(tmp_path: Path) -> None:
    run = Run.create(make_settings(), tmp_path / "run")
    fill(run)
    run.record_resume(replace(run.settings, budget=77, workers=3))
    run.close()
    assert Run.load(tmp_path / "run").settings.budget == 77
    path = tmp_path / "run" / "settings.json"
    path.write_text(path.read_text().replace('"seed": 1,', '"seed": 5,'))
    assert '"seed": 5,' in path.read_text()
    with pytest.raises(RunError, match="began with other settings"):
        Run.load(tmp_path / "run")


def test_a_place_where_a_file_system_is_mounted_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "mounted")
    with pytest.raises(ConfigurationError, match="a folder in it"):
        Run.create(make_settings(), tmp_path / "mounted")


def test_what_a_link_leads_to_is_written_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk" / "empty").mkdir(parents=True)
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "disk" / "empty")
    Run.create(make_settings(), link).close()
    Run.create(make_settings(seed=2), link, overwrite=True).close()
    assert link.is_symlink()
    assert Run.load(link).settings.seed == 2
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["empty"]


def test_the_current_folder_may_be_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Run.create(make_settings(), tmp_path / "run")
    fill(old)
    old.write_tables()
    old.close()
    monkeypatch.chdir(tmp_path / "run")
    new = Run.create(make_settings(seed=2), Path("."), overwrite=True)
    fill(new)
    new.write_tables()
    new.close()
    monkeypatch.chdir(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert Run.load(tmp_path / "run").settings.seed == 2
    assert {"settings.json", "journal.jsonl", "evaluations.csv"} <= set(contents(tmp_path / "run"))


@pytest.mark.parametrize(
    "step", ["evo.record.run.Settings.save", "evo.record.run.Journal.create", "evo.record.folder.locked"]
)
def test_a_creation_that_fails_leaves_the_old_run_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    Run.create(make_settings(), tmp_path / "run").close()
    before = contents(tmp_path)

    def fail(*arguments: Any, **facts: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="no space left"):
        Run.create(make_settings(seed=2), tmp_path / "run", overwrite=True)
    assert contents(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_new_run_that_cannot_take_its_place_leaves_the_old_one_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run.create(make_settings(), tmp_path / "run").close()
    before = contents(tmp_path)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == tmp_path / "run" and Settings.load(self).seed == 2:
            raise OSError("no space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no space left"):
        Run.create(make_settings(seed=2), tmp_path / "run", overwrite=True)
    assert contents(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_an_overwritten_or_refused_run_leaves_no_temporary_folder(tmp_path: Path) -> None:
    writer = Run.create(make_settings(), tmp_path / "run")
    with pytest.raises(RunError, match="another process is writing"):
        Run.create(make_settings(), tmp_path / "run", overwrite=True)
    writer.close()
    Run.create(make_settings(), tmp_path / "run", overwrite=True).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


PROPOSAL = individual(5).to_dict()
EVALUATION = evaluation(1, 0.5).to_dict()
STRANGE: dict[str, dict[str, Any]] = {
    "no kind": {},
    "a proposal without an individual": {"kind": "proposal"},
    "a proposal without a genome": {"kind": "proposal", "individual": {"id": 5}},
    "a genome that is a list": {"kind": "proposal", "individual": PROPOSAL | {"genome": [1]}},
    "an unknown gene": {"kind": "proposal", "individual": PROPOSAL | {"genome": {"y": 1}}},
    "a value of another type": {"kind": "proposal", "individual": PROPOSAL | {"genome": {"x": "a", "layers": [3]}}},
    "parents that are none": {"kind": "proposal", "individual": PROPOSAL | {"parents": ["a"]}},
    "an evaluation that is a number": {"kind": "evaluation", "evaluation": 3},
    "an evaluation of an unknown individual": {"kind": "evaluation", "evaluation": EVALUATION | {"individual": 7}},
    "an evaluation of a negative id": {"kind": "evaluation", "evaluation": EVALUATION | {"individual": -1}},
    "an evaluation without a status": {"kind": "evaluation", "evaluation": {"individual": 1, "curve": []}},
    "an unknown status": {"kind": "evaluation", "evaluation": EVALUATION | {"status": "great"}},
    "an unknown field": {"kind": "evaluation", "evaluation": EVALUATION | {"colour": 3}},
    "a fitness that is a text": {"kind": "evaluation", "evaluation": EVALUATION | {"fitness": "high"}},
    "a curve that is a text": {"kind": "evaluation", "evaluation": EVALUATION | {"curve": "up"}},
    "a curve without steps": {"kind": "evaluation", "evaluation": EVALUATION | {"curve": [{"train_loss": 1.0}]}},
    "a generation without members": {"kind": "generation", "generation": 2},
    "a generation of unknown individuals": {"kind": "generation", "generation": 2, "members": [0, 9]},
    "a generation without a number": {"kind": "generation", "generation": "two", "members": [0]},
    "finalists that are a number": {"kind": "finalists", "individuals": 3},
    "finalists without a result": {"kind": "finalists", "individuals": [2]},
    "an unknown winner": {"kind": "winner", "individual": 9},
    "a winner without an evaluation": {"kind": "winner", "individual": 4},
    "a winner that is a text": {"kind": "winner", "individual": "first"},
    "a test of an unknown individual": {"kind": "test", "individual": 9, "replicate": 101},
    "a test without a replicate": {"kind": "test", "individual": 3},
}


def add_event(folder: Path, event: dict[str, Any]) -> int:
    """Write an event behind the others, with the right checksum; return its number."""
    path = folder / "journal.jsonl"
    number = len(path.read_bytes().splitlines())
    path.write_bytes(path.read_bytes() + _encode({"number": number, **event}))
    return number


@pytest.mark.parametrize("event", STRANGE.values(), ids=STRANGE)
def test_an_event_that_evo_never_writes_is_refused_with_its_number(tmp_path: Path, event: dict[str, Any]) -> None:
    run = Run.create(make_settings(), tmp_path / "run")
    fill(run)
    run.close()
    number = add_event(tmp_path / "run", event)
    before = contents(tmp_path)
    with pytest.raises(RunError, match=rf"journal\.jsonl: event {number} is not what evo writes"):
        Run.load(tmp_path / "run")
    with pytest.raises(RunError, match=rf"event {number} is not what evo writes"):
        Run.open(tmp_path / "run", warn=print)
    assert contents(tmp_path) == before


def test_a_missing_run_folder_suggests_the_run_of_the_closest_name(tmp_path: Path) -> None:
    Run.create(make_settings(), tmp_path / "digits-1").close()
    with pytest.raises(RunError, match=r'no such run folder\. Did you mean "digits-1"\?'):
        Run.load(tmp_path / "digit-1")


STATED = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "steps": evo.Integer(10, 90)}, name="stated")


def stated(folder: Path | None = None, **changes: Any) -> Run:
    """Return a run whose trainings differ in their steps."""
    network: dict[str, Any] = {"space": STATED.to_dict(), "objective": None, "model": "mlp", "initial": []}
    return Run.create(make_settings(**network | changes), folder)


def write_states(folder: Path, sizes: list[int]) -> None:
    """Write so many states, each younger than the one before."""
    folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        path = folder / f"{number:03}.safetensors"
        path.write_bytes(b"x" * size)
        os.utime(path, (1000 + number, 1000 + number))


def kept(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.iterdir())


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1] * 5, [0, 1, 2, 3, 4]),
        ([1] * 8, [3, 4, 5, 6, 7]),
        ([60, 1, 60, 1], [1, 2, 3]),
        ([1, 1, 200], []),
        ([50, 50], [0, 1]),
        ([], []),
    ],
    ids=str,
)
def test_the_oldest_states_go_where_there_are_too_many_or_too_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], expected: list[int]
) -> None:
    monkeypatch.setattr("evo.record.folder.STATES_KEPT", 5)
    monkeypatch.setattr("evo.record.folder.STATES_BYTES", 100)
    write_states(tmp_path / "states", sizes)
    prune_states(tmp_path / "states")
    assert kept(tmp_path / "states") == expected


def test_states_are_pruned_when_an_evaluation_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo.record.folder.STATES_KEPT", 2)
    run = stated(tmp_path / "run")
    write_states(tmp_path / "run" / "states", [1] * 4)
    run.record_proposal(Individual(0, {"x": 0.5, "steps": 20}))
    run.record(evaluation(0, 0.5))
    assert kept(tmp_path / "run" / "states") == [2, 3]
    run.close()


def test_states_are_never_pruned_through_a_link_and_a_missing_folder_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.record.folder.STATES_KEPT", 0)
    write_states(tmp_path / "elsewhere", [1, 1])
    (tmp_path / "states").symlink_to(tmp_path / "elsewhere")
    prune_states(tmp_path / "states")
    assert kept(tmp_path / "elsewhere") == [0, 1]
    prune_states(tmp_path / "missing")


def test_only_states_of_shipped_models_have_a_place_in_the_folder(tmp_path: Path) -> None:
    run = stated(tmp_path / "run")
    assert run.last_state(77) == str(tmp_path / "run" / "states" / "77.safetensors")
    own = stated(tmp_path / "own", model="mine:build")
    assert own.last_state(77) is None, "a user-defined model may hold state outside its tensors"
    objective = Run.create(make_settings(), tmp_path / "objective")
    assert objective.last_state(77) is None
    assert stated().last_state(77) is None
    for opened in (run, own, objective):
        opened.close()


def test_states_are_forgotten_with_their_folder_and_nothing_else(tmp_path: Path) -> None:
    run = stated(tmp_path / "run")
    before = set(contents(tmp_path / "run"))
    write_states(tmp_path / "run" / "states", [1, 1])
    run.forget_states()
    run.forget_states()
    assert set(contents(tmp_path / "run")) == before
    assert not (tmp_path / "run" / "states").exists()
    stated().forget_states()
    run.close()


@pytest.mark.parametrize("folder", ["states", "checkpoints", "weights"])
def test_a_linked_folder_is_refused_and_what_it_leads_to_stays(tmp_path: Path, folder: str) -> None:
    run = stated(tmp_path / "run")
    write_states(tmp_path / "elsewhere", [1, 1])
    (tmp_path / "run" / folder).symlink_to(tmp_path / "elsewhere")
    ask = {
        "states": lambda: run.last_state(1),
        "checkpoints": lambda: run.checkpoint(0, 0),
        "weights": lambda: run.weights(0, 0),
    }
    with pytest.raises(RunError, match=f"{folder}: is a link"):
        ask[folder]()
    if folder == "states":
        with pytest.raises(RunError, match="states: is a link"):
            run.forget_states()
    assert kept(tmp_path / "elsewhere") == [0, 1]
    run.close()


# Individuals that were evaluated more than once, or trained less far.


def raced(folder: Path | None = None) -> Run:
    """Return a run whose individuals 0 to 2 were proposed again: 2 twice, of which one is still to come."""
    run = Run.create(make_settings(), folder)
    for number, fitness in enumerate((0.9, 0.8, 0.7, 0.95)):
        run.record_proposal(individual(number, x=number / 10))
        run.record(evaluation(number, fitness))
    for number, replicate in ((0, 1), (1, 1), (2, 1), (2, 2)):
        run.record_proposal(replace(run.individuals[number], replicate=replicate))
    for number, fitness in ((1, 0.75), (0, 0.5), (2, 0.76)):
        run.record(evaluation(number, fitness, replicate=1))
    return run


def test_those_evaluated_again_come_first_and_their_mean_decides() -> None:
    run = raced()
    assert [(entry.id, entry.fitness) for entry in run.ranked()] == [
        (2, pytest.approx(0.73)),
        (1, pytest.approx(0.775)),
        (0, pytest.approx(0.7)),
        (3, 0.95),
    ]
    assert run.best.id == 2, "who was proposed most often has won every round of the race so far"
    assert run.ranked()[1].replicates == (0.8, 0.75)
    assert run.ranked()[-1].replicates == ()
    run.record(evaluation(2, 0.1, replicate=2))
    assert run.best.id == 2
    assert run.best.fitness == pytest.approx((0.7 + 0.76 + 0.1) / 3)


def test_one_failure_among_several_evaluations_ranks_behind_all_that_never_failed() -> None:
    run = raced()
    run.record(evaluation(2, None, replicate=2))
    assert [entry.id for entry in run.ranked()] == [1, 0, 3, 2]


def test_finalists_trainings_are_no_evaluations_of_the_search() -> None:
    run = raced()
    run.record_finalists([3])
    run.record(evaluation(3, 0.1, replicate=101))
    assert [entry.id for entry in run.ranked()] == [2, 1, 0, 3]
    assert run.entry(3).fitness == 0.95
    assert all(found.replicate < 101 for found in run.search_evaluations)


def test_proposals_made_again_are_read_back_in_their_order(tmp_path: Path) -> None:
    written = raced(tmp_path / "run")
    written.close()
    read = Run.load(tmp_path / "run")
    assert read.proposals == written.proposals
    assert [(entry.id, entry.replicate) for entry in read.proposals] == [
        (0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1), (2, 2),
    ]  # fmt: skip
    assert read.individuals == read.proposals[:4]
    assert all(entry.genome == read.individuals[entry.id].genome for entry in read.proposals)
    assert [(entry.id, entry.replicate) for entry in read.unevaluated()] == [(2, 2)]
    assert [(entry.id, entry.fitness) for entry in read.ranked()] == [
        (entry.id, entry.fitness) for entry in written.ranked()
    ]


@pytest.mark.parametrize("until", [20, None])
def test_a_paused_training_is_continued_to_a_later_step_or_to_the_end(tmp_path: Path, until: int | None) -> None:
    run = Run.create(make_settings(), tmp_path / "run")
    run.record_proposal(replace(individual(0), until=10))
    run.record(replace(evaluation(0, 0.5), status="partial", steps_trained=10))
    run.record_proposal(replace(individual(0), until=until, generation=3))
    assert [proposal.until for proposal in run.unevaluated()] == [until]
    run.close()
    read = Run.load(tmp_path / "run")
    assert len(read.individuals) == 1
    assert [(proposal.until, proposal.generation) for proposal in read.proposals] == [(10, 0), (until, 3)]


def test_a_proposal_again_of_an_unknown_individual_is_refused(tmp_path: Path) -> None:
    run = raced(tmp_path / "run")
    run.close()
    number = add_event(
        tmp_path / "run", {"kind": "proposal", "individual": replace(individual(9), replicate=1).to_dict()}
    )
    with pytest.raises(RunError, match=rf"event {number} is not what evo writes"):
        Run.load(tmp_path / "run")


def paused(number: int, steps: int, fitness: float, **more: Any) -> Evaluation:
    return replace(evaluation(number, fitness, steps_trained=steps, **more), status="partial")


def continued(folder: Path | None = None) -> Run:
    """Return a run that has trained 0 whole, paused 1, 2 and 3, and continued 1 and 2, of which 2 is still to come."""
    run = Run.create(make_settings(), folder)
    for number in range(4):
        run.record_proposal(replace(individual(number, x=number / 10), until=10))
    run.record(evaluation(0, 0.1))
    for number, fitness in ((2, 0.6), (1, 0.7), (3, 0.9)):
        run.record(paused(number, 10, fitness))
    for number in (1, 2):
        run.record_proposal(replace(run.individuals[number], until=30))
    run.record(paused(1, 30, 0.2))
    return run


def test_a_continued_training_is_one_row_and_all_its_parts_are_results(tmp_path: Path) -> None:
    written = continued(tmp_path / "run")
    written.close()
    read = Run.load(tmp_path / "run")
    for run in (written, read):
        assert [(entry.id, entry.until) for entry in run.proposals] == [
            (0, 10), (1, 10), (2, 10), (3, 10), (1, 30), (2, 30),
        ]  # fmt: skip
        assert run.individuals == run.proposals[:4]
        assert [(entry.individual, entry.steps_trained) for entry in run.results] == [
            (0, None), (2, 10), (1, 10), (3, 10), (1, 30),
        ]  # fmt: skip
        assert [entry.fitness for entry in run.search_evaluations] == [0.1, 0.2, 0.6, 0.9]
        assert [(entry.id, entry.until) for entry in run.unevaluated()] == [(2, 30)]
        assert len(run.table) == 4


def test_whole_trainings_rank_before_paused_ones_and_these_by_how_far_they_came() -> None:
    run = continued()
    order = ranking(run.individuals, run.proposals, run.evaluations, run.answered)
    assert order == [(0, (0.1,)), (1, (0.2,)), (3, (0.9,)), (2, (0.6,))]
    assert [entry.id for entry in run.ranked()] == list(run.hall_of_fame["individual"]) == [0], "only whole trainings"
    assert run.best.id == 0
    run.record_generation(0, [1, 0])
    run.record_generation(1, [2, 3])
    assert list(run.generation_table["best"]) == [0.1, 0.1], "0.9 was reached by a paused training"
    assert list(run.generation_table["mean"].round(6)) == [0.15, 0.75]
    run.record_finalists([0, 1])
    run.record_winner(1)
    assert (run.best.id, run.best.fitness) == (1, 0.2)


@pytest.mark.parametrize(
    ("number", "until"),
    [(1, 30), (1, 29), (0, 50), (2, 10), (9, 50)],
    ids=["as far as before", "less far", "after a whole training", "as far as it is", "of no one"],
)
def test_a_continuation_that_cannot_be_is_refused(tmp_path: Path, number: int, until: int) -> None:
    run = continued(tmp_path / "run")
    run.close()
    event = {"kind": "proposal", "individual": replace(individual(number), until=until).to_dict()}
    add_event(tmp_path / "run", event)
    with pytest.raises(RunError, match=rf"proposal {number} follows proposal 3"):
        Run.load(tmp_path / "run")


def test_the_state_of_a_continued_training_that_was_interrupted_is_kept(tmp_path: Path) -> None:
    run = continued(tmp_path / "run")
    states = [Path(run.checkpoint(number, 0) or "") for number in range(4)]
    states[0].parent.mkdir()
    for state in states:
        state.write_bytes(b"a state")
    run.close()
    Run.open(tmp_path / "run", warn=print).close()
    assert [state.exists() for state in states] == [False, False, True, False]


def test_what_finishes_while_a_run_stops_is_recorded_with_the_time_of_its_earlier_part() -> None:
    run = continued()
    run.record_late(evaluation(2, 0.8, seconds=3.0))
    assert run.evaluations[2, 0].status == "complete"
    assert run.evaluations[2, 0].seconds == 3.0
    run.record_proposal(replace(run.individuals[3], until=30))
    run.record(paused(3, 30, 0.3, seconds=5.0))
    run.record_proposal(replace(run.individuals[3], until=90))
    run.record_late(evaluation(3, 0.8, seconds=3.0))
    assert (run.evaluations[3, 0].seconds, run.evaluations[3, 0].seconds_before) == (8.0, 5.0)
    assert run.tests == {}


def test_what_was_trained_less_far_ranks_behind_whatever_its_fitness() -> None:
    run = Run.create(make_settings())
    for number, (rung, fitness) in enumerate(((0, 0.99), (2, 0.5), (1, 0.9), (2, 0.6), (0, 0.1))):
        run.record_proposal(replace(individual(number, x=number / 10), strategy_parameters={"rung": rung}))
        run.record(evaluation(number, fitness))
    assert [entry.id for entry in run.ranked()] == [3, 1, 2, 0, 4]
    assert run.best.id == 3


def test_the_steps_of_the_best_checkpoint_belong_to_the_configuration_where_they_are_free() -> None:
    for free, steps in ((True, 30), (False, 90)):
        run = stated(free_steps=free)
        run.record_proposal(Individual(0, {"x": 0.5, "steps": 90}))
        run.record(evaluation(0, 0.5, steps_trained=30))
        assert run.best.config == {"x": 0.5, "steps": steps}
        assert run.individuals[0].genome["steps"] == 90


def test_a_winner_whose_genome_another_had_first_is_shown_all_the_same() -> None:
    run = Run.create(make_settings(), None)
    for number, fitness in enumerate((0.9, 0.8)):
        run.record_proposal(individual(number, x=0.5))
        run.record(evaluation(number, fitness))
    run.record_finalists([1])
    run.record_winner(1)
    assert [entry.id for entry in run.ranked()] == [0]
    assert (run.best.id, run.best.fitness) == (1, 0.8)
