"""Searches on data that a person gives: the same table from every form of them, and a result or a clear error each."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.data.cifar10 import FOLDER, cifar10_source
from evo.loop.deadline import Stop
from evo.training.saved_model import loading_code
from tests.command import run_command
from tests.data.given_arrays import four, images, labels
from tests.data.test_cifar10 import make_batches
from tests.images import write_images

KEYS = ("x_train", "y_train", "x_test", "y_test")
MLP = """
model = "mlp"

[training]
evaluate_every = 5
batch_size = 8
learning_rate = 0.01

[genes.hidden_layers]
type = "layers"
depth = [1, 2]
width = [4, 8]

[genes.steps]
type = "integer"
low = 10
high = 20
"""
CNN = MLP.replace('"mlp"', '"cnn"').replace("hidden_layers", "channels")
POOLED = CNN + '\n[genes.block]\ntype = "categorical"\nchoices = ["pooled"]\n'


def searched(space: str, output: Path, **options: Any) -> evo.Run:
    file = output.with_suffix(".toml")
    file.write_text(space)
    asked = {"budget": 3, "population": 3, "finalists": 1, "seed": 1, "workers": 1, **options}
    return evo.search(file, output=output, **asked)


def table(run: evo.Run) -> pd.DataFrame:
    clocks = ["seconds", "seconds_before", "started", "worker"]
    tables = [run.table, run.finalist_table]
    return pd.concat([one.drop(columns=clocks, errors="ignore") for one in tables], ignore_index=True)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, known = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if name.startswith("mine_"):
            del sys.modules[name]


@pytest.fixture
def tiny_cifar10(modules: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Write torchvision's root with sixty images; return pixels and labels, those of the test last."""
    md5, pixels, known = make_batches(modules / "root" / FOLDER, rows=10, labels=np.tile(np.arange(10), (6, 1)))
    own = {"train_md5": dict(list(md5.items())[:5]), "test_md5": dict(list(md5.items())[5:]), "images_per_batch": 10}
    for name, value in own.items():
        monkeypatch.setitem(cifar10_source.__kwdefaults__, name, value)
    return pixels.reshape(-1, 3, 32, 32), known.ravel()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("space", [MLP, CNN], ids=["mlp", "cnn"])
def test_the_same_pixels_give_the_same_table_however_they_are_given(
    space: str, modules: Path, tiny_cifar10: tuple[np.ndarray, np.ndarray]
) -> None:
    given = four(*tiny_cifar10, 10)
    np.savez("data.npz", **dict(zip(KEYS, given, strict=True)))
    (modules / "mine_pixels.py").write_text(
        f"import numpy as np\ndef load():\n    file = np.load('data.npz')\n    return [file[name] for name in {KEYS}]\n"
    )
    x_train, y_train, x_test, y_test = map(torch.from_numpy, given)
    last = given[0].transpose(0, 2, 3, 1), given[2].transpose(0, 2, 3, 1)
    forms: dict[str, dict[str, Any]] = {
        "arrays": {"data": given},
        "channels_last": {"data": (last[0], given[1], last[1], given[3])},
        "tensors": {"data": (x_train, y_train, x_test, y_test)},
        "datasets": {"data": (TensorDataset(x_train / 255, y_train), TensorDataset(x_test / 255, y_test))},
        "npz": {"data_dir": "data.npz"},
        "function": {"dataset": "mine_pixels:load"},
        "torchvision": {"dataset": "cifar10", "data_dir": "root"},
    }
    tables = {name: table(searched(space, modules / name, **form)) for name, form in forms.items()}
    assert tables["arrays"]["test_accuracy"].notna().any()
    for found in tables.values():
        pd.testing.assert_frame_equal(found, tables["arrays"])


