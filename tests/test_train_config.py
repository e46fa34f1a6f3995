"""`evo train --config`: a space file is trained as it is, or with what options change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.errors import ConfigurationError
from evo.space import SearchSpace
from evo.space.chosen import chosen
from evo.space.file import load_space, shipped_spaces
from tests.conftest import KNOWN_CONFIG, KNOWN_SPACE
from tests.test_export import check_same, run_of


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--steps", "20", "--gene", "steps=30"], "steps"),
        (["--optimiser", "adam", "--gene", "optimiser=sgd"], "optimiser"),
        (["--config", "mlp", "--dropout", "0.5", "--gene", "dropout=0.1"], "dropout"),
        (["--hidden-layers", "8", "--gene", "hidden_layers=16"], "hidden-layers"),
    ],
)
def test_a_value_is_given_once(options: list[str], name: str, cli: CliRunner, tmp_path: Path) -> None:
    result = cli.invoke(app, ["train", "--dataset", "digits", "-o", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert f"--{name} gives this value, too; leave one of them out" in result.stderr


def test_the_first_complete_configuration_of_a_file_is_trained(
    known_space: Path, asked: Callable[..., dict[str, Any]]
) -> None:
    seen = asked("--config", known_space)
    check_same(seen["configurations"][0], KNOWN_CONFIG)
    assert seen["space"].training == load_space(known_space).training


@pytest.mark.parametrize("name", [name for name in shipped_spaces() if load_space(name).initial])
def test_a_shipped_space_is_trained_by_its_name(name: str, asked: Callable[..., dict[str, Any]]) -> None:
    space = load_space(name)
    first = next(values for values in space.initial if not space.problems(values))
    assert asked("--config", name)["configurations"] == [first]


CHANGES: dict[str, tuple[list[str], dict[str, Any], dict[str, Any]]] = {
    "a gene": (["--learning-rate", "0.5"], {"learning_rate": 0.5}, {}),  # outside the bounds of the search
    "layers": (["--hidden-layers", "999"], {"hidden_layers": (999,)}, {}),
    "a gene by its name": (["--gene", "steps=33"], {"steps": 33}, {"evaluate_every": 1}),
    "a setting": (["--batch-size", "32", "--label-smoothing", "0.1"], {}, {"batch_size": 32, "label_smoothing": 0.1}),
    "a setting that others hang on": (["--schedule", "constant"], {}, {"schedule": "constant", "cooldown": None}),
    "a gene that others hang on": (["--optimiser", "adam"], {"optimiser": "adam", "momentum": None}, {}),
    "a choice that the search does not have": (["--optimiser", "muon"], {"optimiser": "muon", "momentum": None}, {}),
    "a switch": (["--gene", "use_dropout=true", "--dropout", "0.2"], {"use_dropout": True, "dropout": 0.2}, {}),
    "epochs for steps": (["--epochs", "2.5"], {"steps": None}, {"epochs": 2.5}),
    "fewer steps": (["--steps", "40"], {"steps": 40}, {"evaluate_every": 2}),
    "steps with a grid": (["--steps", "40", "--evaluate-every", "7"], {"steps": 40}, {"evaluate_every": 7}),
    "a gene of the model": (["--activation", "gelu"], {"activation": "gelu"}, {}),
}


@pytest.mark.parametrize(("options", "genes", "fixed"), CHANGES.values(), ids=CHANGES)
def test_options_change_what_the_file_says(
    known_space: Path,
    asked: Callable[..., dict[str, Any]],
    options: list[str],
    genes: dict[str, Any],
    fixed: dict[str, Any],
) -> None:
    seen = asked("--config", known_space, *options)
    without_none = {name: value for name, value in {**KNOWN_CONFIG, **genes}.items() if value is not None}
    assert seen["configurations"] == [without_none]
    before = load_space(known_space).training.model_dump()
    assert seen["space"].training.model_dump() == {**before, **fixed}


SWITCHES = {
    "learning_rate": evo.Float(1e-3, 1e-1),
    "hidden_layers": evo.Layers(depth=(1, 2), width=(4, 8)),
    "optimiser": evo.Categorical(("sgd", "adam")),
    "tuned": evo.Boolean(when={"optimiser": "sgd"}),
    "use_momentum": evo.Boolean(when={"tuned": True}),
    "momentum": evo.Float(0.1, 0.9, when={"use_momentum": True}),
    "schedule": evo.Categorical(("cosine", "constant")),
    "use_warmup": evo.Boolean(when={"schedule": "cosine"}),
    "warmup": evo.Float(0.1, 0.3, when={"use_warmup": True}),
}
SWITCHED = {
    **{"learning_rate": 0.01, "hidden_layers": (4,), "optimiser": "sgd", "tuned": True, "use_momentum": True},
    **{"momentum": 0.5, "schedule": "cosine", "use_warmup": True, "warmup": 0.2},
}


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"optimiser": "adam"}, {"tuned", "use_momentum", "momentum"}),
        ({"schedule": "constant"}, {"use_warmup", "warmup"}),
        ({"tuned": False}, {"use_momentum", "momentum"}),
        ({}, set()),
    ],
    ids=["adam", "a constant rate", "not tuned", "nothing"],
)
def test_switches_go_with_what_they_switch(changes: dict[str, Any], gone: set[str]) -> None:
    training = {"batch_size": 50, "steps": 60}
    space = SearchSpace(SWITCHES, model="mlp", training=training, initial=[SWITCHED])
    [genome] = chosen(space, changes, name="mine").initial
    assert genome == {name: value for name, value in (SWITCHED | changes).items() if name not in gone}


def test_genes_that_a_model_has_a_default_of_may_be_missing(asked: Callable[..., dict[str, Any]]) -> None:
    before = load_space("cnn").initial[0]
    [genome] = asked("--config", "cnn", "--block", "classic")["configurations"]
    of_pooled = ("convolutions", "residual")
    expected = {**before, "block": "classic"}
    assert genome == {name: value for name, value in expected.items() if name not in of_pooled}
    genes = {"activation": evo.Categorical(["relu"]), "own": evo.Boolean(), "optimiser": evo.Categorical(["sgd"])}
    training = {"batch_size": 50, "steps": 60, "learning_rate": 0.1}
    space = SearchSpace(genes, model="mine:build", training=training)
    with pytest.raises(ConfigurationError, match="what is given lacks activation, own"):  # only the model knows
        chosen(space, name="mine")


def test_a_switch_of_what_has_its_default_goes_too() -> None:
    training = {"batch_size": 50, "steps": 60}
    partial = {name: value for name, value in SWITCHED.items() if name != "momentum"}
    space = SearchSpace(SWITCHES, model="mlp", training=training, initial=[partial])
    [genome] = chosen(space, name="mine").initial
    assert genome == {name: value for name, value in partial.items() if name not in ("tuned", "use_momentum")}


EPOCHS = '[genes.epochs]\ntype = "float"\nlow = 1.0\nhigh = 9.0\n'
STEPS = KNOWN_SPACE[KNOWN_SPACE.index("[genes.steps]") : KNOWN_SPACE.index("[genes.optimiser]")]


@pytest.mark.parametrize(
    "text",
    [
        KNOWN_SPACE.replace("steps = 60", "epochs = 2.0").replace(STEPS, EPOCHS),
        KNOWN_SPACE.replace("steps = 60\n", "").replace(STEPS, "").replace("[training]", "[training]\nepochs = 2.0"),
    ],
    ids=["a gene", "a setting"],
)
def test_steps_replace_the_epochs_of_a_file(text: str, tmp_path: Path, asked: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "epochs.toml").write_text(text)
    seen = asked("--config", tmp_path / "epochs.toml", "--steps", "30")
    training = seen["space"].training
    assert "epochs" not in seen["configurations"][0]
    assert (training.epochs, training.steps, training.evaluate_every) == (None, 30, 1)


@pytest.mark.parametrize("given", ["evaluate_every = 20\n", "evaluate_every = 100\n", ""])
def test_with_epochs_a_curve_has_the_points_that_the_file_asks_for_or_one_per_epoch(
    given: str, tmp_path: Path, asked: Callable[..., dict[str, Any]]
) -> None:
    grid = STEPS.replace("step = 20", "step = 100").replace("= 400", "= 500").replace("= 20", "= 100")
    text = KNOWN_SPACE.replace("evaluate_every = 20\n", given).replace(STEPS, grid).replace("steps = 60", "steps = 100")
    (tmp_path / "mine.toml").write_text(text)
    space = load_space(tmp_path / "mine.toml")
    assert space.training.evaluate_every == (20 if "20" in given else 100)
    for file in (tmp_path / "mine.toml", tmp_path / "winner.toml"):
        training = asked("--config", file, "--epochs", "3")["space"].training
        in_steps = given and (file.stem == "mine" or "100" not in given)
        assert training.evaluate_every == (space.training.evaluate_every if in_steps else None)
        if file.stem == "mine":
            evo.export(run_of(space, space.initial[1], tmp_path / "run").folder, output=tmp_path / "winner.toml")
            assert load_space(tmp_path / "winner.toml").training == space.training


@pytest.mark.parametrize(("option", "epochs"), [("7", 7), ("3.0", 3), ("2.5", 2.5)])
def test_epochs_that_are_searched_as_whole_numbers_may_be_any_number(
    option: str, epochs: float, tmp_path: Path, asked: Callable[..., dict[str, Any]]
) -> None:
    whole = EPOCHS.replace("float", "integer").replace("1.0", "1").replace("9.0", "9")
    (tmp_path / "epochs.toml").write_text(KNOWN_SPACE.replace("steps = 60", "epochs = 2").replace(STEPS, whole))
    [config] = asked("--config", tmp_path / "epochs.toml", "--epochs", option)["configurations"]
    assert (config["epochs"], type(config["epochs"])) == (epochs, type(epochs))


BATCH_NORM = """
[genes.batch_norm]
type = "boolean"

