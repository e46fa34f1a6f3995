"""A winner is exported to a file, and the file trains it again; options change what a file says."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.cli.commands import configuration
from evo.errors import ConfigurationError, RunError, SearchError
from evo.evaluation import Evaluation
from evo.individual import Individual
from evo.loop.export import winner_text
from evo.record.run import Run
from evo.space import SearchSpace
from evo.space.chosen import chosen
from evo.space.file import load_space, shipped_spaces, shipped_text, space_from_text
from evo.space.text import json_text, space_values, toml_text
from tests.images import FACTS
from tests.reports.runs import paused_run, written_by_hand
from tests.spaces import space_of_every_kind, spaces

DIGITS = {**FACTS, "name": "digits", "data_dir": None}
FILE = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 20
batch_size = 64
schedule = "trapezoid"
cooldown = 0.5

[[initial]]
learning_rate = 1e-3

[[initial]]
hidden_layers = [16, 8]
learning_rate = 0.012345678901234567
steps = 60
optimiser = "sgd"
momentum = 0.9
use_dropout = false

[genes.hidden_layers]
type = "layers"
depth = [1, 3]
width = [4, 64]

[genes.learning_rate]
type = "float"
low = 1e-5
high = 1e-1
log = true

[genes.steps]
type = "integer"
low = 20
high = 400
step = 20

[genes.optimiser]
type = "categorical"
choices = ["adam", "sgd"]

[genes.momentum]
type = "float"
low = 0.0
high = 0.99
when = { optimiser = "sgd" }

[genes.use_dropout]
type = "boolean"

[genes.dropout]
type = "float"
low = 0.05
high = 0.5
when = { use_dropout = true }
"""
CONFIG = {
    "hidden_layers": (16, 8),
    "learning_rate": 0.012345678901234567,
    "steps": 60,
    "optimiser": "sgd",
    "momentum": 0.9,
    "use_dropout": False,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(FILE)
    return tmp_path / "mine.toml"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, cli: CliRunner) -> Callable[..., dict[str, Any]]:
    """Return what `evo train` would train with some options."""

    def ask(*options: str | Path) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def trained(*asked: Any, **more: Any) -> None:
            seen.update(zip(("space", "configurations", "execution"), asked, strict=True), **more)
            raise KeyboardInterrupt

        monkeypatch.setattr(configuration, "train_configurations", trained)
        result = cli.invoke(app, ["train", *map(str, options)])
        assert result.exit_code == 130, result.output
        return seen

    return ask


def run_of(space: SearchSpace, config: dict[str, Any], output: Path, **more: Any) -> Run:
    named = {"objective": None, "model": space.model, "dataset": DIGITS, **more}
    return written_by_hand([Individual(0, config)], [Evaluation(0, 0, 1, "complete", 0.5)], space, output, **named)


def check_same(first: Any, second: Any) -> None:
    assert first == second
    assert {name: type(value) for name, value in first.items()} == {n: type(value) for n, value in second.items()}


@settings(max_examples=150)
@given(spaces() | st.just(space_of_every_kind()), st.randoms(use_true_random=False), st.booleans())
def test_a_configuration_comes_back_from_its_file_to_the_last_digit(
    space: SearchSpace, rng: random.Random, as_json: bool
) -> None:
    """Every kind of gene, with conditions, texts that look like numbers, and numbers of 17 digits."""
    config = space.sample(rng)
    values = space_values(space, config, description='He said "no".\\ é')
    read = space_from_text((json_text if as_json else toml_text)(values), name=space.name)
    check_same(chosen(read, name="train").initial[0], config)
    assert read.genes == space.genes
    assert {**read.to_dict(), "initial": []} == {**space.to_dict(), "initial": []}


