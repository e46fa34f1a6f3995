"""A path means what it meant when it was typed, wherever an objective goes since; messages show it as it was typed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.places import absolute, as_typed, entered
from evo.record.folder import free_output
from tests.evaluators.clusters import client_of
from tests.faults.objectives import FOLDER

SPACE = evo.SearchSpace({"x": evo.Float(0, 1)}, name="places")


def goes_elsewhere(config: dict[str, Any]) -> float:
    os.chdir(os.environ[FOLDER])
    return float(config["x"])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder to which objectives go; the working directory is beside it, and is that of before at the end."""
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(FOLDER, str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


PATHS = ["run", "./run", "deep/er/run", "nothere/../run", "../here/run", "link/../run"]


@pytest.mark.parametrize("path", PATHS)
def test_an_objective_may_change_the_working_directory(elsewhere: Path, path: str) -> None:
    (elsewhere / "inside").mkdir()
    Path("link").symlink_to(elsewhere / "inside")
    Path("deep/er").mkdir(parents=True)
    place = Path(os.path.realpath(path))
    run = evo.search(SPACE, goes_elsewhere, strategy="random", budget=4, finalists=0, output=path)
    assert Path.cwd() == elsewhere
    assert run.path == place
    assert len(run.table) == len(evo.load(place).table) == 4
    assert (place / "evaluations.csv").is_file()
    os.chdir(elsewhere.parent / "here")
    run = evo.resume(path, goes_elsewhere, budget=6)
    assert len(evo.load(place).table) == 6
    run.write_tables()
    assert [entry.name for entry in elsewhere.iterdir()] == ["inside"] + ["run"] * (path == "link/../run")


@pytest.mark.parametrize("where", [{"workers": 2}, {"timeout": 60.0}, "dask"], ids=str)
def test_it_may_wherever_it_is_evaluated(elsewhere: Path, where: Any) -> None:
    with client_of(1) as client:
        options: dict[str, Any] = {"dask": client} if where == "dask" else where
        evo.search(SPACE, goes_elsewhere, strategy="random", budget=4, finalists=1, output="run", **options)
    os.chdir(elsewhere.parent / "here")
    assert len(evo.load("run").table) == 4
    assert not list(elsewhere.iterdir())


def test_messages_show_what_was_typed(elsewhere: Path) -> None:
    def fails(config: Any) -> float:
        os.chdir(elsewhere)
        raise ValueError("no")

    with pytest.raises(evo.SearchError, match=r"evo\.resume\('run', objective=…\)"):
        evo.search(SPACE, fails, strategy="random", budget=4, output="run")
    os.chdir(elsewhere.parent / "here")
    with pytest.raises(evo.ConfigurationError, match=r"output run: exists.*evo\.resume\('run', objective=…\)`"):
        evo.search(SPACE, goes_elsewhere, budget=4, output="run")
    with pytest.raises(evo.RunError, match=r"^ran: no such run folder. Did you mean \"run\"\?"):
        evo.load("ran")
    assert repr(evo.load("run")).startswith("Run(run: ")


def test_a_place_is_shown_as_it_was_typed_last(elsewhere: Path) -> None:
    inside = entered("a/b")
    assert inside == elsewhere.parent / "here" / "a" / "b"
    assert (as_typed(inside), as_typed(inside / "c.csv"), as_typed(inside.parent)) == (
        *("a/b", "a/b/c.csv"),
        str(inside.parent),
    )
    os.chdir(elsewhere)
    entered("../here/a/b")
    assert as_typed(inside) == str(inside), "what has .. in it need not work in a shell"
    entered(inside)
    assert as_typed(inside) == str(inside)


def test_without_a_working_directory_only_whole_paths_lead_anywhere(elsewhere: Path) -> None:
    os.chdir(elsewhere)
    elsewhere.rmdir()
    assert absolute("/a/../b") == Path("/b")
    with pytest.raises(evo.ConfigurationError, match="run: is relative to the working directory, which is gone"):
        absolute("run")
    os.chdir(elsewhere.parent)


def test_the_cache_stays_where_it_was(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evo.data.cache import cache_root
    from evo.data.downloads import default_root

    monkeypatch.setenv("EVO_CACHE_DIR", "cache")
    monkeypatch.setenv("EVO_DATA_DIR", "../data")
    assert cache_root() == elsewhere.parent / "here" / "cache"
    assert default_root() == elsewhere.parent / "data"


@pytest.mark.parametrize(
    "name", ["../../elsewhere", "/elsewhere", "a/b", "", "..", ".", "x" * 300, "名" * 300, "~", "a\nb"]
)
def test_the_folder_of_a_run_is_in_results_whatever_the_space_is_called(tmp_path: Path, name: str) -> None:
    place = free_output(tmp_path / "results", name)
    assert place.parent == tmp_path / "results"
    place.mkdir(parents=True)
    assert place.resolve().parent == tmp_path / "results"
    assert free_output(tmp_path / "results", name) != place
    assert free_output(tmp_path / "results", "my space_2").name == "my space_2-1"
