"""Runs from before there was a recipe: their genes with the names of its parts are never read as such."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import ConfigurationError
from evo.evaluation import Evaluation
from evo.individual import Individual
from evo.loop.cost import guessed_cost
from evo.record.run import Run
from evo.reports.genome_commands import genome_text
from evo.reports.recipe import recipe_of
from evo.reports.training import setting_text
from evo.space.file import space_from_text
from tests.images import FACTS
from tests.reports.runs import written_by_hand

DATASET = {**FACTS, "name": "digits", "data_dir": None}
KEYS = {"optimiser", "evaluate_every", "learning_rate", "batch_size", "steps"}
"""What [training] had then, and a space here sets."""
GENES: dict[str, Any] = {
    "hidden_layers": evo.Layers(depth=(1, 2), width=(4, 8)),
    "learning_rate": evo.Float(1e-3, 1e-1),
    "steps": evo.Integer(10, 40, step=10),
}
NAMESAKES: dict[str, Any] = {
    "optimiser": evo.Categorical(["muon", "sgd"]),
    "schedule": evo.Categorical(["early", "late"]),
    "momentum": evo.Categorical(["low", "high"]),
    "epochs": evo.Integer(1, 9),
    "dropout": evo.Float(
        0.1, 0.5, when={"optimiser": "muon", "schedule": "early", "momentum": ["low", "high"], "epochs": [3, 4]}
    ),
}
CONFIG: dict[str, Any] = {"hidden_layers": (4,), "learning_rate": 0.01, "steps": 20}
NAMED: dict[str, Any] = {"optimiser": "muon", "schedule": "early", "momentum": "low", "epochs": 3}


def older_run(output: Path, genes: dict[str, Any], config: dict[str, Any], **settings: Any) -> Run:
    """Return a run of one configuration whose settings are those of a version before the recipe."""
    training = {"batch_size": 50, "evaluate_every": 10}
    named = {"objective": None, "model": "mlp", "dataset": DATASET, **settings}
    space = evo.SearchSpace(genes, model=named["model"], dataset="digits", training=training, older=True)
    values = space.to_dict()
    written = values | {"training": {name: value for name, value in values["training"].items() if name in KEYS}}
    space.to_dict = lambda: written  # type: ignore[method-assign]
    individuals, evaluations = [Individual(0, config)], [Evaluation(0, 0, 1, "complete", 0.5)]
    run = written_by_hand(individuals, evaluations, space, output, **named)
    assert run.space.older
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return older_run(tmp_path / "run", GENES | NAMESAKES, CONFIG | NAMED | {"dropout": 0.2})


def test_their_recipe_is_that_of_the_settings(run: Run) -> None:
    assert recipe_of(run, run.best.config) == recipe_of(run, CONFIG)
    assert setting_text(run, run.best.config) == setting_text(run, CONFIG)
    assert run.space.training.length(run.best.config, 1000).steps == 20


def test_they_cost_what_the_settings_cost(run: Run) -> None:
    cost = guessed_cost(run.settings, run.space.training)
    assert cost.seconds(run.best.config) == cost.seconds(CONFIG | {"dropout": 0.2})


def test_their_trainings_share_curves_as_they_did(run: Run) -> None:
    assert run.shares_curves(run.best.config)


def test_their_command_and_their_file_train_what_was_trained(run: Run) -> None:
    words = shlex.split(genome_text(run, run.best.config))
    assert words[words.index("--optimiser") + 1] == "adam"
    assert not {"--schedule", "--momentum", "--epochs"} & {*words}
    assert words[words.index("--dropout") + 1] == "0.2"
    exported = space_from_text(evo.export(run.folder), name="mine")
    assert exported.initial == (CONFIG | {"dropout": 0.2},)
    assert exported.training.optimiser == "adam"


def test_what_only_a_model_of_the_users_own_reads_no_command_can_give(tmp_path: Path) -> None:
    config = CONFIG | {"schedule": "early"}
    run = older_run(tmp_path / "run", GENES | {"schedule": NAMESAKES["schedule"]}, config, model="mine:build")
    assert json.loads(genome_text(run, run.best.config)) == json.loads(json.dumps(config))
    with pytest.raises(ConfigurationError, match="only the model read its genes schedule"):
        evo.export(run.folder)


@pytest.mark.parametrize(
    ("genes", "values"),
    [
        ({"cutout": evo.Integer(0, 16)}, {"cutout": 16}),
        ({"augment": evo.Categorical(["flip_crop"]), "crop_padding": evo.Integer(8, 9)}, {"crop_padding": 9}),
        (
            {
                "schedule": evo.Categorical(["trapezoid"]),
                "warmup": evo.Float(0.5, 0.9),
                "cooldown": evo.Float(0.5, 0.9),
            },
            {"warmup": 0.9},
        ),
    ],
    ids=str,
)
def test_they_are_not_checked_as_parts_of_a_recipe(
    genes: dict[str, Any], values: dict[str, Any], tmp_path: Path
) -> None:
    first = {name: gene.choices[0] for name, gene in genes.items() if isinstance(gene, evo.Categorical)}
    numbers = {name: gene.low for name, gene in genes.items() if not isinstance(gene, evo.Categorical)}
    config = CONFIG | first | numbers | values
    run = older_run(tmp_path / "run", GENES | genes, config, model="mine:build")
    assert evo.load(run.folder).best.config == config


def test_a_gene_epochs_had_a_part_in_the_seed_so_such_runs_are_not_resumed(tmp_path: Path) -> None:
    genes = {"x": evo.Float(0.0, 1.0), "epochs": evo.Integer(1, 9)}
    older_run(tmp_path / "run", genes, {"x": 0.5, "epochs": 3}, objective="f", model=None, dataset=None)
    for go_on in (evo.resume, evo.finish):
        with pytest.raises(ConfigurationError, match=r"gene epochs .* start a new search"):
            go_on(tmp_path / "run", lambda config: config["x"])