@pytest.mark.usefixtures("in_process", "quick_models")
@pytest.mark.parametrize("kind", ["toml", "json"])
def test_an_exported_winner_is_trained_again_to_the_last_bit(
    tiny_space: Path, tmp_path: Path, cli: CliRunner, kind: str
) -> None:
    run = evo.search(tiny_space, budget=4, population=2, seed=3, finalists=1, output=tmp_path / "run")
    file = tmp_path / f"winner.{kind}"
    result = cli.invoke(app, ["export", str(tmp_path / "run"), "--format", kind, "-o", str(file)])
    assert (result.exit_code, result.stdout) == (0, "")
    words = ["train", "--config", str(file), "--seed", "3", "--workers", "1", "-q", "-o", str(tmp_path / "again")]
    result = cli.invoke(app, words)
    assert result.exit_code == 0, result.output
    again = evo.load(tmp_path / "again")
    check_same(again.best.config, run.best.config)
    assert again.best.evaluation.curve == run.evaluations[run.best.id, 0].curve
    assert again.best.evaluation.seed == run.evaluations[run.best.id, 0].seed
    assert json.dumps(again.space.training.model_dump()) == json.dumps(run.space.training.model_dump())


def test_it_is_a_plain_space_file_that_can_be_searched(file: Path, tmp_path: Path) -> None:
    space = load_space(file)
    text = evo.export(run_of(space, CONFIG, tmp_path / "run").folder)
    read = space_from_text(text, name="mine")
    assert read.genes == space.genes
    assert read.initial == (CONFIG,)
    assert (read.model, read.dataset) == ("mlp", "digits")
    assert read.training == space.training
    assert "The best of run, individual 0: validation accuracy 0.5000 in the search" in text


def test_python_and_the_command_say_the_same(file: Path, tmp_path: Path, cli: CliRunner) -> None:
    run = run_of(load_space(file), CONFIG, tmp_path / "run")
    for kind in ("toml", "json"):
        text = evo.export(run.folder, format=kind, output=tmp_path / kind)
        assert text == (tmp_path / kind).read_text() == winner_text(run, kind)
        assert cli.invoke(app, ["export", str(run.folder), "--format", kind]).stdout == text
    values = tomllib.loads((tmp_path / "toml").read_text())
    assert values == json.loads((tmp_path / "json").read_text())


def test_a_model_of_ones_own_is_named_and_must_be_given_again(
    tmp_path: Path, asked: Callable[..., dict[str, Any]], cli: CliRunner
) -> None:
    space = SearchSpace(
        {"width": evo.Integer(4, 64), "learning_rate": evo.Float(1e-5, 1e-1), "gate": evo.Boolean()},
        dataset="digits",
        training={"batch_size": 50, "steps": 60},
    )
    config = {"width": 9, "learning_rate": 0.05, "gate": True}
    run = run_of(space, config, tmp_path / "run", model="my_model:build")
    file = tmp_path / "winner.toml"
    assert "my_model:build" in evo.export(run.folder, output=file)
    assert "model" not in tomllib.loads(file.read_text())
    refused = cli.invoke(app, ["train", "--config", str(file)])
    assert refused.exit_code == 2
    assert "names no model to train; give --model" in refused.stderr
    seen = asked("--config", file, "--model", "my_model:build")
    assert seen["configurations"] == [config]
    assert seen["space"].model == "my_model:build"


def test_the_command_that_is_printed_trains_what_was_written(tmp_path: Path, cli: CliRunner) -> None:
    space = SearchSpace({"width": evo.Integer(4, 64)}, training={"batch_size": 50, "steps": 60, "learning_rate": 0.1})
    run = run_of(space, {"width": 9}, tmp_path / "run", model="my_model:build", fitness="test")
    result = cli.invoke(app, ["export", str(run.folder), "-o", str(tmp_path / "own.toml")])
    command = f"evo train --config {tmp_path / 'own.toml'} --model my_model:build --seed 0 --fitness test"
    assert f"wrote {tmp_path / 'own.toml'}; {command} trains it" in result.stderr
    evo.search(SearchSpace({"x": evo.Float(0.0, 1.0)}), lambda config: config["x"], budget=3, output=tmp_path / "f")
    result = cli.invoke(app, ["export", str(tmp_path / "f"), "-o", str(tmp_path / "f.toml")])
    assert result.stderr.strip() == f"wrote {tmp_path / 'f.toml'}", "evo cannot train an objective"
    assert "training" not in tomllib.loads((tmp_path / "f.toml").read_text())


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


