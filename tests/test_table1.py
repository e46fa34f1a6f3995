"""The report's Table 1 as data, and its reproduction: resumable, extended by rows and seeds, never overwritten."""

from __future__ import annotations

import itertools
import shlex
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.cli.watching import Follower
from evo.data import prepare_dataset
from evo.errors import ConfigurationError
from evo.loop.execution import Execution
from evo.loop.listed import space_of
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run
from evo.report2019.reproduction import figure_runs, reproduce
from evo.report2019.table import rows_of
from evo.report2019.table1 import FIGURE_NETWORKS, ROWS, TRAINING, Row, chosen_rows, table1_space
from evo.training.hardware import resolve_precision
from tests.images import write_images

SMALL = tuple(replace(row, hidden_layers=row.hidden_layers[:1], batch_size=64, steps=20) for row in ROWS)


def test_the_rows_are_those_of_the_report() -> None:
    assert [(row.name, row.steps, row.train, row.test) for row in ROWS] == [
        ("Default", 1500, 0.425, 0.444),
        ("GA1", 4681, 1.0, 0.537),
        ("GA1 + dropout", 4681, 0.635, 0.497),
        ("GA1 + dropout + batchnorm", 4681, 0.826, 0.516),
        ("GA2", 3030, 1.0, 0.506),
        ("GA3", 4365, 1.0, 0.535),
    ]
    assert [row.hidden_layers for row in ROWS] == [(100,), *[(1000, 500, 250, 100)] * 3, (1000, 100), (1000, 1000)]
    assert [row.batch_size for row in ROWS] == [200, 1609, 1609, 1609, 1824, 809]
    assert [round(row.learning_rate, 7) for row in ROWS] == [2e-3, *[1.684e-4] * 3, 1.5e-4, 5.72e-5]
    assert [(row.dropout, row.batch_norm) for row in ROWS][2:4] == [(0.5, False), (0.5, True)]


def test_its_protocol_is_that_of_the_report() -> None:
    settings = table1_space().training
    assert (settings.preprocess, settings.optimiser, settings.weight_decay) == ("subtract_mean_image", "adam", 0.0)
    assert (settings.evaluate_every, settings.training_mode) == (100, "whole")


def test_every_row_has_a_genome_of_its_own_in_the_space() -> None:
    assert all(row.genome != other.genome for row, other in combinations(ROWS, 2))
    space = table1_space()
    assert all(space.problems(row.genome) == [] for row in ROWS)


def test_rows_are_chosen_by_name() -> None:
    assert chosen_rows([]) == list(ROWS)
    assert [row.name for row in chosen_rows(["ga3", " default "])] == ["Default", "GA3"]
    assert [row.name for row in chosen_rows(["ga1+Dropout"])] == ["GA1 + dropout"]
    with pytest.raises(ConfigurationError, match=r'--rows: no row "GA4".*Default, GA1, GA1 '):
        chosen_rows(["GA4"])


def test_the_networks_of_the_figures_are_those_of_the_report() -> None:
    numpy_mlp, cnn = FIGURE_NETWORKS["numpy_mlp"], FIGURE_NETWORKS["cnn"]
    assert numpy_mlp.training.optimiser == "sgd"
    assert numpy_mlp.initial == ({"hidden_layers": (100,), "learning_rate": 2e-3, "batch_size": 200, "steps": 1500},)
    assert cnn.initial[0]["channels"] == (64, 128, 256, 512, 512)
    assert (cnn.initial[0]["batch_size"], cnn.initial[0]["steps"], cnn.training.evaluate_every) == (32, 5000, 500)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, in_process: None) -> tuple[Row, ...]:
    """Make every network of the report small enough for a test."""
    fixed = TRAINING | {"evaluate_every": 10}
    monkeypatch.setattr("evo.report2019.table1.ROWS", SMALL)
    monkeypatch.setattr("evo.report2019.table1.TRAINING", fixed)
    networks = {
        name: space_of(
            [{**space.initial[0], "steps": 10, "batch_size": 64} | ({"channels": (4,)} if name == "cnn" else {})],
            name=name,
            model=name,
            dataset="cifar10",
            training=fixed | {"optimiser": space.training.optimiser},
        )
        for name, space in FIGURE_NETWORKS.items()
    }
    monkeypatch.setattr("evo.report2019.reproduction.FIGURE_NETWORKS", networks)
    return SMALL


