"""What of the GPU prototypes and their benchmark needs no GPU: the mathematics, the bookkeeping, the sections."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import bench as gpu_bench
from benchmarks.gpu import checks, engines
from benchmarks.gpu.prototypes import (
    ACTIVATIONS,
    MemberProgram,
    Replay,
    StackMember,
    StackProgram,
    padded_shape,
    replay_on_streams,
    stack,
)
from evo.data import PreparedDataset
from evo.evaluators import TrainingSetup
from evo.evaluators.base import StopRequest
from evo.evaluators.training_task import TrainingTask
from evo.space.training_settings import TrainingSettings
from evo.training.trainer import Trainer

CPU = torch.device("cpu")
BATCH, STEPS = 6, 20
SHAPES = ((12, 7, 5, 3), (12, 4, 9, 3), (12, 8, 2, 3))
EVERY_ACTIVATION = pytest.mark.parametrize("activation", ACTIVATIONS)
EVERY_MULTIPLE = pytest.mark.parametrize("multiple", [1, 8])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take longer than products of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(40, 12, dtype=torch.float64, generator=draws), torch.randint(3, (40,), generator=draws)


@pytest.fixture(scope="module")
def trainer(digits: PreparedDataset) -> Trainer:
    setup = TrainingSetup(digits, TrainingSettings(), "mlp", "cpu", precision="fp32")
    task = setup.build(StopRequest())[0]
    assert isinstance(task, TrainingTask)
    return task.trainer


@pytest.fixture
def bench(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> gpu_bench.Bench:
    for module in (checks, engines):
        monkeypatch.setattr(module, "CHECK_STEPS", 10, raising=False)
    monkeypatch.setattr(gpu_bench.Bench, "peaks", {"fp32": 1e11, "bf16": 1e11, "bandwidth": 1e10})
    return gpu_bench.Bench(digits, CPU)


def member(shape: Sequence[int], seed: int) -> StackMember:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(before, after, dtype=torch.float64) for before, after in pairwise(shape)]
        return StackMember(layers, 0.01 * (1 + seed), torch.randint(40, (STEPS, BATCH)))


def make(images: tuple[torch.Tensor, torch.Tensor], *members: StackMember, **arguments: Any) -> StackProgram:
    features, labels = images
    return StackProgram(members, lambda indices: features[indices], labels, **arguments)


class Alone:
    """A member trained in the plain way, with torch's own Adam."""

    def __init__(self, images: tuple[torch.Tensor, torch.Tensor], member: StackMember, activation: str):
        self.images, self.order, self.activation = images, member.order, ACTIVATIONS[activation]
        self.layers = [nn.Linear(one.in_features, one.out_features, dtype=torch.float64) for one in member.layers]
        for copy, layer in zip(self.layers, member.layers, strict=True):
            copy.load_state_dict(layer.state_dict())
        self.optimiser = torch.optim.Adam(nn.ModuleList(self.layers).parameters(), lr=member.rate)

    def backward(self, step: int) -> float:
        hidden, labels = (tensor[self.order[step]] for tensor in self.images)
        for number, layer in enumerate(self.layers):
            hidden = layer(self.activation(hidden) if number else hidden)
        loss = functional.cross_entropy(hidden, labels)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        return loss.item()

    def train(self) -> list[float]:
        losses = []
        for step in range(STEPS):
            losses.append(self.backward(step))
            self.optimiser.step()
        return losses


@EVERY_ACTIVATION
@EVERY_MULTIPLE
def test_gradients_of_a_stacked_member_are_those_of_the_member_alone(
    images: tuple[torch.Tensor, torch.Tensor], activation: str, multiple: int
) -> None:
    members = [member(shape, seed) for seed, shape in enumerate(SHAPES)]
    program = make(images, *members, activation=activation, multiple=multiple)
    losses = program.backward()
    for place, one in enumerate(members):
        alone = Alone(images, one, activation)
        assert abs(alone.backward(0) - losses[place].item()) < 1e-10
        for number, layer in enumerate(alone.layers):
            weight, bias = (parameter.grad for parameter in program.parameters[2 * number : 2 * number + 2])
            assert weight is not None
            assert bias is not None
            assert layer.weight.grad is not None
            assert layer.bias.grad is not None
            rows, columns = layer.in_features, layer.out_features
            assert (weight[place, :rows, :columns].T - layer.weight.grad).abs().max() < 1e-10
            assert (bias[place, 0, :columns] - layer.bias.grad).abs().max() < 1e-10