def kinds_of_data() -> dict[str, tuple[str, Any, Any]]:
    """Return spaces and data that must give a result."""
    many = np.arange(3000) % 1000
    frame = pd.DataFrame(np.random.default_rng(0).normal(1e9, 1.0, (60, 3)), columns=["a", "b", "c"]).assign(d=7.0)
    return {
        "a table": (MLP, np.random.default_rng(0).normal(size=(60, 5)), labels(60)),
        "a table of one column": (MLP, np.random.default_rng(0).normal(size=(60, 1)), labels(60)),
        "a frame": (MLP, frame, pd.Series(["yes", "no"] * 30)),
        "grey images": (CNN, images(60, 28, 28), labels(60)),
        "grey images with pooled blocks": (POOLED, images(60, 28, 28), labels(60)),
        "odd sizes": (CNN, images(60, 7, 9), labels(60)),
        "odd sizes with pooled blocks": (POOLED, images(60, 7, 9, 3), labels(60)),
        "tiny images": (POOLED, images(60, 2, 3), labels(60)),
        "images of an mlp": (MLP, images(60, 13, 11, 3), labels(60)),
        "two channels": (CNN, images(60, 2, 9, 9), labels(60)),
        "floats": (CNN, np.random.default_rng(0).normal(size=(60, 3, 8, 8)), labels(60)),
        "1,000 classes": (MLP, images(3000, 4, 4), many),
        "40 examples": (MLP, images(40, 6, 6), labels(40)),
        "texts": (MLP, images(60, 6, 6), np.array(["b", "a", "é"])[labels(60)]),
        "labels that do not begin at 0": (MLP, images(60, 6, 6), labels(60) * 10 + 5),
        "one class is rare": (MLP, images(60, 6, 6), (np.arange(60) % 10 == 0).astype(int)),
    }


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("kind", kinds_of_data())
def test_data_of_every_kind_give_a_result(kind: str, tmp_path: Path) -> None:
    space, x, y = kinds_of_data()[kind]
    share = len(np.unique(y)) if len(np.unique(y)) > 10 else 20
    run = searched(space, tmp_path / "run", data=four(x, y, share), finalists=1)
    assert run.table["status"].tolist() == ["complete"] * 3
    assert run.finalist_table["test_accuracy"].notna().all()
    if kind == "1,000 classes":
        assert len(run.settings.dataset["classes"]) == 1000


