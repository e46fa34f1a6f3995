from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import evo
from evo.cli.app import app
from evo.individual import Genome
from evo.record.run import Run
from evo.reports.genome_commands import genome_text
from evo.space.typed import FLAGS, OPTIONS, option_words
from tests.reports.runs import written_by_hand

DIGITS = {"name": "digits", "data_dir": None}


def run_of(space: evo.SearchSpace, output: Path, **settings: Any) -> Run:
    return written_by_hand(
        [], [], space, output, **{"objective": None, "model": space.model, "dataset": DIGITS, **settings}
    )


def test_the_command_trains_the_genome_with_the_settings_of_the_search(
    tmp_path: Path, asked: Callable[..., dict[str, Any]]
) -> None:
    space = evo.SearchSpace(
        {
            "hidden_layers": evo.Layers(depth=(1, 3), width=(4, 64)),
            "learning_rate": evo.Float(1e-5, 1e-1, log=True),
            "batch_norm": evo.Boolean(),
            "use_dropout": evo.Boolean(),
            "dropout": evo.Float(0.05, 0.5, when={"use_dropout": True}),
            "activation": evo.Categorical(["relu", "gelu"]),
        },
        model="mlp",
        dataset="digits",
        training={"optimiser": "sgd", "batch_size": 50, "steps": 60, "evaluate_every": 20, "weight_decay": 1e-4}
        | {"schedule": "cosine", "warmup": 0.1, "momentum": 0.9, "augment": "flip", "test_flip": True},
    )
    config: Genome = {
        "hidden_layers": (33, 7),
        "learning_rate": 0.012345678901234567,
        "batch_norm": False,
        "use_dropout": True,
        "dropout": 0.123,
        "activation": "gelu",
    }
    command = shlex.split(genome_text(run_of(space, tmp_path / "run", seed=5, fitness="test"), config))
    assert command[:2] == ["evo", "train"]
    seen = asked(*command[2:])
    [genome] = seen["configurations"]
    fixed = {"batch_size": 50, "steps": 60, "weight_decay": 1e-4}
    assert genome == {name: value for name, value in config.items() if name != "use_dropout"} | fixed
    assert seen["space"].training.optimiser == "sgd"
    assert seen["space"].training.evaluate_every == 20
    recipe = {"schedule": "cosine", "warmup": 0.1, "momentum": 0.9, "augment": "flip", "test_flip": True}
    assert recipe.items() <= seen["space"].training.model_dump().items()
    assert (seen["seed"], seen["fitness"], seen["execution"].dataset) == (5, "test", "digits")


OPTIMISERS, SCHEDULES = evo.Categorical(("adam", "sgd")), evo.Categorical(("constant", "cosine"))


@pytest.mark.parametrize(
    ("gene", "fixed", "read"),
    [
        ({"optimiser": OPTIMISERS}, {"momentum": 0.9}, "sgd"),
        ({"schedule": SCHEDULES}, {"warmup": 0.1}, "cosine"),
        ({"batch_norm": evo.Boolean()}, {}, True),
    ],
    ids=str,
)
def test_fixed_settings_that_a_genome_does_not_read_are_left_out(
    gene: dict[str, Any], fixed: dict[str, Any], read: Any, tmp_path: Path, asked: Callable[..., dict[str, Any]]
) -> None:
    genes = {"hidden_layers": evo.Layers(depth=(1, 2), width=(4, 8)), "learning_rate": evo.Float(1e-3, 1e-1), **gene}
    training = {"batch_size": 50, "steps": 60, "evaluate_every": 20, **fixed}
    run = run_of(evo.SearchSpace(genes, model="mlp", dataset="digits", training=training), tmp_path / "run")
    [name] = gene
    for value in gene[name].choices if name != "batch_norm" else (True, False):
        command = genome_text(run, {"hidden_layers": (4,), "learning_rate": 0.01, name: value})
        seen = asked(*shlex.split(command)[2:])
        given = seen["space"].training.model_dump() | seen["configurations"][0]
        assert given[name] == value
        for setting, number in fixed.items():
            assert given[setting] == (number if value == read else None)


def test_what_is_written_as_an_option_is_one() -> None:
    commands: Any = typer.main.get_command(app)
    options = {parameter.name: parameter for parameter in commands.commands["train"].params}
    assert options.keys() >= OPTIONS
    assert {name for name in OPTIONS if options[name].secondary_opts} == {*FLAGS}
    assert [option_words("residual", value) for value in (True, False, "add")] == [
        ["--residual"],
        ["--no-residual"],
        ["--gene", "residual=add"],
    ]


def test_genes_of_a_model_of_the_users_own_are_given_by_name(tmp_path: Path) -> None:
    space = evo.SearchSpace(
        {"width": evo.Integer(4, 64), "learning_rate": evo.Float(1e-5, 1e-1), "gate": evo.Boolean()},
        dataset="digits",
        training={"batch_size": 50, "steps": 60},
    )
    run = run_of(space, tmp_path / "run", model="my_model:build")
    command = shlex.split(genome_text(run, {"width": 9, "learning_rate": 0.5, "gate": True}))
    assert "--gene" in command
    pairs = [command[place + 1] for place, word in enumerate(command) if word == "--gene"]
    assert pairs == ["width=9", "gate=true"]


def test_what_no_option_says_is_json(tmp_path: Path) -> None:
    space = evo.SearchSpace(
        {"hidden_layers": evo.Layers(depth=(1, 2), width=(4, 8))},
        model="mlp",
        dataset="digits",
        training={"image_size": 16, "learning_rate": 0.1, "batch_size": 50, "steps": 60},
    )
    assert genome_text(run_of(space, tmp_path / "run"), {"hidden_layers": (4, 5)}) == '{"hidden_layers": [4, 5]}'
