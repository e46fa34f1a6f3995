"""What TensorBoard reads is what the run holds, once, whether the search was stopped or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evo
from evo.tracking import TensorBoard
from tests.tracking.searches import SPACE, Listener, StopAfter, resume, search

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    reader = accumulator.EventAccumulator(str(folder))
    reader.Reload()
    return {
        tag: [(event.step, pytest.approx(event.value, rel=1e-6)) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def hyperparameters(folder: Path) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    reader = accumulator.EventAccumulator(str(folder))
    reader.Reload()
    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = HParamsPluginData.FromString(content).session_start_info
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in started.hparams.items()}


def test_scalars_and_hyperparameters_are_those_of_the_run(tmp_path: Path) -> None:
    listener = Listener()
    run = search([TensorBoard()], tmp_path / "run", listener)
    assert listener.warnings == []
    assert f"TensorBoard: tensorboard --logdir {tmp_path / 'run' / 'tensorboard'}" in listener.notes
    found = scalars(tmp_path / "run" / "tensorboard")
    recorded = [entry for entry in run.evaluations.values() if entry.phase == "search"]
    wanted = [(step, entry.fitness) for step, entry in enumerate(recorded, start=1) if entry.complete]
    assert wanted == found["search/fitness"]
    table = run.generation_table
    assert list(zip(table["generation"], table["diversity"], strict=True)) == found["generation/diversity"]
    sessions = {path.name for path in (tmp_path / "run" / "tensorboard").glob("individual-*")}
    assert sessions == {f"individual-{entry.individual}" for entry in recorded if entry.complete}
    best = run.ranked()[0]
    assert hyperparameters(tmp_path / "run" / "tensorboard" / f"individual-{best.id}") == {
        "x": best.config["x"],
        "layers": SPACE.genes["layers"].to_text(best.config["layers"]),
    }


def test_a_run_that_goes_on_has_the_scalars_of_one_that_was_never_stopped(tmp_path: Path) -> None:
    with pytest.raises(evo.Stop):
        search([TensorBoard()], tmp_path / "run", stop_check=StopAfter(7))
    before = scalars(tmp_path / "run" / "tensorboard")["search/fitness"]
    resume([TensorBoard()], tmp_path / "run")
    search([TensorBoard()], tmp_path / "whole")
    found, whole = scalars(tmp_path / "run" / "tensorboard"), scalars(tmp_path / "whole" / "tensorboard")
    assert 0 < len(before) < len(found["search/fitness"])
    for tag in ("search/fitness", "search/best", "generation/mean", "finalists/fitness"):
        assert [step for step, _ in found[tag]] == [step for step, _ in whole[tag]]
    assert len(list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))) == 1


def test_a_link_out_of_the_run_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    search([], tmp_path / "run")
    (tmp_path / "run" / "tensorboard").symlink_to(elsewhere)
    listener = Listener()
    with evo.tracking.Tracking([TensorBoard()], listener) as tracking:
        evo.resume(tmp_path / "run", search_objective(), budget=16, observer=tracking)
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]
    assert len(listener.warnings) == 1
    assert "is a link" in listener.warnings[0]


def test_what_cannot_be_removed_is_not_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError("not yours")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    search([], tmp_path / "run")
    (tmp_path / "run" / "tensorboard").mkdir()
    for number in range(20):
        (tmp_path / "run" / "tensorboard" / f"individual-{number}").symlink_to(elsewhere)
    monkeypatch.setattr("evo.tracking.tensorboard_tracker.shutil.rmtree", fails)
    listener = Listener()
    with evo.tracking.Tracking([TensorBoard()], listener) as tracking:
        evo.resume(tmp_path / "run", search_objective(), budget=16, observer=tracking)
    assert list(elsewhere.iterdir()) == []
    [warning] = listener.warnings
    assert "not yours" in warning


def search_objective() -> Any:
    from tests.tracking.searches import slope

    return slope


def test_a_run_in_memory_is_searched_without_tensorboard() -> None:
    listener = Listener()
    run = search([TensorBoard()], None, listener)
    assert len(run.search_evaluations) == 12
    assert len(listener.warnings) == 1
    assert "the run is in memory" in listener.warnings[0]