@EVERY_ACTIVATION
@EVERY_MULTIPLE
def test_after_twenty_steps_padding_is_zero_and_the_losses_are_those_of_the_members_alone(
    images: tuple[torch.Tensor, torch.Tensor], activation: str, multiple: int
) -> None:
    members = [member(shape, seed) for seed, shape in enumerate(SHAPES)]
    program = make(images, *members, activation=activation, multiple=multiple)
    for _ in range(STEPS):
        program.step()
    padding = list(program.padding())
    assert sum(zeros.numel() for zeros in padding) > 0
    assert not any(bool(zeros.any()) for zeros in padding)
    for place, one in enumerate(members):
        alone = torch.tensor(Alone(images, one, activation).train(), dtype=torch.float64)
        assert (program.losses[:, place] - alone).abs().max() < 1e-8
        assert alone[-5:].mean() < alone[:5].mean()


@EVERY_MULTIPLE
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_who_is_beside_a_member_does_not_change_a_bit_of_it(
    images: tuple[torch.Tensor, torch.Tensor], multiple: int, dtype: torch.dtype
) -> None:
    features, labels = images
    programs = []
    for mates in ((1, 2), (5, 6)):
        # The same shapes, so that the padded shape is the same; other weights, rates and batches.
        members = [member(shape, seed) for shape, seed in zip(SHAPES, (0, *mates), strict=True)]
        for one in members:
            nn.ModuleList(one.layers).to(dtype)
        program = make((features.to(dtype), labels), *members, multiple=multiple)
        for _ in range(STEPS):
            program.step()
        programs.append(program)
    first, second = programs
    assert first.shape == second.shape
    assert torch.equal(first.losses[:, 0], second.losses[:, 0])
    assert not torch.equal(first.losses[:, 1], second.losses[:, 1])
    for weight, other in zip(first.parameters, second.parameters, strict=True):
        assert torch.equal(weight[0], other[0])