@pytest.mark.usefixtures("in_process")
def test_tables_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = labels(200, 2)
    # The column that decides is tiny beside the others, and lies far from zero; one column is constant.
    x = np.stack([1e6 + 1e-3 * (y + 0.1 * rng.normal(size=200)), rng.normal(size=200) * 1e5, np.full(200, 3.0)], axis=1)
    space = MLP.replace("low = 10\nhigh = 20", "low = 60\nhigh = 80")
    run = searched(space, tmp_path / "run", data=four(x, y, 50))
    assert run.table["validation_accuracy"].max() > 0.95


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (CNN, r'model: "cnn" needs images, and a table of 5 numbers per row has no images; .* model = "mlp"'),
        (
            MLP.replace("[training]", '[training]\naugment = "flip"'),
            'training.augment: a table of .*; set augment = "none"',
        ),
        (MLP.replace("[training]", "[training]\ntest_flip = true"), "training.test_flip: a table"),
        (MLP.replace("[training]", "[training]\ncutout = 2"), "training.cutout: a table"),
    ],
)
def test_what_needs_images_is_refused_for_tables(space: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(evo.ConfigurationError, match=reason):
        searched(space, tmp_path / "run", data=four(np.zeros((30, 5)), labels(30), 10))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("in_process")
def test_augmentation_takes_images_that_are_no_bytes(tmp_path: Path) -> None:
    space = CNN.replace("[training]", '[training]\naugment = "flip_crop"\ncutout = 3')
    x = np.random.default_rng(0).normal(size=(60, 3, 8, 8))
    assert searched(space, tmp_path / "run", data=four(x, labels(60), 20)).table["status"].eq("complete").all()


def test_a_regression_is_refused_with_the_way_out(tmp_path: Path) -> None:
    x, y = np.zeros((30, 5)), np.linspace(0, 1, 30)
    with pytest.raises(
        evo.ConfigurationError, match=r"y_train: the target is a float.*evo.search\(space, objective=…\)"
    ):
        searched(MLP, tmp_path / "run", data=four(x, y, 10))
    with pytest.raises(evo.ConfigurationError, match="data: evo gives the objective no data"):
        evo.search(evo.SearchSpace({"x": evo.Float(0, 1)}), objective=lambda config: 1.0, data=four(x, labels(30), 10))
    with pytest.raises(evo.ConfigurationError, match="data and dataset: both say what to train on"):
        searched(MLP, tmp_path / "run", data=four(x, labels(30), 10), dataset="digits")


@pytest.mark.slow
def test_workers_share_the_data_and_change_nothing(tmp_path: Path) -> None:
    data = four(images(60, 6, 6), labels(60), 20)
    one, two = (searched(MLP, tmp_path / str(count), data=data, workers=count, budget=4) for count in (1, 2))
    pd.testing.assert_frame_equal(table(one), table(two))


class StopsAfter:
    """Stops a search after so many evaluations."""

    def __init__(self, folder: Path, count: int):
        self.journal, self.count = folder / "journal.jsonl", count

    def __call__(self) -> None:
        if self.journal.exists() and self.journal.read_text().count('"kind":"evaluation"') >= self.count:
            raise Stop("enough", 75)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("end", ["resume", "finish"])
def test_a_search_is_continued_with_the_same_data_only(end: str, tmp_path: Path) -> None:
    data, folder = four(images(60, 6, 6), labels(60), 20), tmp_path / "run"
    whole = searched(MLP, tmp_path / "whole", data=data, budget=5)
    with pytest.raises(Stop):
        searched(MLP, folder, data=data, budget=5, stop_check=StopsAfter(folder, 2))
    again = getattr(evo, end)
    for other, reason in (
        (
            four(images(60, 6, 6, seed=1), labels(60), 20),
            r"these data are not those that .*\(as many of the same shape",
        ),
        (four(images(60, 6, 6), labels(60), 10), "50 training examples, not 40; 10 test examples, not 20"),
        (four(images(60, 7, 6), labels(60), 20), r"examples of shape \[1, 7, 6\], not \[1, 6, 6\]"),
        (four(images(60, 6, 6), labels(60, 4), 20), r"other classes \(0, 1, 2, 3\)"),
    ):
        with pytest.raises(evo.ConfigurationError, match=reason):
            again(folder, data=other)
    run = again(folder, data=data)
    if end == "resume":
        pd.testing.assert_frame_equal(table(run), table(whole))
    assert run.winner is not None


@pytest.mark.usefixtures("in_process")
def test_data_of_a_search_come_from_the_cache_while_it_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = four(images(60, 6, 6), labels(60), 20), tmp_path / "run"
    searched(MLP, folder, data=data)
    assert len(evo.resume(folder, budget=4).table) == 4
    monkeypatch.setenv("EVO_CACHE_DIR", str(tmp_path / "other"))
    with pytest.raises(evo.ConfigurationError, match=r"no copy of them any more; .*evo.resume\('.*run', data=…\)"):
        evo.resume(folder, budget=5)
    assert len(evo.resume(folder, budget=5, data=data).table) == 5


@pytest.mark.usefixtures("in_process")
def test_a_function_is_named_again_and_never_taken_from_the_folder(modules: Path, cli: CliRunner) -> None:
    imports = "from tests.data.given_arrays import four, images, labels"
    source = f"{imports}\ndef load():\n    return four(images(60, 6, 6), labels(60), 20)\n"
    (modules / "mine_data.py").write_text(source)
    searched(MLP, modules / "run", dataset="mine_data:load")
    del sys.modules["mine_data"]
    (modules / "mine_data.py").write_text("raise SystemExit('loaded')")
    for command in (("resume", "run", "--budget", "4"), ("finish", "run"), ("replay", "run", "0")):
        result = cli.invoke(app, command)
        assert result.exit_code == 2
        assert "was made with --dataset mine_data:load; it is not kept in the folder, give it again" in result.stderr
    assert "mine_data" not in sys.modules
    (modules / "mine_data.py").write_text(source)
    result = cli.invoke(app, ["resume", "run", "--budget", "4", "--dataset", "mine_data:load", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "--dataset mine_data:load" in result.output  # in the commands that follow
    assert cli.invoke(app, ["replay", "run", "0", "--dataset", "mine_data:load"]).exit_code == 0
    result = cli.invoke(app, ["resume", "run", "--dataset", "mine_data:other"])
    assert 'was made with --dataset mine_data:load; got "mine_data:other"' in result.stderr


def test_no_file_names_a_function(tmp_path: Path) -> None:
    for text, reason in (
        ('dataset = "mine:load"\n' + MLP, "dataset: a file cannot name a function; give your own data by --dataset"),
        (MLP + '\n[data]\ndataset = "mine:load"\n', "data.dataset: unknown key"),
        (MLP + "\n[data]\nvalidation = 1.5\n", "data.validation: must be less than 1, got 1.5"),
        (MLP + '\n[search]\nfitness = "f1"\n', 'search.fitness: unknown fitness "f1"'),
    ):
        (tmp_path / "space.toml").write_text(text)
        with pytest.raises(evo.ConfigurationError, match=reason):
            evo.load_space(tmp_path / "space.toml")


@pytest.mark.usefixtures("in_process")
def test_the_winner_can_be_exported_and_its_weights_take_rows_of_the_table(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(5, 3, (60, 4)), np.array(["no", "yes"])[labels(60, 2)]
    x[:, 0] += 10 * (y == "yes")
    searched(MLP, tmp_path / "run", data=four(x, y, 20))
    text = evo.export(tmp_path / "run", output=tmp_path / "best.toml", weights=tmp_path / "best.safetensors")
    assert "given" not in text.partition("model")[2]
    evo.load_space(tmp_path / "best.toml")
    model, facts = evo.load_model(tmp_path / "best.safetensors")
    with torch.no_grad():
        assert model(torch.from_numpy(x[-20:])).shape == (20, 2)
    assert facts["classes"] == ["no", "yes"]
    found: dict[str, Any] = {}
    exec(loading_code(tmp_path / "best.safetensors", "mlp", tables=True), found)  # what evo prints
    assert set(found["names"]) <= {"no", "yes"}
    assert len(found["names"]) == 4


@pytest.mark.usefixtures("in_process")
def test_unbalanced_classes_are_noted_and_balanced_accuracy_weighs_them(tmp_path: Path, cli: CliRunner) -> None:
    y = np.array([0, 0, 0, 0, 1] * 40)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", **dict(zip(KEYS, four(rng.normal(size=(200, 3)), y, 50), strict=True)))
    (tmp_path / "space.toml").write_text(MLP + '\n[search]\nfitness = "balanced_accuracy"\n')
    words = [
        "search",
        tmp_path / "space.toml",
        "--data-dir",
        tmp_path / "d.npz",
        "--budget",
        "3",
        "-o",
        tmp_path / "run",
    ]
    result = cli.invoke(app, [*map(str, words), "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert 'note: the classes are unbalanced: 120 training examples of "0", 30 of "1"' in result.stderr
    run = evo.load(tmp_path / "run")
    assert run.settings.measure == "balanced_accuracy"
    curve = run.curves
    last = curve.groupby(["individual", "replicate"])["balanced_accuracy"].last()
    evaluations = run.table.set_index(["individual", "replicate"])
    assert np.allclose(last.loc[evaluations.index], evaluations["fitness"].astype(float))
    assert (evaluations["validation_accuracy"] > evaluations["fitness"]).any()


@pytest.mark.usefixtures("in_process", "undrawn")
def test_the_lowest_loss_wins_where_that_is_the_fitness(tmp_path: Path, cli: CliRunner) -> None:
    run = searched(MLP, tmp_path / "run", data=four(images(80, 6, 6), labels(80), 20), fitness="loss", budget=6)
    assert np.allclose(run.table["fitness"], run.table["loss"])
    assert run.hall_of_fame["loss"].is_monotonic_increasing
    assert run.winner is not None
    for words in (("compare",), ("report",), ("replay", "0"), ("watch", "--once"), ("export",)):
        result = cli.invoke(app, [words[0], str(tmp_path / "run"), *words[1:]])
        assert result.exit_code == 0, f"{words}: {result.output}"
    assert "validation loss" in (tmp_path / "run" / "report.html").read_text()
    assert len(evo.resume(tmp_path / "run", budget=8).table) == 8
    with pytest.raises(evo.ConfigurationError, match="--fitness loss: the fitness is what the objective returns"):
        evo.search(evo.SearchSpace({"x": evo.Float(0, 1)}), objective=lambda config: 1.0, fitness="loss")


@pytest.mark.usefixtures("in_process")
def test_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    data, y = four(images(60, 6, 6), labels(60), 20), labels(60)[:40]
    usual = searched(MLP, tmp_path / "usual", data=data)
    run = searched(MLP + "\n[data]\nvalidation = 0.25\n", tmp_path / "run", data=data)
    assert usual.settings.dataset["validation_count"] == 0
    assert run.settings.dataset["validation_count"] == sum(round(0.25 * count) for count in np.bincount(y))
    assert run.settings.digest != usual.settings.digest
    pd.testing.assert_frame_equal(table(evo.resume(tmp_path / "run", data=data)), table(run))


@pytest.mark.usefixtures("in_process")
def test_a_run_from_before_the_validation_part_continues_without_it(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    searched(MLP, tmp_path / "run", data_dir=tmp_path / "images")
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    for name in ("validation_count", "validation_share"):
        del settings["dataset"][name]
    (tmp_path / "run" / "settings.json").write_text(json.dumps(settings))
    shutil.copytree(tmp_path / "images" / "test", tmp_path / "images" / "val")
    assert len(evo.resume(tmp_path / "run", budget=4).table) == 4
    run = searched(MLP, tmp_path / "new", data_dir=tmp_path / "images")
    assert run.settings.dataset["validation_count"] == run.settings.dataset["test_count"]


@pytest.mark.slow
def test_commands_take_a_file_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **dict(zip(KEYS, four(images(60, 6, 6), labels(60), 20), strict=True)))
    (tmp_path / "mine.toml").write_text(MLP)
    for words in (
        "search mine.toml --data-dir d.npz --budget 3 --workers 2 -o run",
        "compare run",
        "report run",
        "resume run --budget 4",
        "replay run 0",
        "export run -o best.toml",
        "train --config best.toml --data-dir d.npz --seeds 2 -o again",
        "train --dataset npz --data-dir d.npz --steps 20 -o trained",
    ):
        finished = run_command(*words.split(), cwd=tmp_path)
        assert finished.returncode == 0, f"{words}\n{finished.stderr}"
    (tmp_path / "d.npz").rename(tmp_path / "moved.npz")
    assert run_command("resume", "run", "--budget", "5", cwd=tmp_path).returncode == 2
    assert run_command("resume", "run", "--budget", "5", "--data-dir", "moved.npz", cwd=tmp_path).returncode == 0


def test_what_a_masked_array_masks_is_missing(tmp_path: Path) -> None:
    x = np.ma.masked_array(np.ones((40, 3)), mask=np.zeros((40, 3), dtype=bool))
    x.mask[7, 1] = True
    with pytest.raises(evo.EvoError, match="column number 1: 1 of 40 values are NaN, the first in row 7"):
        searched(MLP, tmp_path / "run", data=(x, np.arange(40) % 2, np.ones((9, 3)), np.arange(9) % 2))
