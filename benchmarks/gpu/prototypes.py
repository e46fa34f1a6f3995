"""Prototypes: CUDA paths written without a GPU and not yet run.

Two ways to train a population faster on one GPU, to be measured by `benchmarks.gpu` before either lands in evo:

- `MemberProgram` in a `Replay`: a member's whole training step as one CUDA graph, replayed on any stream;
- `StackProgram`: members of one depth as batched matrix products, with narrower layers padded by zeros.

Both are programs: their steps read and write fixed memory only, draw nothing and never wait for the device. On a CPU a
`Replay` calls the step itself; everything but the capture is tested there. Not handled: dropout (a captured generator
would be shared by all members) and anything else that draws while it trains.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional
from torch.optim.adam import adam

from evo.training.batches import batches
from evo.training.jobs import Job
from evo.training.progress import Training
from evo.training.trainer import Trainer

WARM_UP_STEPS = 3
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
"""Those of evo's `mlp`; each is 0 at 0, without which padding would not stay zero."""


class Program(Protocol):
    """Training steps that read and write fixed memory only.

    Attributes:
        losses: Loss of every step since `reset`, (steps, …); overwritten from the start once it is full.
    """

    losses: torch.Tensor

    def step(self) -> None:
        """Do one training step."""
        ...

    def reset(self) -> None:
        """Return to the state before the first step, in place."""
        ...


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators as evo's trainer does, and restore them afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def begin(trainer: Trainer, config: Mapping[str, Any], seed: int) -> Training:
    """Return evo's training before its first step, initialised as `Trainer.train` initialises it."""
    with seeded(seed, trainer.device):
        return trainer.begin(Job(config, seed))


def order_table(trainer: Trainer, batch_size: int, seed: int, steps: int) -> torch.Tensor:
    """Return the images of a training's first steps, int64, (steps, batch_size), on the trainer's device."""
    return torch.stack(list(itertools.islice(batches(trainer.train_part.indices, batch_size, seed), steps)))


class MemberProgram:
    """One member's training step, with torch's fused, capturable Adam.

    Args:
        trainer: Has the images, the preprocessing and the precision.
        config: A configuration with `learning_rate`, and without dropout.
        seed: As for `Trainer.train`.
        steps: After how many the order of the images repeats.
    """

    def __init__(self, trainer: Trainer, config: Mapping[str, Any], seed: int, steps: int):
        if config.get("dropout"):
            raise ValueError("dropout needs one generator per member in the graph, which is not written yet")
        training = begin(trainer, config, seed)
        self._trainer, self.batch_size = trainer, training.recipe.batch_size
        self.model = training.state.model.train()
        self._initial = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._optimiser = torch.optim.Adam(
            self.model.parameters(), lr=float(config["learning_rate"]), fused=True, capturable=True
        )
        self._order = order_table(trainer, training.recipe.batch_size, seed, steps)
        # A device counter, so that a replay needs nothing from the host, neither an index nor a copy.
        self._position = torch.zeros(1, dtype=torch.int64, device=trainer.device)
        self.losses = torch.zeros(steps, device=trainer.device)

    def step(self) -> None:
        part = self._trainer.train_part
        batch = self._order.index_select(0, self._position).flatten()
        labels = part.labels.index_select(0, batch)
        with self._trainer.autocast():
            logits = self.model(self._trainer.preprocess(part.images.index_select(0, batch)))
        loss = functional.cross_entropy(logits.float(), labels)
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        self.losses.index_copy_(0, self._position, loss.detach().reshape(1))
        self._position.add_(1).remainder_(len(self.losses))

    def reset(self) -> None:
        self.model.load_state_dict(self._initial)
        for slots in self._optimiser.state.values():
            for slot in slots.values():
                slot.zero_()
        self._position.zero_()
        self.losses.zero_()

    def weights(self) -> list[torch.Tensor]:
        """Return copies of the weights."""
        return [weight.detach().clone() for weight in self.model.parameters()]