def test_a_winner_outside_its_space_is_exported_all_the_same(file: Path, tmp_path: Path) -> None:
    run = run_of(load_space(file), CONFIG, tmp_path / "run")
    run.individuals[0].genome.update(steps=990, learning_rate=0.5)  # as report2019 does
    read = space_from_text(winner_text(run), name="mine")
    assert chosen(read, name="train").initial == ({**CONFIG, "steps": 990, "learning_rate": 0.5},)


def test_what_an_older_version_searched_in_vain_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SearchSpace(
        {
            "hidden_layers": evo.Layers(depth=(1, 2), width=(4, 8)),
            "learning_rate": evo.Float(1e-5, 1e-1),
            "batch_norm_kind": evo.Categorical(["torch", "manual"]),
        },
        model="mlp",
        dataset="digits",
        training={"batch_size": 50, "steps": 60},
        older=True,
    )
    written = space.to_dict() | {"training": {"batch_size": 50, "steps": 60, "optimiser": "sgd"}}
    monkeypatch.setattr(space, "to_dict", lambda: written)
    config = {"hidden_layers": (4,), "learning_rate": 0.01, "batch_norm_kind": "manual"}
    run = run_of(space, config, tmp_path / "run")
    read = space_from_text(winner_text(run), name="mine")
    assert read.initial == ({"hidden_layers": (4,), "learning_rate": 0.01},)
    assert (read.training.steps, read.training.optimiser) == (60, "sgd")


def test_an_objectives_winner_is_a_file_too_and_has_no_weights(tmp_path: Path) -> None:
    space = SearchSpace({"x": evo.Float(0.0, 1.0)})
    evo.search(space, lambda config: config["x"], budget=4, population=2, seed=1, output=tmp_path / "run")
    best = evo.load(tmp_path / "run").best
    assert space_from_text(evo.export(tmp_path / "run"), name="x").initial == (best.config,)
    with pytest.raises(ConfigurationError, match=r"--weights: run .* has an objective"):
        evo.export(tmp_path / "run", weights=tmp_path / "weights.safetensors")


def test_without_a_complete_evaluation_there_is_nothing_to_export(tmp_path: Path) -> None:
    space = SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = written_by_hand([Individual(0, {"x": 0.5})], [], space, tmp_path / "run")
    with pytest.raises(RunError, match="no evaluation of this run is complete"):
        evo.export(run.folder)


def test_a_search_that_is_not_finished_exports_its_best_and_says_so(file: Path, tmp_path: Path, cli: CliRunner) -> None:
    run = run_of(load_space(file), CONFIG, tmp_path / "run")
    result = cli.invoke(app, ["export", str(run.folder)])
    assert "is not finished: this is the best so far, individual 0" in result.stderr


def test_where_only_paused_trainings_are_known_the_file_says_how_far_the_best_went(
    tmp_path: Path, cli: CliRunner
) -> None:
    run = paused_run(tmp_path / "run")
    result = cli.invoke(app, ["export", str(run.folder)])
    assert "best so far, individual 1, whose training paused at step 300\n" in result.stderr
    assert "individual 1, whose training paused at step 300: validation accuracy 0.5" in result.stdout


@pytest.mark.usefixtures("in_process", "quick_models")
def test_weights_are_those_of_the_winner_and_no_file_is_replaced_unasked(tiny_space: Path, tmp_path: Path) -> None:
    run = evo.search(tiny_space, budget=3, population=3, seed=3, finalists=1, output=tmp_path / "run")
    weights = tmp_path / "winner.safetensors"
    evo.export(run.folder, weights=weights)
    _, facts = evo.load_model(weights)
    assert facts["config"] == json.loads(json.dumps(run.best.config))
    assert facts["measured"]["validation_accuracy"] == run.evaluations[run.best.id, 0].fitness
    for option in ("weights", "output"):
        with pytest.raises(ConfigurationError, match=rf"--{option} .*: exists"):
            evo.export(run.folder, **{option: weights})  # type: ignore[arg-type]  # both take a path
    with pytest.raises(ConfigurationError, match="is the file of --output, too"):
        evo.export(run.folder, output=tmp_path / "new", weights=tmp_path / "new")
    evo.export(run.folder, weights=weights, overwrite=True)