[genes.batch_norm_place]
type = "categorical"
choices = ["activation", "layer"]
when = { batch_norm = true }
"""
SCHEDULES = """
[genes.schedule]
type = "categorical"
choices = ["constant", "cosine", "one_cycle"]

[genes.warmup]
type = "float"
low = 0.0
high = 0.4
when = { schedule = ["cosine", "one_cycle"] }
"""
REFUSED: dict[str, tuple[str, list[str], list[str]]] = {
    "an unknown key": (
        KNOWN_SPACE.replace("[training]", "[training]\nepohcs = 3"),
        [],
        ["training.epohcs: unknown key", "epochs"],
    ),
    "not TOML": ("model = ", [], ["mine.toml: not a TOML file"]),
    "not JSON": ('{"model": "mlp",}', [], ["mine.toml: not a JSON file"]),
    "a missing gene": (
        KNOWN_SPACE.replace("steps = 60\n", ""),
        [],
        ["no complete [[initial]]", "initial[0] lacks hidden_layers", "initial[1] lacks steps", "--gene NAME=VALUE"],
    ),
    "no configuration": (
        KNOWN_SPACE[: KNOWN_SPACE.index("[[initial]]")] + KNOWN_SPACE[KNOWN_SPACE.index("[genes") :],
        ["--steps", "20"],
        ["no complete [[initial]]", "what is given lacks hidden_layers, learning_rate"],
    ),
    "a value that no gene can have": (KNOWN_SPACE, ["--learning-rate", "-1"], ["--learning-rate: must lie in"]),
    "an option that the model does not read": (
        KNOWN_SPACE,
        ["--channels", "8"],
        ["--channels: neither the training nor"],
    ),
    "an option that is read only elsewhere": (
        KNOWN_SPACE,
        ["--dropout", "0.2"],
        ["--dropout: nothing reads it: it needs --gene use_dropout=true"],
    ),
    "an option that a flag of the model switches": (
        KNOWN_SPACE + BATCH_NORM,
        ["--gene", "batch_norm=false", "--batch-norm-place", "layer"],
        ["--batch-norm-place: nothing reads it: it needs --batch-norm"],
    ),
    "an option that several values of another read": (
        KNOWN_SPACE.replace('schedule = "trapezoid"\ncooldown = 0.5\n', "") + SCHEDULES,
        ["--gene", "schedule=constant", "--warmup", "0.1"],
        ["--warmup: nothing reads it: it needs --schedule cosine or --schedule one_cycle"],
    ),
    "a value of another type": (KNOWN_SPACE, ["--gene", "use_dropout=7"], ["--use-dropout: 7 is not in true | false"]),
    "another model": (KNOWN_SPACE, ["--model", "cnn"], ["genes.hidden_layers: neither", "genes.channels: needed"]),
    "steps and epochs": (KNOWN_SPACE, ["--steps", "20", "--epochs", "2"], ["both say how long to train"]),
    "an unknown name": (KNOWN_SPACE, ["--schedule", "cosin"], ["--schedule", 'Did you mean "cosine"']),
}


@pytest.mark.parametrize(("text", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_files_and_options_are_named_with_their_place(
    text: str, options: list[str], words: list[str], tmp_path: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(text)
    result = cli.invoke(app, ["train", "--config", "mine.toml", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    message = " ".join(result.stderr.split())
    for word in words:
        assert word in message
    assert not Path("results").exists()


@pytest.mark.parametrize("name", ["", "settings.json", "journal.jsonl", "evaluations.csv"])
def test_a_run_is_not_a_configuration_and_the_message_says_what_makes_one(
    name: str, known_space: Path, tmp_path: Path, cli: CliRunner
) -> None:
    run = run_of(load_space(known_space), KNOWN_CONFIG, tmp_path / "run")
    result = cli.invoke(app, ["train", "--config", str(run.folder / name)])
    assert result.exit_code == 2
    assert f"evo export {run.folder} -o winner.toml" in result.stderr


def test_an_option_is_read_wherever_its_rule_says_so_and_recipe_genes_have_defaults() -> None:
    space = load_space("mlp")
    found = chosen(space, {"schedule": "trapezoid", "warmup": 0.1, "optimiser": "sgd"}, name="mine")
    [genome] = found.initial
    assert (genome["schedule"], genome["warmup"], genome["optimiser"]) == ("trapezoid", 0.1, "sgd")
    assert "momentum" not in found.genes, "it has its default"
    assert found.training.recipe(genome, 1000).momentum == 0