def reproduced(folder: Path, rows: tuple[Row, ...], seeds: int = 1, *, figures: bool = False, **options: Any) -> Run:
    given = {"output": folder, "dataset": "digits", "workers": 1} | options
    seed = given.pop("seed", 42)
    return reproduce(
        rows,
        Execution(**given),
        seeds=seeds,
        seed=seed,
        figures=figures,
        observer=SilentObserver(),
        stop_check=lambda: None,
    )


def table(run: Run) -> Any:
    return run.table.drop(columns=["seconds", "worker", "started", "seconds_before"])


def test_rows_and_seeds_are_added_to_a_folder_and_nothing_is_done_again(tmp_path: Path, small: tuple[Row, ...]) -> None:
    first = reproduced(tmp_path / "grown", small[:2])
    started = dict(zip(first.table["individual"], first.table["started"], strict=True))
    grown = reproduced(tmp_path / "grown", small, seeds=2)
    assert [individual.genome for individual in grown.individuals] == [row.genome for row in small]
    assert len(grown.table) == 12
    again = {row["individual"]: row["started"] for row in grown.table.query("replicate == 0").to_dict("records")}
    assert {number: again[number] for number in started} == started
    whole = reproduced(tmp_path / "whole", small, seeds=2)
    assert table(grown).equals(table(whole))
    assert grown.curves.equals(whole.curves)


@pytest.mark.usefixtures("undrawn")
def test_rows_that_are_added_and_stopped_leave_a_run_that_every_command_reads(
    cli: CliRunner, tmp_path: Path, small: tuple[Row, ...]
) -> None:
    folder, images = str(tmp_path / "run"), tmp_path / "images"
    write_images(images)
    options = ["--seeds", "1", "--workers", "1", "--data-dir", str(images), "-q", "-o", folder]
    assert cli.invoke(app, ["table1", "--rows", "Default", *options]).exit_code == 0
    follower = Follower(Path(folder))
    stopped = cli.invoke(app, ["table1", "--rows", "Default,GA2", "--time-budget", "0.001s", *options])
    assert stopped.exit_code == 75, stopped.output
    follower.poll()
    assert follower.progress.total == 2, "a watcher sees what was added"
    assert "training 2 configurations on one seed" in cli.invoke(app, ["watch", folder, "--once"]).output
    for command in (["compare", folder], ["report", folder], ["resume", folder, "-q"], ["compare", folder]):
        result = cli.invoke(app, command)
        assert result.exit_code == 0, (command, result.output)
    assert [row.name for row in rows_of(evo.load(folder))] == ["Default", "GA2"]
    assert len(evo.load(folder).table) == 2


class Killed(BaseException):
    """The process ends here."""


class Kill:
    """Ends the process at one call that changes the disk; none comes after it."""

    def __init__(self, place: int):
        self.left = place

    def __call__(self, call: str, path: Path) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Killed(f"{call} {path.name}")


@pytest.mark.slow
def test_rows_that_are_added_by_a_command_that_is_killed_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: tuple[Row, ...]
) -> None:
    reproduced(tmp_path / "first", small[:1])
    whole = table(reproduced(tmp_path / "whole", small[:3], seeds=2))
    seen: list[str] = []
    for place in itertools.count(1):
        folder = tmp_path / f"run-{place}"
        shutil.copytree(tmp_path / "first", folder)
        with monkeypatch.context() as patch:
            patch.setattr("evo.files.failpoint", Kill(place))
            with pytest.raises(Killed) as killed:
                reproduced(folder, small[:3], seeds=2)
        chain = [killed.value, *filter(None, [killed.value.__context__])]
        seen += map(str, chain)
        assert 1 <= len(evo.load(folder).individuals) <= 3
        if len(evo.load(folder).evaluations) > 1:
            break
        assert table(reproduced(folder, small[:3], seeds=2)).equals(whole)
    assert {"append journal.jsonl", "take its place settings.json"} <= set(seen)


def test_fitness_is_the_test_set_and_all_images_are_trained_on(tmp_path: Path, small: tuple[Row, ...]) -> None:
    run = reproduced(tmp_path / "run", small[:1])
    assert run.settings.fitness == "test"
    assert run.table["test_accuracy"].notna().all()
    assert {"training_mode_accuracy", "minibatch_accuracy"} <= set(run.curves.columns)


def test_figures_train_the_two_other_networks_inside_the_folder(tmp_path: Path, small: tuple[Row, ...]) -> None:
    reproduced(tmp_path / "run", small[:1], figures=True)
    runs = figure_runs(tmp_path / "run")
    assert {name: run.settings.model for name, run in runs.items()} == {"numpy_mlp": "numpy_mlp", "cnn": "cnn"}
    before = {name: run.table.to_dict("records") for name, run in runs.items()}
    reproduced(tmp_path / "run", small[:1], figures=True)
    after = figure_runs(tmp_path / "run")
    assert str({name: run.table.to_dict("records") for name, run in after.items()}) == str(before)


