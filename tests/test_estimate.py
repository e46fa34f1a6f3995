"""A space is estimated before anything is trained, where that can be done."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.data import PreparedDataset
from evo.loop.cost import CLASSES, CostModel, counter, estimate, guessed_rates, keep_speed
from evo.space import SearchSpace
from evo.space.file import load_space
from evo.space.problems import IMAGES
from evo.training.hardware import processor_name
from tests.test_run import make_settings

SHIPPED = sorted(
    entry.name.removesuffix(".toml")
    for entry in resources.files("evo.search_spaces").iterdir()
    if entry.name.endswith(".toml")
)
GENES: dict[str, Any] = {
    "hidden_layers": evo.Layers(depth=(1, 2), width=(4, 16)),
    "learning_rate": evo.Float(1e-3, 1e-1, log=True),
}


def space(*, model: str | None = "mlp", dataset: str | None = "digits", **training: Any) -> SearchSpace:
    fixed = {"evaluate_every": 10, "batch_size": 64, "steps": 200} | training
    return SearchSpace(GENES, model=model, dataset=dataset, training=fixed)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("evo.loop.cost.resolve_engine", lambda *arguments: "eager")
    monkeypatch.setattr("evo.loop.cost.resolve_precision", lambda *arguments: "fp32")


def keep(factor: float, trainings: int) -> None:
    """Leave a speed of this machine: so many times the guess."""
    count = counter("mlp", space().training, (1, 8, 8), CLASSES, 1350, 150)
    guess, found = CostModel(count, guessed_rates("mlp")), CostModel(count, guessed_rates("mlp"))
    for width in range(trainings):
        config = {"hidden_layers": (4 + width,)}
        found.learn(config, factor * guess.seconds(config))
    settings = make_settings(objective=None, model="mlp", device_name=processor_name(), precision="fp32")
    settings.dataset = {"image_shape": [1, 8, 8]}
    keep_speed(settings, found)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_space_has_an_estimate(name: str) -> None:
    found = estimate(load_space(name))
    assert found is not None
    assert 0 < found.mean <= found.longest
    assert found.memory > 0
    assert found.cores >= 1
    assert found.trainings == 0, "it is a guess"


@pytest.mark.parametrize(
    "unknown", [{"model": None}, {"dataset": None}, {"dataset": "imagefolder"}, {"model": None, "dataset": None}]
)
def test_without_a_model_or_a_known_dataset_there_is_none(unknown: dict[str, Any]) -> None:
    assert estimate(space()) is not None
    assert estimate(space(**unknown)) is None


def test_a_space_without_steps_or_batch_size_has_none() -> None:
    for missing in ("steps", "batch_size"):
        assert estimate(space(model=None, **{missing: None})) is None


def test_a_space_that_a_gene_lacks_in_the_settings_has_one() -> None:
    genes = GENES | {"steps": evo.Integer(20, 400), "batch_size": evo.Integer(16, 64)}
    found = estimate(SearchSpace(genes, model="mlp", dataset="digits", training={"evaluate_every": 10}))
    assert found is not None
    assert found.longest > 2 * found.mean * 0.9


def test_an_estimate_is_the_same_every_time() -> None:
    assert estimate(space()) == estimate(space())


def test_the_speed_of_this_machine_is_used_and_named() -> None:
    guess = estimate(space())
    keep(3.0, trainings=12)
    fitted = estimate(space())
    assert guess is not None
    assert fitted is not None
    assert (guess.trainings, fitted.trainings) == (0, 12)
    assert fitted.mean == pytest.approx(3 * guess.mean, rel=0.01)
    assert fitted.memory == guess.memory


def test_the_total_is_that_of_so_many_cores_and_never_of_more_than_there_are_trainings() -> None:
    found = estimate(space())
    assert found is not None
    four = type(found)(2.0, 3.0, 1.0, 4, 0)
    assert [four.total(trainings) for trainings in (1, 2, 4, 8, 100)] == [2.0, 2.0, 2.0, 4.0, 50.0]


def test_the_known_datasets_are_as_they_are(digits: PreparedDataset) -> None:
    assert IMAGES["digits"] == (digits.image_shape, digits.train_count)
    assert len(digits.classes) == CLASSES


def test_check_prints_the_estimate_and_says_where_it_is_from(cli: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(
        'model = "mlp"\ndataset = "digits"\n[training]\nbatch_size = 64\nsteps = 200\nlearning_rate = 0.01\n'
        '[search]\nbudget = 30\n[genes.hidden_layers]\ntype = "layers"\ndepth = [1, 2]\nwidth = [4, 16]\n'
    )

    def line() -> str:
        result = cli.invoke(app, ["check", str(file)])
        assert result.exit_code == 0, result.output
        text = " ".join(result.stdout.split())
        return text[text.index("estimate") :]

    assert line().startswith("estimate (a guess): a training takes ")
    assert "; 30 of them and 9 of the finalists take " in line()
    assert line().endswith(" MB.")
    keep(3.0, trainings=12)
    assert line().startswith("estimate (fitted to 12 trainings on this machine): a training takes ")


def test_check_says_so_where_there_is_none(cli: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "objective.toml"
    file.write_text('[genes.x]\ntype = "boolean"\n')
    result = cli.invoke(app, ["check", str(file)])
    assert result.exit_code == 0, result.output
    assert "estimate: none before model, dataset (cifar10 or digits), steps and batch size are known." in " ".join(
        result.stdout.split()
    )


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"mlp": 3}'])
def test_a_damaged_calibration_does_not_keep_a_space_from_being_checked(
    text: str, cli: CliRunner, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "calibration.json").write_text(text)
    result = cli.invoke(app, ["check", "digits"])
    assert result.exit_code == 0, result.output
    assert "a guess" in result.stdout
