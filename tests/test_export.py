"""A winner is exported to a file, and the file trains it again to the last bit."""

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
from evo.errors import ConfigurationError, RunError, SearchError
from evo.evaluation import Evaluation
from evo.individual import Individual
from evo.loop.export import winner_text
from evo.record.run import Run
from evo.reports.genome_commands import genome_text
from evo.space import SearchSpace
from evo.space.chosen import chosen
from evo.space.file import load_space, space_from_text
from evo.space.text import json_text, space_values, toml_text
from tests.conftest import KNOWN_CONFIG
from tests.images import FACTS
from tests.reports.runs import paused_run, written_by_hand
from tests.spaces import space_of_every_kind, spaces

DIGITS = {**FACTS, "name": "digits", "data_dir": None}


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


def test_it_is_a_plain_space_file_that_can_be_searched(known_space: Path, tmp_path: Path) -> None:
    space = load_space(known_space)
    text = evo.export(run_of(space, KNOWN_CONFIG, tmp_path / "run").folder)
    read = space_from_text(text, name="mine")
    assert read.genes == space.genes
    assert read.initial == (KNOWN_CONFIG,)
    assert (read.model, read.dataset) == ("mlp", "digits")
    assert read.training == space.training
    assert "The best of run, individual 0: validation accuracy 0.5000 in the search" in text


def test_python_and_the_command_say_the_same(known_space: Path, tmp_path: Path, cli: CliRunner) -> None:
    run = run_of(load_space(known_space), KNOWN_CONFIG, tmp_path / "run")
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
    command = f"evo train --config {tmp_path / 'own.toml'} --model my_model:build --fitness test --seed 0"
    assert f"wrote {tmp_path / 'own.toml'}; {command} trains it" in result.stderr
    evo.search(SearchSpace({"x": evo.Float(0.0, 1.0)}), lambda config: config["x"], budget=3, output=tmp_path / "f")
    result = cli.invoke(app, ["export", str(tmp_path / "f"), "-o", str(tmp_path / "f.toml")])
    assert result.stderr.strip() == f"wrote {tmp_path / 'f.toml'}", "evo cannot train an objective"
    assert "training" not in tomllib.loads((tmp_path / "f.toml").read_text())


def test_the_command_names_the_users_own_folder_of_the_data(known_space: Path, tmp_path: Path) -> None:
    own = {**DIGITS, "data_dir": "/my own/images"}
    run = run_of(load_space(known_space), KNOWN_CONFIG, tmp_path / "run", dataset=own)
    assert "# evo train --config THIS_FILE --data-dir '/my own/images' --seed 0\n" in winner_text(run)
    assert "--dataset digits --data-dir '/my own/images' --seed 0" in genome_text(run, KNOWN_CONFIG)


def test_a_winner_outside_its_space_is_exported_all_the_same(known_space: Path, tmp_path: Path) -> None:
    run = run_of(load_space(known_space), KNOWN_CONFIG, tmp_path / "run")
    run.individuals[0].genome.update(steps=990, learning_rate=0.5)  # as report2019 does
    read = space_from_text(winner_text(run), name="mine")
    assert chosen(read, name="train").initial == ({**KNOWN_CONFIG, "steps": 990, "learning_rate": 0.5},)


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
    with pytest.raises(ConfigurationError, match=r"--weights: the objective of run .* takes no trial"):
        evo.export(tmp_path / "run", weights=tmp_path / "weights.safetensors")


def test_without_a_complete_evaluation_there_is_nothing_to_export(tmp_path: Path) -> None:
    space = SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = written_by_hand([Individual(0, {"x": 0.5})], [], space, tmp_path / "run")
    with pytest.raises(RunError, match="no evaluation of this run is complete"):
        evo.export(run.folder)


def test_a_search_that_is_not_finished_exports_its_best_and_says_so(
    known_space: Path, tmp_path: Path, cli: CliRunner
) -> None:
    run = run_of(load_space(known_space), KNOWN_CONFIG, tmp_path / "run")
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