def test_a_stack_goes_back_to_before_its_first_step(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    program = make(images, *(member(shape, seed) for seed, shape in enumerate(SHAPES)))
    runs = []
    for _ in range(2):
        for _ in range(STEPS):
            program.step()
        runs.append([program.losses.clone(), *(weight.detach().clone() for weight in program.parameters)])
        program.reset()
    assert all(map(torch.equal, *runs))


def test_widths_are_padded_to_the_widest_and_to_the_multiple() -> None:
    assert padded_shape(SHAPES, 8) == (16, 8, 16, 8)
    assert padded_shape(SHAPES, 1) == (12, 8, 9, 3)
    with pytest.raises(ValueError, match="argument"):
        padded_shape([(12, 7, 3), (12, 7, 7, 3)], 8)


def test_stacks_of_evos_networks_train_as_evos_trainer_does(trainer: Trainer) -> None:
    configs = [{"hidden_layers": (12, 9), "learning_rate": rate, "batch_size": 16, "steps": 1} for rate in (1e-3, 1e-2)]
    program = stack(trainer, configs, 30, 8)
    for _ in range(30):
        program.step()
    for seed, config in enumerate(configs):
        alone = checks.eager_losses(trainer, config, seed, 30)[0]  # type: ignore[arg-type]  # a genome
        assert checks.largest_difference(program.losses[:, seed].tolist(), alone) < 1e-3


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_members_program_computes_the_bits_of_evos_trainer_and_its_warm_up_trains_nothing(
    trainer: Trainer, batch_norm: bool
) -> None:
    configs = [
        {"hidden_layers": (width,), "learning_rate": 1e-2, "batch_size": 16, "steps": 1, "batch_norm": batch_norm}
        for width in (8, 24)
    ]
    programs = [MemberProgram(trainer, config, seed, 20) for seed, config in enumerate(configs)]
    replays = [Replay(program, CPU) for program in programs]
    assert not programs[0].losses.any()
    replay_on_streams(replays, [None, None], 20)
    for seed, config in enumerate(configs):
        losses, weights = checks.eager_losses(trainer, config, seed, 20)  # type: ignore[arg-type]  # a genome
        assert programs[seed].losses.tolist() == losses
        assert all(map(torch.equal, programs[seed].weights(), weights))


def test_a_members_program_refuses_dropout(trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="dropout"):
        MemberProgram(trainer, {"hidden_layers": (8,), "learning_rate": 1e-2, "dropout": 0.5}, 0, 5)


def test_the_roofline_is_that_of_the_research() -> None:
    shape = (3072, 1000, 500, 250, 100, 10)
    assert gpu_bench.parameters_of(shape) == 3_724_860
    assert gpu_bench.step_flops(shape, 1609) == pytest.approx(26.06e9, rel=1e-3)
    assert gpu_bench.floor_seconds(shape, 1609, 790e12, 4.3e12) == pytest.approx(57e-6, rel=0.02)
    assert engines.simple_memory(shape, 0) == pytest.approx(59.6e6, rel=1e-3)


def test_the_interval_of_paired_differences() -> None:
    mean, half = gpu_bench.mean_with_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert half == pytest.approx(2.776 * math.sqrt(2.5 / 5))
    assert gpu_bench.mean_with_interval([1.0]) == (1.0, math.inf)


def test_the_population_is_drawn_from_the_reports_space_and_always_alike() -> None:
    population = gpu_bench.report_population(32, 2019)
    assert population == gpu_bench.report_population(40, 2019)[:32]
    assert len({config["hidden_layers"] for config in population}) > 8
    assert all(100 <= gpu_bench.number(config, "batch_size") <= 999 for config in population)


def test_the_best_engine_is_the_fastest_that_was_measured() -> None:
    rows = [
        {"precision": precision, "streams": streams, "seconds_per_member_step": seconds}
        for precision, streams, seconds in (("bf16", 1, 3.0), ("bf16", 4, 1.0), ("bf16", 8, 2.0), ("fp32", 8, 0.5))
    ]
    assert engines.best_engine({"streams": {"streams": rows}}) == ("graphs", 4)
    assert engines.best_engine({"streams": {"status": "failed"}}) == ("evo", 0)


def test_sections_about_graphs_compute_the_bits_of_evos_trainer_on_a_cpu(
    bench: gpu_bench.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = engines.architectures(bench)[:2]
    monkeypatch.setattr(engines, "architectures", lambda bench: few)
    bench.section_ends = time.monotonic() + 0.05
    found = engines.graphs(bench)["members"]
    assert len(found) == 4
    assert all(row["losses_equal"] and row["largest_weight_difference"] == 0 for row in found)
    rows = engines.streams(bench)["streams"]
    assert [row["streams"] for row in rows] == [1, 2, 4, 8] * 2
    assert all(row["equal_to_alone"] == row["members"] for row in rows)
    bench.results["streams"] = {"streams": rows}
    growth = engines.population(bench)
    assert growth["engine"].startswith("graphs")
    assert [row["members"] for row in growth["growth"]] == [1, 2]


def test_sections_run_from_the_command_line_and_one_that_fails_does_not_stop_the_others(
    bench: gpu_bench.Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(bench: gpu_bench.Bench) -> gpu_bench.Results:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(gpu.SECTIONS, "ladder", (fail, 1, False))
    arguments = ["--dataset", "digits", "--device", "cpu", "--minutes", "0.01", "--output", str(tmp_path)]
    (tmp_path / "results.json").write_text('{"graphs": {"status": "done"}}')
    gpu.main([*arguments, "--only", "ladder,memory,stacked"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["graphs"] == {"status": "done"}, "an earlier command left it"
    assert results["ladder"]["status"] == "failed"
    assert results["ladder"]["error"] == "RuntimeError: no such kernel"
    assert results["memory"] == {"status": "not run: no CUDA device"}
    assert results["stacked"]["status"] == "done"
    assert all(row["within_1e-3"] and row["padding_zero"] for row in results["stacked"]["exactness"])
    assert all(row["same_beside_others"] for row in results["stacked"]["exactness"])
    text = (tmp_path / "summary.md").read_text()
    assert "- error: RuntimeError: no such kernel" in text
    assert "| kind | multiple |" in text