class Replay:
    """A program's step, captured once as a CUDA graph; on a CPU, where there are no graphs, the step itself.

    Afterwards the program is where it began: what the warm-up trained is undone.

    Args:
        program: What to capture.
        device: Where it runs.
        stream: Where to warm up and capture; by default a new one. cuBLAS has one workspace per stream, which the graph
            keeps: two graphs captured on the same stream must never run at the same time.

    Attributes:
        warm_up_seconds: Seconds of the steps before the capture, in which libraries and the allocator settle.
        capture_seconds: Seconds of the capture, including graph instantiation.
    """

    def __init__(self, program: Program, device: torch.device, stream: torch.cuda.Stream | None = None):
        self.program = program
        self._graph: torch.cuda.CUDAGraph | None = None
        self.stream: torch.cuda.Stream | None = None
        started = time.perf_counter()
        if device.type == "cuda":
            self.stream = stream or torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            torch.cuda.synchronize(device)
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UP_STEPS):
                program.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        warm = time.perf_counter()
        if self.stream is not None:
            self._graph = self._capture(self.stream)
            torch.cuda.synchronize(device)
        self.warm_up_seconds, self.capture_seconds = warm - started, time.perf_counter() - warm
        program.reset()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def _capture(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self.program.step()
        return graph

    def __call__(self, stream: torch.cuda.Stream | None = None) -> None:
        """Do one step, on `stream` or on the one it was captured on; does not wait for it."""
        if self._graph is None:
            self.program.step()
            return
        with torch.cuda.stream(stream or self.stream):
            self._graph.replay()


def replay_on_streams(replays: Sequence[Replay], streams: Sequence[torch.cuda.Stream | None], steps: int) -> None:
    """Do `steps` steps of every member, members distributed over the streams; does not wait for them."""
    for _ in range(steps):
        for number, replay in enumerate(replays):
            replay(streams[number % len(streams)])


@dataclass(frozen=True)
class StackMember:
    """A member of a stack.

    Attributes:
        layers: Its linear layers, in their true shapes, initialised as if trained alone.
        rate: Learning rate.
        order: The images of its batches, int64, (steps, batch_size).
    """

    layers: Sequence[nn.Linear]
    rate: float
    order: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Inputs, hidden widths, classes."""
        return (self.layers[0].in_features, *(layer.out_features for layer in self.layers))


def stack_member(trainer: Trainer, config: Mapping[str, Any], seed: int, steps: int) -> StackMember:
    """Return a configuration of evo's `mlp` (without dropout and batch norm) as a member of a stack."""
    training = begin(trainer, config, seed)
    layers = [module for module in training.state.model.modules() if isinstance(module, nn.Linear)]
    order = order_table(trainer, training.recipe.batch_size, seed, steps)
    return StackMember(layers, float(config["learning_rate"]), order)


def padded_shape(shapes: Sequence[Sequence[int]], multiple: int) -> tuple[int, ...]:
    """Return, layer by layer, the widest of the group, up to the next multiple (of 8: what tensor cores want)."""
    return tuple(-(-max(widths) // multiple) * multiple for widths in zip(*shapes, strict=True))


class StackProgram:
    """The training steps of several members of one depth and batch size at once.

    Padding is exact: a padded unit has zero weights in and out, gives f(0) = 0, and so gets the gradient zero and, from
    Adam, the update zero.

    Args:
        members: Same depth, same batch size, same inputs and classes.
        inputs: From indices (n,) to what the networks see, (n, inputs).
        labels: int64, (all images,).
        activation: A name in `ACTIVATIONS`.
        multiple: Widths are padded to multiples of it.
        autocast: Entered for the forward pass.
    """

    def __init__(
        self,
        members: Sequence[StackMember],
        inputs: Callable[[torch.Tensor], torch.Tensor],
        labels: torch.Tensor,
        *,
        activation: str = "relu",
        multiple: int = 8,
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ):
        self._inputs, self._labels, self._autocast = inputs, labels, autocast
        self._activation, self.members = ACTIVATIONS[activation], tuple(members)
        self.shape = padded_shape([member.shape for member in members], multiple)
        self.classes = members[0].shape[-1]
        self._order = torch.stack([member.order for member in members], dim=1)  # (steps, members, batch size)
        self.parameters = list(itertools.chain.from_iterable(map(self._layer, range(len(self.shape) - 1))))
        self._first = [torch.zeros_like(weight) for weight in self.parameters]
        self._second = [torch.zeros_like(weight) for weight in self.parameters]
        weight = self.parameters[0]
        self._updates = torch.zeros(len(members), len(self.parameters), device=weight.device)
        self._position = torch.zeros(1, dtype=torch.int64, device=weight.device)
        self.losses = torch.zeros(len(self._order), len(members), dtype=weight.dtype, device=weight.device)
        self._initial = [weight.detach().clone() for weight in self.parameters]

    def _layer(self, number: int) -> tuple[nn.Parameter, nn.Parameter]:
        """Return weights (members, in, out) and biases (members, 1, out) of a layer, zero where they are padding.

        Rows are inputs, unlike in `nn.Linear`: `baddbmm` then gives gradients that lie in memory as the weights do.
        """
        like, count = self.members[0].layers[number].weight.detach(), len(self.members)
        weights = like.new_zeros(count, self.shape[number], self.shape[number + 1])
        biases = like.new_zeros(count, 1, self.shape[number + 1])
        for place, member in enumerate(self.members):
            layer = member.layers[number]
            weights[place, : layer.in_features, : layer.out_features] = layer.weight.detach().T
            biases[place, 0, : layer.out_features] = layer.bias.detach()
        return nn.Parameter(weights), nn.Parameter(biases)

    def backward(self) -> torch.Tensor:
        """Compute the gradients at the current position; return the members' losses, (members,)."""
        indices = self._order.index_select(0, self._position).flatten()
        features = self._inputs(indices)
        features = functional.pad(features, (0, self.shape[0] - features.shape[1]))
        hidden = features.view(len(self.members), -1, self.shape[0])
        with self._autocast():
            for number in range(0, len(self.parameters), 2):
                hidden = self._activation(hidden) if number else hidden
                hidden = torch.baddbmm(self.parameters[number + 1], hidden, self.parameters[number])
        logits = hidden[..., : self.classes].to(self.losses.dtype)  # padded classes must not enter the softmax
        each = functional.cross_entropy(
            logits.reshape(-1, self.classes), self._labels.index_select(0, indices), reduction="none"
        )
        losses = each.view(len(self.members), -1).mean(dim=1)
        for weight in self.parameters:
            weight.grad = None
        torch.autograd.backward(losses.sum())
        return losses.detach()

    def step(self) -> None:
        losses = self.backward()
        self._update()
        self.losses.index_copy_(0, self._position, losses.view(1, -1))
        self._position.add_(1).remainder_(len(self.losses))

    @torch.no_grad()
    def _update(self) -> None:
        """Do one fused Adam update per member on views of the stacked tensors, because learning rates differ."""
        for place, member in enumerate(self.members):
            adam(
                [weight[place] for weight in self.parameters],
                [weight.grad[place] for weight in self.parameters if weight.grad is not None],
                [slot[place] for slot in self._first],
                [slot[place] for slot in self._second],
                [],
                list(self._updates[place].unbind()),
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=member.rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )

    def reset(self) -> None:
        with torch.no_grad():
            for weight, initial in zip(self.parameters, self._initial, strict=True):
                weight.copy_(initial)
            for slot in (*self._first, *self._second, self._updates, self._position, self.losses):
                slot.zero_()

    def padding(self) -> Iterator[torch.Tensor]:
        """Yield what must always be zero: the padded rows and columns of weights and biases."""
        for place, member in enumerate(self.members):
            for number, layer in enumerate(member.layers):
                weight, bias = self.parameters[2 * number][place], self.parameters[2 * number + 1][place]
                yield weight.detach()[layer.in_features :]
                yield weight.detach()[:, layer.out_features :]
                yield bias.detach()[:, layer.out_features :]


def stack(trainer: Trainer, configs: Sequence[Mapping[str, Any]], steps: int, multiple: int) -> StackProgram:
    """Return configurations of one depth, activation and batch size as one program; seeds are their places."""
    part = trainer.train_part
    return StackProgram(
        [stack_member(trainer, config, seed, steps) for seed, config in enumerate(configs)],
        lambda indices: trainer.preprocess(part.images.index_select(0, indices)).flatten(1),
        part.labels,
        activation=str(configs[0].get("activation", "relu")),
        multiple=multiple,
        autocast=trainer.autocast,
    )