def test_a_folder_of_another_run_is_refused(tmp_path: Path, small: tuple[Row, ...]) -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    evo.search(space, lambda config: config["x"], budget=2, population=2, output=tmp_path / "search")
    with pytest.raises(ConfigurationError, match=r"holds another run \(surrogate on the space custom\)"):
        reproduced(tmp_path / "search", small)


OTHER_PRECISION = "fp32" if resolve_precision("auto", "cpu") == "bf16" else "bf16"
"""Than the one that is taken on this machine."""


@pytest.mark.parametrize(("option", "value"), [("seed", 1), ("precision", OTHER_PRECISION), ("device", "cuda")])
def test_what_the_trainings_were_made_with_cannot_change(
    tmp_path: Path, small: tuple[Row, ...], option: str, value: Any
) -> None:
    reproduced(tmp_path / "run", small[:1])
    with pytest.raises(ConfigurationError, match=f"--{option} {value}: the trainings in .* were made with"):
        reproduced(tmp_path / "run", small, **{option: value})
    assert len(evo.load(tmp_path / "run").table) == 1


@pytest.mark.usefixtures("small", "undrawn")
def test_the_command_writes_table_page_and_figures(cli: CliRunner, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    images = tmp_path / "images"
    write_images(images)
    command = ["table1", "--figures", "--seeds", "2", "--workers", "1", "--data-dir", str(images), "-q", "-o"]
    result = cli.invoke(app, [*command, str(folder)])
    assert result.exit_code == 0, result.output
    for words in ("Test accuracy (%)", "Train accuracy (%)", "GA1 + dropout + batchnorm", "53.7", "evaluation mode"):
        assert words in result.stdout
    for name in ("table1.csv", "table1.md", "table1.html"):
        assert (folder / name).is_file()
    assert {f"figure-{number}.svg" for number in range(1, 9)} <= {path.name for path in (folder / "figures").iterdir()}
    (folder / "table1.csv").unlink()
    resumed = cli.invoke(app, ["resume", str(folder), "-q", "--workers", "1"])
    assert resumed.exit_code == 0, resumed.output
    assert (folder / "table1.csv").is_file()


def test_the_command_refuses_an_unknown_row(cli: CliRunner) -> None:
    assert cli.invoke(app, ["table1", "--rows", ","]).exit_code == 2
    result = cli.invoke(app, ["table1", "--rows", "GA1, GA9"])
    assert result.exit_code == 2
    assert 'no row "GA9"' in result.stderr


@pytest.mark.usefixtures("small")
def test_what_the_trainings_were_made_with_need_not_be_given_again(tmp_path: Path, small: tuple[Row, ...]) -> None:
    reproduced(tmp_path / "run", small[:1], seed=7, precision="bf16")
    grown = reproduced(tmp_path / "run", small[:2], seed=None, figures=True)
    assert (grown.settings.seed, len(grown.individuals)) == (7, 2)
    runs = figure_runs(tmp_path / "run")
    assert {run.settings.seed for run in runs.values()} == {7}
    assert grown.settings.precision == runs["cnn"].settings.precision == "bf16"
    assert (runs["numpy_mlp"].settings.precision, runs["numpy_mlp"].settings.engine) == ("fp32", "eager"), "NumPy's"


def test_the_command_that_goes_on_asks_for_no_more_than_the_one_that_was_stopped(
    cli: CliRunner, tmp_path: Path, small: tuple[Row, ...]
) -> None:
    write_images(tmp_path / "images")
    prepare_dataset(None, tmp_path / "images")  # a command that is out of time while it decodes has begun nothing
    options = ["--rows", "Default", "--seeds", "2", "--workers", "1", "--data-dir", str(tmp_path / "images"), "-q"]
    for figures in ([], ["--figures"]):
        folder = tmp_path / f"run{len(figures)}"
        stopped = cli.invoke(app, ["table1", *options, *figures, "--time-budget", "0.001s", "-o", str(folder)])
        assert stopped.exit_code == 75, stopped.output
        [line] = [line for line in stopped.stderr.splitlines() if line.startswith("Continue with:")]
        again = cli.invoke(app, [*shlex.split(line)[3:], "-q", "--workers", "1"])
        assert again.exit_code == 0, again.output
        settings = evo.load(folder).settings
        assert (len(settings.initial), settings.seeds) == (1, 2)
        assert bool(figure_runs(folder)) == bool(figures)
