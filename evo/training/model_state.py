"""What a network remembers, as tensors, and how to tell that a restored network is the one that was saved."""

from __future__ import annotations

import collections
import hashlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

PLAIN = (bool, int, float, str)
DEEPEST = 4
"""How deep plain attributes are looked into: lists of lists, objects in objects."""
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
EXTRA = "_extra_state"
"""The name that torch gives to what a module returns as its extra state."""


class RecallError(Exception):
    """A restored network does not give what it gave when it was saved."""


@dataclass(frozen=True)
class Recall:
    """What a network gives, to be compared with what it gives once it is restored from a file.

    Attributes:
        accuracy: On some images, a fraction in [0, 1].
        loss: Mean cross-entropy on the same images.
        images: Their number.
        rounding: How far results may differ from one processor to another, relative to their size.
        attributes: See `plain_attributes`; empty where they are not compared.
    """

    accuracy: float
    loss: float
    images: int
    rounding: float
    attributes: str = ""

    def check(self, restored: Recall, what: str) -> None:
        """Compare it with what the restored network gives.

        Raises:
            RecallError: They differ by more than rounding; the text begins with `what`.
        """
        problem = ""
        if not _near(self.loss, restored.loss, self.rounding * (1 + abs(self.loss))):
            problem = f"the loss was {self.loss:.6g} and is {restored.loss:.6g}"
        elif not _near(self.accuracy, restored.accuracy, self.rounding + 1 / self.images):
            problem = f"the accuracy was {self.accuracy:.6g} and is {restored.accuracy:.6g}"
        elif self.attributes != restored.attributes:
            problem = "a plain attribute of the model, or how it is set up, has changed in training"
        if problem:
            raise RecallError(
                f"{what} does not bring the network back ({problem}): the model holds something that "
                "no file keeps, or is random when it is evaluated; what training changes belongs into buffers"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recall:
        """Build it from what `to_dict` wrote.

        Raises:
            TypeError: It is something else.
        """
        return cls(**values)


def _near(first: float, second: float, difference: float) -> bool:
    return abs(first - second) <= difference or (math.isnan(first) and math.isnan(second))


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return all tensors that a network registers, by name: parameters, and buffers whether persistent or not.

    `state_dict` leaves out buffers that are not persistent. They can be part of what training has changed.
    """
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    for name, module in _with_extra_state(model):
        if isinstance(extra := module.get_extra_state(), torch.Tensor):
            tensors[name] = extra
    return tensors


def restore_tensors(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a network that was just built the tensors of `tensors_of`.

    Raises:
        ValueError: They are those of another network.
    """
    known = dict(model.named_parameters(remove_duplicate=False))
    needed = {*known, *_persistent_buffers(model)}
    extra = dict(_with_extra_state(model))
    missing = sorted(needed - tensors.keys())
    wrong = [name for name, weight in known.items() if name in tensors and tensors[name].shape != weight.shape]
    strange = sorted(name for name in tensors.keys() - known.keys() - extra.keys() if not _has_place(model, name))
    if missing or wrong or strange:
        problems = {"missing": missing, "of another shape": wrong, "without a place": strange}
        raise ValueError("; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names))
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name in extra:
                extra[name].set_extra_state(tensor)
            elif name in known:
                known[name].copy_(tensor)
            else:
                _restore_buffer(model, name, tensor)


def plain_attributes(model: nn.Module) -> str:
    """Return a digest of what a network holds besides parameters and buffers, which no file of tensors keeps.

    These are its modules, their modes and hooks, which weights are trained, and the values of plain attributes.
    """
    held: list[object] = [(name, weight.requires_grad) for name, weight in model.named_parameters()]
    for path, module in model.named_modules():
        own = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
        hooks = [(name, len(value)) for name, value in vars(module).items() if name.endswith("_hooks") and value]
        held.append((path, type(module).__name__, module.training, hooks, _described(own)))
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            held.append(_described(module.get_extra_state()))
    return hashlib.sha256(repr(held).encode()).hexdigest()


def _described(value: object, depth: int = 0) -> object:
    """Return what a value holds, as texts that are equal in every process; of what is not known, its type."""
    if type(value) in PLAIN or value is None:
        return repr(value)
    if isinstance(value, torch.Tensor) and value.layout == torch.strided:
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return str(value.dtype), tuple(value.shape), hashlib.sha256(content.numpy().data).hexdigest()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, torch.Generator):
        return _described(value.get_state(), depth)
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, itertools.count):
        return repr(value)
    if depth < DEEPEST and not isinstance(value, nn.Module):
        if isinstance(value, dict):
            return sorted((str(key), repr(_described(item, depth + 1))) for key, item in value.items())
        if isinstance(value, list | tuple | collections.deque):
            return [_described(item, depth + 1) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(repr(_described(item, depth + 1)) for item in value)
        if hasattr(value, "__dict__") and not callable(value):
            return type(value).__name__, _described(vars(value), depth + 1)
    return type(value).__name__


def _persistent_buffers(model: nn.Module) -> set[str]:
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules(remove_duplicate=False)
        for name, buffer in module._buffers.items()
        if buffer is not None and name not in module._non_persistent_buffers_set
    }


def _with_extra_state(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (f"{path}.{EXTRA}" if path else EXTRA, module)
        for path, module in model.named_modules()
        if type(module).get_extra_state is not nn.Module.get_extra_state
    ]


def _has_place(model: nn.Module, name: str) -> bool:
    """Return whether the module that is to hold a buffer exists; it may register the buffer only while it trains."""
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return False
    return leaf in module._buffers or not hasattr(module, leaf)


def _restore_buffer(model: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    buffer = getattr(module, leaf, None)
    if isinstance(buffer, torch.Tensor) and (buffer.shape, buffer.dtype) == (tensor.shape, tensor.dtype):
        buffer.copy_(tensor)  # in place: other modules may share it
        return
    device = next((weight.device for weight in model.parameters()), tensor.device)
    if leaf in module._buffers:
        setattr(module, leaf, tensor.to(device))
    else:
        module.register_buffer(leaf, tensor.to(device), persistent=False)
