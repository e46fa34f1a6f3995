"""Listed configurations are trained on several seeds each, as a run that can be resumed and extended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.cli.commands.configuration import configuration_of
from evo.errors import ConfigurationError
from evo.individual import Genome, training_seed
from evo.loop.deadline import Stop
from evo.loop.execution import Execution
from evo.loop.listed import space_of, train_configurations
from evo.record.run import Run
from evo.record.settings import LISTED

SMALL: Genome = {"hidden_layers": (8,), "learning_rate": 0.01, "batch_size": 64, "steps": 20, "batch_norm": False}
OTHER: Genome = {**SMALL, "hidden_layers": (8, 4), "batch_norm": True}
FIXED = {"evaluate_every": 10}
CLOCK = ["seconds", "worker", "started", "seconds_before"]

pytestmark = pytest.mark.usefixtures("in_process")


def trained(output: Path, configurations: tuple[Genome, ...] = (SMALL, OTHER), **arguments: Any) -> Run:
    space = space_of(configurations, name="tried", model="mlp", dataset="digits", training=FIXED)
    return train_configurations(space, configurations, Execution(output=output, workers=1), **arguments)


def table(run: Run) -> Any:
    return run.table.drop(columns=CLOCK)


def test_every_configuration_is_trained_on_every_seed(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", seeds=3, seed=5)
    assert sorted(run.evaluations) == [(individual, seed) for individual in (0, 1) for seed in range(3)]
    assert [individual.genome for individual in run.individuals] == [SMALL, OTHER]
    for (individual, replicate), evaluation in run.evaluations.items():
        assert evaluation.complete
        assert evaluation.seed == training_seed(5, run.individuals[individual].genome, replicate)
    assert len({evaluation.fitness for evaluation in run.evaluations.values()}) > 1
    assert evo.load(tmp_path / "run").table.equals(run.table)
    assert (tmp_path / "run" / "curves.csv").is_file()


def test_it_does_not_depend_on_the_number_of_workers_or_on_what_else_is_listed(tmp_path: Path) -> None:
    together = trained(tmp_path / "together", seeds=2)
    alone = trained(tmp_path / "alone", (OTHER,), seeds=2)
    assert [alone.evaluations[0, seed].curve for seed in (0, 1)] == [
        together.evaluations[1, seed].curve for seed in (0, 1)
    ]


def test_a_run_that_is_stopped_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", seeds=2)

    class StopAfter:
        def __init__(self, count: int):
            self.left = count

        def __call__(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Stop("enough", 75)

    with pytest.raises(Stop):
        trained(tmp_path / "stopped", seeds=2, stop_check=StopAfter(2))
    assert 0 < len(evo.load(tmp_path / "stopped").evaluations) < 4
    resumed = evo.resume(tmp_path / "stopped", workers=1)
    assert table(resumed).equals(table(whole))
    assert resumed.curves.equals(whole.curves)
    assert resumed.populations.equals(whole.populations)


def test_more_seeds_extend_it_and_leave_what_is_there(tmp_path: Path) -> None:
    before = table(trained(tmp_path / "run"))
    extended = evo.resume(tmp_path / "run", seeds=3, workers=1)
    assert extended.settings.seeds == 3
    assert len(extended.table) == 6
    assert table(extended).query("replicate == 0").reset_index(drop=True).equals(before)
    assert table(evo.resume(tmp_path / "run", workers=1)).equals(table(extended))
    assert evo.load(tmp_path / "run").settings.strategy == LISTED


def test_the_first_seeds_are_trained_first(tmp_path: Path) -> None:
    order: list[int] = []

    class Watcher(evo.loop.search_loop.SilentObserver):  # type: ignore[name-defined]  # a module that was imported above
        def evaluated(self, run: Run, evaluation: Any, seconds_left: float | None) -> None:
            order.append(evaluation.replicate)

    trained(tmp_path / "run", seeds=3, observer=Watcher())
    assert order == sorted(order)


def test_weights_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    trained(tmp_path / "kept", (SMALL,), seeds=2, keep_weights=True)
    assert sorted(path.name for path in (tmp_path / "kept" / "weights").iterdir()) == [
        "0-0.safetensors",
        "0-1.safetensors",
    ]
    trained(tmp_path / "dropped", (SMALL,))
    assert not (tmp_path / "dropped" / "weights").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seeds": 0}, "--seeds: must be a whole number of at least 1, got 0"),
        ({"seeds": 101}, "--seeds: must be at most 100, got 101"),
        ({"seed": -1}, "--seed: must be a whole number of at least 0"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, int], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        trained(tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_bounds_of_a_search_do_not_fit_it_nor_its_seeds_a_search(tmp_path: Path) -> None:
    trained(tmp_path / "listed", seeds=2)
    for bound in ("budget", "generations", "finalists"):
        with pytest.raises(ConfigurationError, match=f"--{bound}: .* searches nothing; --seeds extends it"):
            evo.resume(tmp_path / "listed", **{bound: 3})
    with pytest.raises(ConfigurationError, match=r"--seeds: .* was asked for 2 already, got 1"):
        evo.resume(tmp_path / "listed", seeds=1)
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    evo.search(space, lambda config: config["x"], budget=2, population=2, output=tmp_path / "search")
    with pytest.raises(ConfigurationError, match=r"--seeds: .* is a search; --budget"):
        evo.resume(tmp_path / "search", lambda config: config["x"], seeds=3)


def test_a_space_of_configurations_holds_just_them() -> None:
    space = space_of([SMALL, OTHER], name="tried", model="mlp")
    assert all(space.problems(configuration) == [] for configuration in (SMALL, OTHER))
    assert space.problems({**SMALL, "hidden_layers": (9,)})
    assert space.problems({**SMALL, "learning_rate": 0.02})
    assert space.initial == (SMALL, OTHER)


def test_wrong_values_are_named_as_options() -> None:
    wrong: Genome = {**SMALL, "learning_rate": -1.0, "batch_size": 0, "channels": (3,)}
    with pytest.raises(ConfigurationError) as error:
        space_of([wrong], name="train", model="mlp")
    for words in ("--learning-rate: must lie in", "--batch-size: must lie in", "--channels: neither"):
        assert words in str(error.value)
    assert "genes." not in str(error.value)


def test_options_become_a_configuration_with_the_defaults_of_the_model() -> None:
    options = {"hidden_layers": "30,20", "dropout": None, "steps": 5}
    configuration, fixed = configuration_of(
        "mlp", options, ["width=8", "flag=true", "rate=1e-3", "sizes=3,4", "a=b"], {}
    )
    assert configuration == {
        "learning_rate": 1e-3,
        "batch_size": 200,
        "hidden_layers": (30, 20),
        "steps": 5,
        "width": 8,
        "flag": True,
        "rate": 1e-3,
        "sizes": (3, 4),
        "a": "b",
    }
    assert fixed == {}
    configuration, fixed = configuration_of("numpy_mlp", {}, [], {"optimiser": None, "evaluate_every": 7})
    assert configuration == {"learning_rate": 2e-3, "batch_size": 200, "steps": 1500, "hidden_layers": (100,)}
    assert fixed == {"optimiser": "sgd", "preprocess": "subtract_mean_image", "evaluate_every": 7}


@pytest.mark.parametrize("text", ["no sign", "=3"])
def test_a_gene_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--gene: must be NAME=VALUE"):
        configuration_of("mlp", {}, [text], {})


TRAIN = ("train", "--dataset", "digits", "--steps", "20", "--evaluate-every", "10", "--workers", "1", "-q")


def test_the_command_trains_writes_figures_and_says_how_to_go_on(cli: CliRunner, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = cli.invoke(app, [*TRAIN, "--hidden-layers", "8", "--seeds", "2", "--save", "-o", str(folder)])
    assert result.exit_code == 0, result.output
    assert "validation accuracy" in result.stdout
    assert "(n = 2)" in result.stdout
    assert f"evo resume {folder} --seeds 4" in result.stdout
    for kind in ("png", "svg"):
        assert {path.name for path in (folder / "figures").glob(f"*.{kind}")} == {f"accuracy.{kind}", f"loss.{kind}"}
    assert (folder / "weights" / "0-1.safetensors").is_file()
    again = cli.invoke(app, ["resume", str(folder), "--seeds", "3", "-q", "--workers", "1"])
    assert again.exit_code == 0, again.output
    assert "(n = 3)" in again.stdout


def test_the_command_trains_a_model_of_the_users_own(
    cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "narrow_model.py").write_text(
        "import math, torch\n"
        "def build(config, shape, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), config['width']),\n"
        "        torch.nn.Linear(config['width'], classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    result = cli.invoke(app, [*TRAIN, "--model", "narrow_model:build", "--gene", "width=3", "-o", "run"])
    assert result.exit_code == 0, result.output
    assert "--seeds 3 --model narrow_model:build" in result.stdout
    assert evo.load("run").individuals[0].genome["width"] == 3


def test_the_command_refuses_what_the_model_does_not_read(cli: CliRunner, tmp_path: Path) -> None:
    result = cli.invoke(app, [*TRAIN, "--channels", "8", "-o", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "--channels: neither the training nor the model" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_training_that_diverges_is_said_and_fails(cli: CliRunner, tmp_path: Path) -> None:
    options = ["--optimiser", "sgd", "--learning-rate", "1e30", "-o", str(tmp_path / "run")]
    result = cli.invoke(app, [*TRAIN, *options])
    assert result.exit_code == 1
    assert "diverged" in result.stdout


def test_more_seeds_than_there_are_replicates_are_refused_also_at_a_resume(tmp_path: Path) -> None:
    trained(tmp_path / "run", (SMALL,))
    with pytest.raises(ConfigurationError, match="--seeds: must be at most 100, got 103"):
        evo.resume(tmp_path / "run", seeds=103)
    assert evo.load(tmp_path / "run").settings.seeds == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hidden_layers": (0,)}, "--hidden-layers: "),
        ({"steps": 20.5}, "--steps: must lie in"),
        ({"learning_rate": float("nan")}, "--learning-rate: "),
    ],
)
def test_values_that_no_gene_can_have_are_named_as_options_too(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        space_of([{**SMALL, **values}], name="train", model="mlp")