@pytest.mark.usefixtures("in_process", "quick_models")
def test_the_command_writes_weights_beside_the_text_and_says_how_to_load_them(
    tiny_space: Path, tmp_path: Path, cli: CliRunner
) -> None:
    run = evo.search(tiny_space, budget=3, population=3, seed=3, finalists=0, output=tmp_path / "run")
    weights = tmp_path / "winner.safetensors"
    result = cli.invoke(app, ["export", str(run.folder), "--weights", str(weights)])
    assert result.exit_code == 0, result.output
    assert tomllib.loads(result.stdout)["initial"] == [json.loads(json.dumps(run.best.config))]
    assert f"evo.load_model('{weights}')" in result.stderr
    assert weights.is_file()


@pytest.mark.usefixtures("in_process", "quick_models")
def test_weights_that_bring_nothing_back_are_an_error(
    tiny_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evo.search(tiny_space, budget=3, population=3, seed=3, finalists=0, output=tmp_path / "run")
    monkeypatch.setattr("evo.loop.replay._problem_here", lambda *given: "it is random")
    with pytest.raises(SearchError, match="nothing was written: it is random"):
        evo.export(run.folder, weights=tmp_path / "winner.safetensors")
    assert not (tmp_path / "winner.safetensors").exists()


def test_the_first_complete_configuration_of_a_file_is_trained(
    file: Path, asked: Callable[..., dict[str, Any]]
) -> None:
    seen = asked("--config", file)
    check_same(seen["configurations"][0], CONFIG)
    assert seen["space"].training == load_space(file).training


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
    file: Path,
    asked: Callable[..., dict[str, Any]],
    options: list[str],
    genes: dict[str, Any],
    fixed: dict[str, Any],
) -> None:
    seen = asked("--config", file, *options)
    without_none = {name: value for name, value in {**CONFIG, **genes}.items() if value is not None}
    assert seen["configurations"] == [without_none]
    before = load_space(file).training.model_dump()
    assert seen["space"].training.model_dump() == {**before, **fixed}


EPOCHS = '[genes.epochs]\ntype = "float"\nlow = 1.0\nhigh = 9.0\n'
STEPS = FILE[FILE.index("[genes.steps]") : FILE.index("[genes.optimiser]")]


@pytest.mark.parametrize(
    "text",
    [
        FILE.replace("steps = 60", "epochs = 2.0").replace(STEPS, EPOCHS),
        FILE.replace("steps = 60\n", "").replace(STEPS, "").replace("[training]", "[training]\nepochs = 2.0"),
    ],
    ids=["a gene", "a setting"],
)
def test_steps_replace_the_epochs_of_a_file(text: str, tmp_path: Path, asked: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "epochs.toml").write_text(text)
    seen = asked("--config", tmp_path / "epochs.toml", "--steps", "30")
    training = seen["space"].training
    assert "epochs" not in seen["configurations"][0]
    assert (training.epochs, training.steps, training.evaluate_every) == (None, 30, 1)


@pytest.mark.parametrize(("option", "epochs"), [("7", 7), ("3.0", 3), ("2.5", 2.5)])
def test_epochs_that_are_searched_as_whole_numbers_may_be_any_number(
    option: str, epochs: float, tmp_path: Path, asked: Callable[..., dict[str, Any]]
) -> None:
    whole = EPOCHS.replace("float", "integer").replace("1.0", "1").replace("9.0", "9")
    (tmp_path / "epochs.toml").write_text(FILE.replace("steps = 60", "epochs = 2").replace(STEPS, whole))
    [config] = asked("--config", tmp_path / "epochs.toml", "--epochs", option)["configurations"]
    assert (config["epochs"], type(config["epochs"])) == (epochs, type(epochs))


