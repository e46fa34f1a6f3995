"""The report says how the winner was trained, and draws the learning rate that each of its steps has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.data import PreparedDataset
from evo.evaluators.training_task import load_builder
from evo.names import OPTIMISERS, SCHEDULES
from evo.reports.html import write_report
from evo.reports.recipe import rates_figure, rates_of, recipe_facts, recipe_of
from evo.reports.training import setting_text, write_training_page
from evo.training.jobs import Job
from evo.training.schedules import rate_factor
from evo.training.trainer import Trainer
from tests.images import FACTS
from tests.reports.test_classes import ANIMALS, FIRST, measured_run
from tests.reports.test_training import NETWORK, listed_run

FRACTIONS = st.floats(0, 0.5)


def facts(**training: Any) -> dict[str, str]:
    run = listed_run(training=training)
    recipe = recipe_of(run, run.individuals[0].genome)
    assert recipe is not None
    return recipe_facts(run, recipe)


@given(st.sampled_from(SCHEDULES), st.integers(1, 3000), FRACTIONS, FRACTIONS)
def test_the_curve_has_the_rate_of_the_training_at_every_step_that_it_shows(
    schedule: str, steps: int, warmup: float, cooldown: float
) -> None:
    fixed = {"schedule": schedule}
    fixed |= {"warmup": warmup} if schedule != "constant" else {}
    fixed |= {"cooldown": cooldown} if schedule == "trapezoid" else {}
    run = listed_run(None, ({**NETWORK, "steps": steps},), training=fixed)
    recipe = recipe_of(run, run.individuals[0].genome)
    assert recipe is not None
    shown, rates = rates_of(recipe)
    assert (shown[0], shown[-1]) == (0, steps - 1)
    shape = (steps, recipe.warmup, recipe.cooldown)
    assert rates == [NETWORK["learning_rate"] * rate_factor(schedule, step, *shape) for step in shown]  # type: ignore[operator]  # a number
    # What is left out lies on the line through what is shown: no corner of a schedule is cut off.
    left_out = np.array([1e-3 * rate_factor(schedule, step, *shape) for step in range(steps)])
    assert np.abs(np.interp(range(steps), shown, rates) - left_out).max() < 2e-5


def test_it_is_the_rate_that_the_trainer_uses(digits: PreparedDataset) -> None:
    training = {"schedule": "one_cycle", "epochs": 2.0}
    genome = {name: value for name, value in NETWORK.items() if name != "steps"}
    run = listed_run(None, (genome,), training=training, dataset=digits.to_dict() | {"data_dir": None})
    recipe = recipe_of(run, genome)
    assert recipe is not None
    trained = Trainer(digits, run.space.training, load_builder("mlp")).begin(Job(genome, 1))
    assert recipe == trained.recipe
    assert rates_of(recipe)[1] == [trained.rate_at(step) for step in rates_of(recipe)[0]]


def test_on_all_training_images_an_epoch_has_more_steps() -> None:
    genome = {name: value for name, value in NETWORK.items() if name != "steps"}
    lengths = []
    for fitness in ("validation", "test"):
        run = listed_run(None, (genome,), training={"epochs": 1.0}, fitness=fitness)
        recipe = recipe_of(run, genome)
        assert recipe is not None
        lengths.append(recipe.steps)
    assert lengths == [45_000 // 64, 50_000 // 64]


def test_a_recipe_is_said_in_words_with_every_default_filled_in() -> None:
    plain = facts()
    assert plain == {
        "length": "30 steps of 64 images, 0.0427 epochs",
        "optimiser": "Adam",
        "learning rate": "1e-3 at every step (constant)",
        "augmentation": "none",
        "label smoothing": "none",
        "pixels": "standardised, each channel",
    }
    rich = facts(
        optimiser="muon",
        weight_decay=5e-4,
        schedule="trapezoid",
        warmup=0.05,
        augment="flip_crop",
        cutout=8,
        label_smoothing=0.1,
        test_flip=True,
        preprocess="subtract_mean_image",
    )
    assert rich["optimiser"] == "Muon, Nesterov momentum 0.95, weight decay 5e-4"
    rate = "at most 1e-3: rises for 5 % of the steps, then stays, and falls to 0 in the last 25 % (trapezoid)"
    assert rich["learning rate"] == rate
    assert rich["augmentation"] == "mirrored at random, moved by up to 2 pixels, a square of 8 pixels a side hidden"
    assert (rich["label smoothing"], rich["pixels"]) == ("0.1", "less the mean image")
    assert rich["measured"] == "the mean over an image and its mirror image"
    assert facts(optimiser="sgd")["optimiser"] == "SGD, no momentum"
    assert facts(weight_decay=0.1)["optimiser"] == "AdamW, weight decay 0.1"


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_titles_of_figures_call_an_optimiser_what_the_recipe_calls_it(optimiser: str, weight_decay: float) -> None:
    training = {"optimiser": optimiser, "weight_decay": weight_decay}
    run = listed_run(training=training)
    title = setting_text(run, run.individuals[0].genome).split(",")[0]
    assert facts(**training)["optimiser"].split(",")[0] == title
    assert title.lower().startswith(optimiser)
    assert title != optimiser


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_has_its_words(schedule: str) -> None:
    assert facts(schedule=schedule)["learning rate"].endswith(f"({schedule})")


def test_pages_show_the_recipe_and_the_curve(tmp_path: Path) -> None:
    search = measured_run(tmp_path / "search", ANIMALS, FIRST, training={"schedule": "cosine"})
    training = listed_run(tmp_path / "train", training={"schedule": "cosine"})
    training.close()
    for page in (write_report([search], tmp_path / "one"), write_training_page(training, tmp_path / "two")):
        text = page.read_text()
        assert "at most 1e-3: falls to 0 along half a cosine (cosine)" in text
        assert (page.parent / "figures" / "learning-rate.png").exists()


def test_several_networks_have_a_line_each() -> None:
    genomes = (NETWORK, {**NETWORK, "learning_rate": 0.1})
    run = listed_run(None, genomes)
    figure = rates_figure(run, list(enumerate(genomes)))
    assert figure is not None
    assert [line.get_label() for line in figure.axes[0].lines] == ["#0", "#1"]
    assert figure.axes[0].get_legend() is not None


def test_without_data_nothing_is_known(tmp_path: Path) -> None:
    run = listed_run(tmp_path / "run", dataset=None)
    run.close()
    assert recipe_of(run, NETWORK) is None
    assert rates_figure(run, [(0, NETWORK)]) is None
    assert "Not known before the data are." in write_training_page(run, tmp_path).read_text()
    assert FACTS["train_count"]
