"""`--free-steps`: every training runs to the bound, and its best checkpoint is its fitness and its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evo
from evo.data import PreparedDataset
from evo.errors import ConfigurationError
from evo.loop.deadline import Stop
from evo.loop.new_search import with_free_steps
from evo.loop.replay import replay_individual
from evo.record.run import Run
from evo.space.file import load_space
from tests.conftest import TINY_SPACE, training_in_this_process

pytestmark = pytest.mark.usefixtures("in_process", "digits")

MOST = 80


def write_space(folder: Path) -> Path:
    """A space whose trainings have eight points, and learning rates that are too high for the last ones to be best."""
    path = folder / "space.toml"
    path.write_text(TINY_SPACE.replace("high = 40", "high = 87").replace("high = 1e-1", "high = 1.0"))
    return path


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return write_space(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: PreparedDataset) -> Run:
    """A search all of whose individuals are finalists; no test changes it."""
    with training_in_this_process():
        return search(write_space(tmp_path_factory.mktemp("free_steps")), finalists=6)


def search(space: Path, output: Path | None = None, **arguments: Any) -> Run:
    settings = {"strategy": "random", "budget": 6, "seed": 1, "finalists": 0, "free_steps": True, "workers": 1}
    return evo.search(space, output=output or space.parent / "run", **{**settings, **arguments})


def rows(run: Run) -> pd.DataFrame:
    return run.table.drop(columns=["seconds", "started", "worker", "seconds_before"])


def test_every_training_runs_to_the_bound_and_its_best_checkpoint_counts(whole: Run) -> None:
    run = whole
    assert [individual.genome["steps"] for individual in run.individuals] == [MOST] * 6
    for evaluation in run.search_evaluations:
        assert [point.step for point in evaluation.curve] == list(range(10, MOST + 1, 10))
        accuracies = [point.values["validation_accuracy"] for point in evaluation.curve]
        best = evaluation.curve[accuracies.index(max(accuracies))]
        assert (evaluation.fitness, evaluation.validation_accuracy) == (best.values["validation_accuracy"],) * 2
        assert (evaluation.steps_trained, evaluation.loss) == (best.step, best.values["loss"])
    trained = list(run.table["steps_trained"])
    assert min(trained) < MOST, "every curve rose to its end, so this says nothing"
    assert max(run.table["fitness"]) == run.best.fitness


def test_a_row_of_an_earlier_checkpoint_has_no_accuracy_of_the_last(whole: Run) -> None:
    for evaluation in whole.search_evaluations:
        assert (evaluation.train_accuracy is None) == (evaluation.steps_trained != MOST)


def test_the_selected_steps_are_the_configurations_own(whole: Run) -> None:
    for entry in whole.ranked():
        assert entry.config == {**entry.individual.genome, "steps": entry.evaluation.steps_trained}
    assert evo.load(whole.path).best.config == whole.best.config


def test_finalists_are_trained_to_the_selected_steps(whole: Run) -> None:
    run = whole
    assert len(run.finalist_evaluations) == 18
    chosen = {entry.id: entry.config["steps"] for entry in run.ranked()}
    assert set(chosen.values()) != {MOST}
    for evaluation in run.finalist_evaluations:
        steps = chosen[evaluation.individual]
        assert evaluation.steps_trained == evaluation.curve[-1].step == steps
        assert evaluation.fitness == evaluation.curve[-1].values["validation_accuracy"]
    assert run.winner in run.finalists
    assert {key[0] for key in run.tests} == set(run.finalists)


def test_without_it_the_genomes_own_steps_are_trained(space: Path) -> None:
    run = search(space, free_steps=False, budget=4)
    assert all(e.steps_trained == run.individuals[e.individual].genome["steps"] for e in run.search_evaluations)
    assert all(entry.config == entry.individual.genome for entry in run.ranked())


def test_its_fitness_is_at_least_that_of_the_last_checkpoint_of_the_same_genome(whole: Run) -> None:
    for evaluation in whole.search_evaluations:
        last = evaluation.curve[-1].values["validation_accuracy"]
        assert evaluation.fitness is not None
        assert evaluation.fitness >= last


@pytest.mark.usefixtures("quick_models")
@pytest.mark.parametrize("strategy", ["surrogate", "ga", "ageing", "report2019-fixed"])
def test_strategies_search_the_other_genes(space: Path, strategy: str) -> None:
    run = search(space, strategy=strategy, population=3, budget=7)
    assert {individual.genome["steps"] for individual in run.individuals} == {MOST}
    assert len({str(individual.genome) for individual in run.individuals}) == 7


def test_a_search_that_was_stopped_goes_on_to_the_same_rows(space: Path) -> None:
    whole = search(space, finalists=1)
    checks = [0]

    def stop() -> None:
        checks[0] += 1
        if checks[0] == 4:
            raise Stop("enough", 75)

    with pytest.raises(Stop):
        search(space, space.parent / "stopped", finalists=1, stop_check=stop)
    resumed = evo.resume(space.parent / "stopped", workers=1)
    assert resumed.settings.free_steps
    assert rows(resumed).equals(rows(whole))
    assert resumed.best.config == whole.best.config
    assert [e.fitness for e in resumed.finalist_evaluations] == [e.fitness for e in whole.finalist_evaluations]


def test_a_recorded_training_can_be_replayed(space: Path) -> None:
    search(space, budget=2)
    assert replay_individual(space.parent / "run", 1).same


def test_known_configurations_leave_their_steps_behind(space: Path) -> None:
    space.write_text(space.read_text() + "\n[[initial]]\nlearning_rate = 0.01\nsteps = 20\n")
    first = search(space, budget=2, population=2).individuals[0]
    assert (first.operator, first.genome["learning_rate"], first.genome["steps"]) == ("initial", 0.01, MOST)


def test_halving_is_refused(space: Path) -> None:
    with pytest.raises(ConfigurationError, match="--free-steps: strategy halving decides how long to train"):
        search(space, strategy="halving")
    assert not (space.parent / "run").exists()


@pytest.mark.parametrize(
    ("schedules", "taken"), [(["constant"], True), (["constant", "cosine"], False), (["one_cycle"], False)]
)
def test_schedules_are_refused_that_need_to_know_the_steps(
    schedules: list[str], taken: bool, space: Path, tmp_path: Path
) -> None:
    loaded = load_space(space)
    gene = {"schedule": evo.Categorical(schedules)}
    fixed = loaded.training.model_dump(exclude_unset=True)
    for genes, more in ((gene, {}), ({}, {"schedule": schedules[-1]})):
        searched = evo.SearchSpace(loaded.genes | genes, model="mlp", dataset="digits", training=fixed | more)
        if taken:
            with_free_steps(searched, "random", None)
            continue
        with pytest.raises(ConfigurationError, match=f"the rate of {schedules[-1]} depends on the number"):
            with_free_steps(searched, "random", None)


def test_an_objective_is_refused(space: Path) -> None:
    with pytest.raises(ConfigurationError, match="--free-steps: reads learning curves"):
        evo.search(space, lambda config: 0.5, free_steps=True)
    with pytest.raises(ConfigurationError, match="--free-steps: reads learning curves"):
        evo.search(evo.SearchSpace({"x": evo.Float(0.0, 1.0)}), free_steps=True)


def test_a_space_whose_steps_are_choices_is_refused(space: Path) -> None:
    text = space.read_text()
    space.write_text(text[: text.index("[genes.steps]")] + '[genes.steps]\ntype = "categorical"\nchoices = [20, 40]\n')
    with pytest.raises(ConfigurationError, match='--free-steps: the space "space" has no integer gene steps'):
        search(space)
    assert not (space.parent / "run").exists()


def test_the_most_steps_are_the_last_on_the_grid() -> None:
    space = evo.SearchSpace(
        {"x": evo.Float(0.0, 1.0), "steps": evo.Integer(100, 1050, step=100, log=True)},
        initial=[{"x": 0.5, "steps": 100}],
    )
    most = space.with_most_steps()
    assert most.genes["steps"].points == 1
    assert most.genes["steps"].contains(1000)
    assert list(most.genes) == ["x", "steps"]
    assert most.initial == ({"x": 0.5},)
    assert space.genes["steps"].points == 10, "the space itself stays as it was"


@pytest.mark.parametrize("name", ["mlp_classic", "cnn_classic", "digits", "report"])
def test_every_shipped_space_can_have_its_steps_free(name: str) -> None:
    space = load_space(name)
    most = space.with_most_steps()
    assert most.genes["steps"].points == 1
    assert {gene: kind for gene, kind in most.genes.items() if gene != "steps"} == {
        gene: kind for gene, kind in space.genes.items() if gene != "steps"
    }
    assert (most.model, most.dataset, most.training) == (space.model, space.dataset, space.training)


def test_every_table_of_the_best_shows_the_steps_that_were_found(whole: Run) -> None:
    run = whole
    found = {entry.id: entry.config["steps"] for entry in run.ranked()}
    shown = dict(zip(run.hall_of_fame["individual"], run.hall_of_fame["steps"], strict=True))
    assert shown == found
    of_finalists = dict(zip(run.finalist_table["individual"], run.finalist_table["steps"], strict=True))
    assert of_finalists == found