REFUSED: dict[str, tuple[str, list[str], list[str]]] = {
    "an unknown key": (
        FILE.replace("[training]", "[training]\nepohcs = 3"),
        [],
        ["training.epohcs: unknown key", "epochs"],
    ),
    "not TOML": ("model = ", [], ["mine.toml: not a TOML file"]),
    "not JSON": ('{"model": "mlp",}', [], ["mine.toml: not a JSON file"]),
    "a missing gene": (
        FILE.replace("steps = 60\n", ""),
        [],
        ["no complete [[initial]]", "initial[0] lacks hidden_layers", "initial[1] lacks steps", "--gene NAME=VALUE"],
    ),
    "no configuration": (
        FILE[: FILE.index("[[initial]]")] + FILE[FILE.index("[genes") :],
        ["--steps", "20"],
        ["no complete [[initial]]", "what is given lacks hidden_layers, learning_rate"],
    ),
    "a value that no gene can have": (FILE, ["--learning-rate", "-1"], ["--learning-rate: must lie in"]),
    "an option that the model does not read": (FILE, ["--channels", "8"], ["--channels: neither the training nor"]),
    "an option that is read only elsewhere": (
        FILE,
        ["--dropout", "0.2"],
        ["--dropout: nothing reads it: it needs --use-dropout True"],
    ),
    "a value of another type": (FILE, ["--gene", "use_dropout=7"], ["--use-dropout: 7 is not in true | false"]),
    "another model": (FILE, ["--model", "cnn"], ["genes.hidden_layers: neither", "genes.channels: needed"]),
    "steps and epochs": (FILE, ["--steps", "20", "--epochs", "2"], ["both say how long to train"]),
    "an unknown name": (FILE, ["--schedule", "cosin"], ["--schedule", 'Did you mean "cosine"']),
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
    name: str, file: Path, tmp_path: Path, cli: CliRunner
) -> None:
    run = run_of(load_space(file), CONFIG, tmp_path / "run")
    result = cli.invoke(app, ["train", "--config", str(run.folder / name)])
    assert result.exit_code == 2
    assert f"evo export {run.folder} -o winner.toml" in result.stderr


def test_the_file_of_a_shipped_space_is_printed_as_it_is(cli: CliRunner) -> None:
    for name in shipped_spaces():
        result = cli.invoke(app, ["spaces", "--show", name])
        assert (result.exit_code, result.stdout) == (0, shipped_text(name))
    refused = cli.invoke(app, ["spaces", "--show", "mpl"])
    assert refused.exit_code == 2
    assert 'Did you mean "mlp"?' in refused.stderr


def test_a_search_without_the_configurations_of_the_space(tmp_path: Path) -> None:
    known = {"x": 0.123}
    space = SearchSpace({"x": evo.Float(0.0, 1.0)}, initial=[known])
    runs = [
        evo.search(space, lambda config: config["x"], budget=4, population=2, seed=1, no_initial=left_out, **more)
        for left_out in (False, True)
        for more in ({}, {"initial": [{"x": 0.5}]})  # the caller's own stay
    ]
    tried = [[individual.genome["x"] for individual in run.individuals] for run in runs]
    assert [0.123 in values for values in tried] == [True, True, False, False]
    assert [0.5 in values for values in tried] == [False, True, False, True]
    assert runs[2].settings.digest != runs[0].settings.digest


def test_the_command_leaves_them_out_too(
    tmp_path: Path, file: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def search(**asked: Any) -> None:
        seen.update(asked)
        raise KeyboardInterrupt

    monkeypatch.setattr(evo, "search", search)
    cli.invoke(app, ["search", str(file), "--no-initial"])
    assert seen["no_initial"] is True


def test_an_option_is_read_wherever_its_rule_says_so_and_recipe_genes_have_defaults() -> None:
    space = load_space("mlp")
    found = chosen(space, {"schedule": "trapezoid", "warmup": 0.1, "optimiser": "sgd"}, name="mine")
    [genome] = found.initial
    assert (genome["schedule"], genome["warmup"], genome["optimiser"]) == ("trapezoid", 0.1, "sgd")
    assert "momentum" not in found.genes, "it has its default"
    assert found.training.recipe(genome, 1000).momentum == 0
