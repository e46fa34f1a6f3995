"""A network that is restored from a file is the one that was saved, or the table says that it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evo.data import PreparedDataset
from evo.errors import Interrupted
from evo.evaluators.base import StopRequest, Task
from evo.evaluators.training_task import TrainingTask
from evo.space.training_settings import TrainingSettings
from evo.training.model_state import RecallError, restore_tensors, tensors_of
from evo.training.trainer import Trainer

CONFIG = {"hidden_layers": (8,), "learning_rate": 1e-2, "batch_size": 100, "steps": 30}


class Remembering(nn.Module):
    """A network whose outputs depend on the mean of the images that it was trained on."""

    shift: torch.Tensor

    def __init__(self, shape: tuple[int, ...], classes: int):
        super().__init__()
        self.linear = nn.Linear(int(torch.tensor(shape).prod()), classes)
        self.remember(torch.zeros(()))

    def remember(self, shift: torch.Tensor) -> None:
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                self.remember(self.recalled() * 0.9 + images.abs().mean())
        output: torch.Tensor = self.linear(images.flatten(1)) * (1 + self.recalled())
        return output

    def recalled(self) -> torch.Tensor:
        return self.shift


class PersistentBuffer(Remembering):
    def remember(self, shift: torch.Tensor) -> None:
        self.register_buffer("shift", shift)


class OtherBuffer(Remembering):
    def remember(self, shift: torch.Tensor) -> None:
        self.register_buffer("shift", shift, persistent=False)


class LateBuffer(Remembering):
    """Registers its buffer with the first step, so that a new network has none."""

    def remember(self, shift: torch.Tensor) -> None:
        if shift != 0:
            self.register_buffer("shift", shift, persistent=False)

    def recalled(self) -> torch.Tensor:
        return self.shift if hasattr(self, "shift") else torch.zeros(())


class ExtraState(Remembering):
    def remember(self, shift: torch.Tensor) -> None:
        self.kept = shift

    def recalled(self) -> torch.Tensor:
        return self.kept

    def get_extra_state(self) -> torch.Tensor:
        return self.kept

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.kept = state


class PlainTensor(Remembering):
    def remember(self, shift: torch.Tensor) -> None:
        self.kept = shift

    def recalled(self) -> torch.Tensor:
        return self.kept


class PlainNumber(Remembering):
    def remember(self, shift: torch.Tensor) -> None:
        self.kept = float(shift)

    def recalled(self) -> torch.Tensor:
        return torch.tensor(self.kept)


class Counter(Remembering):
    """Changes how it trains, not what it gives: only its attribute tells."""

    def remember(self, shift: torch.Tensor) -> None:
        self.calls = getattr(self, "calls", -1) + 1

    def recalled(self) -> torch.Tensor:
        return torch.tensor(float(self.training and self.calls > 15))


class ExtraText(Remembering):
    def remember(self, shift: torch.Tensor) -> None:
        self.kept = [float(shift)]

    def recalled(self) -> torch.Tensor:
        return torch.tensor(self.kept[0])

    def get_extra_state(self) -> list[float]:
        return self.kept

    def set_extra_state(self, state: list[float]) -> None:
        self.kept = state


class CounterInList(Counter):
    def remember(self, shift: torch.Tensor) -> None:
        self.counts = [getattr(self, "counts", [-1])[0] + 1]

    def recalled(self) -> torch.Tensor:
        return torch.tensor(float(self.training and self.counts[0] > 15))


class OwnGenerator(Counter):
    def remember(self, shift: torch.Tensor) -> None:
        if not hasattr(self, "generator"):
            self.generator = torch.Generator().manual_seed(3)
        self.noise = torch.rand((), generator=self.generator)

    def recalled(self) -> torch.Tensor:
        return self.noise if self.training else torch.zeros(())


class Freezing(Counter):
    def remember(self, shift: torch.Tensor) -> None:
        super().remember(shift)
        self.linear.bias.requires_grad_(self.calls < 16)

    def recalled(self) -> torch.Tensor:
        return torch.zeros(())


HIDDEN = (Counter, CounterInList, OwnGenerator, Freezing)
"""Change how they train, not what they give."""
KEPT = (PersistentBuffer, OtherBuffer, LateBuffer, ExtraState)
LOST = (PlainTensor, PlainNumber, ExtraText)


def trainer_of(digits: PreparedDataset, kind: type[Remembering]) -> Trainer:
    def build(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
        return kind(shape, classes)

    return Trainer(digits, TrainingSettings(evaluate_every=10), build)


def after(steps: int) -> Callable[[], bool]:
    asked: Iterator[bool] = iter([False] * steps + [True])
    return lambda: next(asked)


@pytest.mark.parametrize("kind", [*KEPT, *LOST, *HIDDEN])
@pytest.mark.parametrize("steps", [20, 23])
def test_a_training_that_was_stopped_gives_the_curve_of_one_that_was_not(
    digits: PreparedDataset, tmp_path: Path, kind: type[Remembering], steps: int
) -> None:
    whole = trainer_of(digits, kind).train(CONFIG, 1)
    with pytest.raises(Interrupted):
        trainer_of(digits, kind).train(CONFIG, 1, checkpoint=tmp_path / "state", interrupted=after(steps))
    resumed = trainer_of(digits, kind).train(CONFIG, 1, checkpoint=tmp_path / "state")
    assert resumed.curve == whole.curve
    assert resumed.status == "complete"
    if kind in KEPT:
        assert resumed.seconds_before > 0
        assert resumed.error == ""
    else:
        assert resumed.seconds_before == 0
        assert f"its state after {steps} steps" in resumed.error
        assert "trained from the first step instead" in resumed.error


@pytest.mark.parametrize("kind", KEPT)
def test_the_test_set_is_measured_with_all_that_the_network_remembers(
    digits: PreparedDataset, tmp_path: Path, kind: type[Remembering]
) -> None:
    weights = tmp_path / "weights"
    trainer = trainer_of(digits, kind)
    result = trainer.train(CONFIG, 1, weights=weights)
    assert trainer.measure(trainer.restored(CONFIG, weights), trainer.held_out_part) == result.held_out


@pytest.mark.parametrize("kind", LOST)
def test_a_network_that_no_file_brings_back_has_no_test_accuracy_and_the_row_says_why(
    digits: PreparedDataset, tmp_path: Path, kind: type[Remembering]
) -> None:
    weights = tmp_path / "weights"
    task = TrainingTask(trainer_of(digits, kind), StopRequest())
    trained = task.evaluate(Task(0, 101, 1, CONFIG, "finalist", weights=str(weights)))
    assert trained.status == "complete"
    tested = task.evaluate(Task(0, 101, 1, CONFIG, "finalist", measure="test", weights=str(weights)))
    assert tested.test_accuracy is None
    assert "not measured on the test set: the file of its weights does not bring the network back" in tested.error


@pytest.mark.parametrize("kind", LOST)
def test_weights_that_are_asked_for_are_saved_only_if_they_bring_the_network_back(
    digits: PreparedDataset, tmp_path: Path, kind: type[Remembering]
) -> None:
    weights = tmp_path / "weights"
    evaluation = TrainingTask(trainer_of(digits, kind), StopRequest()).evaluate(
        Task(0, 0, 1, CONFIG, weights=str(weights))
    )
    assert evaluation.complete
    assert evaluation.error.startswith("weights not saved: the file of its weights does not bring the network back")
    assert not weights.exists()


def test_buffers_that_modules_share_are_still_shared_once_they_are_restored() -> None:
    def network() -> nn.Module:
        first, second = nn.Linear(1, 1), nn.Linear(1, 1)
        shared = torch.zeros(3)
        first.register_buffer("table", shared, persistent=False)
        second.register_buffer("table", shared, persistent=False)
        return nn.Sequential(first, second)

    saved = network()
    saved[0].table += 1  # type: ignore[index,operator]  # a buffer
    restored = network()
    restore_tensors(restored, tensors_of(saved))
    assert restored[0].table is restored[1].table  # type: ignore[index]  # a sequence
    assert torch.equal(restored[1].table, torch.ones(3))  # type: ignore[index,arg-type]  # a buffer


def test_tensors_of_another_network_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"missing: 1\.bias, 1\.weight"):
        restore_tensors(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), tensors_of(nn.Sequential(nn.Linear(1, 1))))
    with pytest.raises(ValueError, match=r"of another shape: weight"):
        restore_tensors(nn.Linear(2, 1), tensors_of(nn.Linear(1, 1)))
    with pytest.raises(ValueError, match=r"without a place: 3\.weight"):
        restore_tensors(nn.Sequential(), {"3.weight": torch.zeros(1)})


class Cached(nn.Module):
    """Keeps a table that its first forward pass computes, as implementations of rotary embeddings do."""

    def __init__(self, shape: tuple[int, ...], classes: int):
        super().__init__()
        self.linear = nn.Linear(int(torch.tensor(shape).prod()), classes)
        self.scale = nn.Parameter(torch.ones(()))
        self.table: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            self.table = torch.ones(images[0].numel())
        output: torch.Tensor = self.linear(images.flatten(1) * (self.table * self.scale))
        return output


@pytest.mark.parametrize("scripted", [False, True])
def test_whatever_an_ordinary_loop_trains_is_trained_and_continued(
    digits: PreparedDataset, tmp_path: Path, scripted: bool
) -> None:
    def build(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
        if scripted:
            module: nn.Module = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, classes)))  # type: ignore[no-untyped-call]  # torch's own
            return module
        return Cached(shape, classes)

    trainer = Trainer(digits, TrainingSettings(evaluate_every=10), build)
    model = build(CONFIG, digits.image_shape, 10)
    trainer.measure(model, trainer.held_out_part)  # what the first measuring keeps must serve the next step
    loss = model(trainer.preprocess(trainer.train_part.images[:5])).sum()
    loss.backward()
    whole = trainer.train(CONFIG, 1)
    with pytest.raises(Interrupted):
        trainer.train(CONFIG, 1, checkpoint=tmp_path / "state", interrupted=after(13))
    assert trainer.train(CONFIG, 1, checkpoint=tmp_path / "state") == whole


def test_a_recall_within_rounding_is_the_same_and_beyond_it_is_not(digits: PreparedDataset) -> None:
    trainer = trainer_of(digits, PersistentBuffer)
    model = PersistentBuffer(digits.image_shape, 10)
    recall = trainer.recall(model, trainer.sample, attributes=True)
    recall.check(trainer.recall(model, trainer.sample, attributes=True), "it")
    with torch.no_grad():
        model.linear.weight.mul_(1.01)
    with pytest.raises(RecallError, match="the loss was"):
        recall.check(trainer.recall(model, trainer.sample, attributes=True), "it")


class Growing(Remembering):
    """Gets a module in training that a new network does not have."""

    def remember(self, shift: torch.Tensor) -> None:
        if shift != 0 and not hasattr(self, "extra"):
            self.extra = nn.Linear(3, 3)

    def recalled(self) -> torch.Tensor:
        return torch.zeros(())


def test_weights_that_a_new_network_has_no_place_for_are_not_saved(digits: PreparedDataset, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    evaluation = TrainingTask(trainer_of(digits, Growing), StopRequest()).evaluate(
        Task(0, 0, 1, CONFIG, weights=str(weights))
    )
    assert evaluation.complete
    assert "training has changed its modules" in evaluation.error
    assert not weights.exists()


class Unusual(nn.Module):
    """What an ordinary loop trains: lazy and frozen layers, complex weights, a `train` that returns nothing."""

    def __init__(self, classes: int):
        super().__init__()
        self.first, self.norm = nn.LazyLinear(16), nn.BatchNorm1d(16)
        self.turn = nn.Parameter(torch.ones(16, dtype=torch.complex64))
        self.last = nn.Linear(16, classes)
        self.last.requires_grad_(False)
        self.norm.eval()

    def train(self, mode: bool = True) -> None:  # type: ignore[override]  # as users write it
        super().train(mode)
        self.norm.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.last.requires_grad_(True)  # thawed
        hidden = self.norm(torch.relu(self.first(images.flatten(1))))
        output: torch.Tensor = self.last((hidden * self.turn).abs())
        return output


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_unusual_layers_are_trained(digits: PreparedDataset, tmp_path: Path, optimiser: Any) -> None:
    built: list[Unusual] = []

    def build(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
        built.append(Unusual(classes))
        return built[-1]

    trainer = Trainer(digits, TrainingSettings(evaluate_every=10, optimiser=optimiser), build)
    whole = trainer.train(CONFIG, 1)
    start = Unusual(10)
    with trainer.own_randomness(1):
        start = Unusual(10)
    assert whole.status == "complete"
    assert not torch.equal(built[0].last.weight, start.last.weight)
    assert not torch.equal(built[0].turn, start.turn)
    assert not built[0].norm.training
    with pytest.raises(Interrupted):
        trainer.train(CONFIG, 1, checkpoint=tmp_path / "state", interrupted=after(13))
    assert trainer.train(CONFIG, 1, checkpoint=tmp_path / "state").curve == whole.curve
