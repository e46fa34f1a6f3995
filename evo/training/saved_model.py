"""A trained network in one safetensors file: its weights, the preprocessing of pixels, and what rebuilds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evo.data.tensors import Preprocessing
from evo.errors import ConfigurationError
from evo.files import output
from evo.individual import genome_from_json
from evo.models import MODELS, ModelBuilder, builder_of
from evo.plain_text import reason_of
from evo.training.model_state import restore_tensors
from evo.training.tensor_file import DamagedFileError, read_tensors, write_tensors
from evo.training.workbench import mirrored

FORMAT = 1
FACTS = "evo"
"""The key of the file's header that holds what the tensors do not say, as JSON."""
NETWORK, SHIFT, SCALE = "network.", "preprocessing.shift", "preprocessing.scale"
NEEDED = ("model", "config", "input_shape", "classes")


class SavedModel(nn.Module):
    """A trained network that takes pixels as they are in an image.

    Args:
        network: From normalised images, (batch, channels, height, width), to logits, (batch, classes).
        preprocessing: What the network was trained behind.
        test_flip: Whether it was measured on an image and its mirror image together; then it is used so, too.
    """

    shift: torch.Tensor
    scale: torch.Tensor | None

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, *, test_flip: bool = False):
        super().__init__()
        self.network, self.test_flip = network, test_flip
        self.register_buffer("shift", preprocessing.shift)
        self.register_buffer("scale", preprocessing.scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for images of pixels from 0 to 255, (batch, channels, height, width).

        A network of a table takes its rows, (batch, columns). One of images that were floats, and no bytes that were
        divided by 255, takes such floats.
        """
        if images.dim() == 2:
            images = images[:, None, None]
        return mirrored(self.network, Preprocessing(self.shift, self.scale)(images), test_flip=self.test_flip)


def save_model(
    path: Path, weights: Mapping[str, torch.Tensor], preprocessing: Preprocessing, facts: Mapping[str, Any]
) -> None:
    """Write a trained network, atomically.

    Args:
        path: The file.
        weights: The network's state, by name.
        preprocessing: Fitted on the images that it was trained on.
        facts: JSON values; `model`, `config`, `input_shape` and `classes` are needed to load it.

    Raises:
        StorageError: It cannot be written.
    """
    tensors = {NETWORK + name: tensor for name, tensor in weights.items()} | {SHIFT: preprocessing.shift}
    if preprocessing.scale is not None:
        tensors[SCALE] = preprocessing.scale
    text = json.dumps({"format": FORMAT, **facts}, allow_nan=False, ensure_ascii=False)
    with output(path) as temporary:
        write_tensors(temporary, tensors, {FACTS: text}, durable=False)


def load_model(path: str | Path, build: ModelBuilder | None = None) -> tuple[SavedModel, dict[str, Any]]:
    """Read a network that `evo replay --save` wrote. No code is read from the file.

    Args:
        path: The file.
        build: For a user-defined model, the function that builds it: f(config, input_shape, classes).

    Returns:
        The network, on the CPU and in evaluation mode, which takes pixels from 0 to 255 of shape (batch, channels,
        height, width) and returns logits (batch, classes); and what is known of it: `config`, `classes` (their names),
        `dataset`, `preprocess`, what was measured, the seed, versions, …

    Raises:
        ConfigurationError: The file is not there, damaged, of another kind, or does not fit the model.
    """
    if not Path(path).is_file():
        raise ConfigurationError(f"{path}: there is no such file")
    try:
        tensors, header = read_tensors(Path(path))
        facts = json.loads(header[FACTS])
        found = facts["format"]
        config, (channels, height, width) = genome_from_json(facts["config"]), map(int, facts["input_shape"])
        model, classes = str(facts["model"]), len(facts["classes"])
        test_flip = facts.get("training", {}).get("test_flip") is True
        preprocessing = Preprocessing(tensors.pop(SHIFT), tensors.pop(SCALE, None))
    except (DamagedFileError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path}: is damaged, or was not written by evo replay --save ({error})") from None
    if found != FORMAT:
        raise ConfigurationError(f"{path}: has format {found}, this version of evo reads format {FORMAT}; update evo")
    builder = build or _shipped(path, model)
    try:
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn; no other draws may change
            network = builder(config, (channels, height, width), classes)
    except Exception as error:  # an untrusted configuration or a user-defined function may raise anything
        raise ConfigurationError(
            f"{path}: {model} builds no network of its configuration ({reason_of(error)}); "
            "the file is damaged, or the function is not the one that it was trained with"
        ) from None
    try:
        restore_tensors(network, {name.removeprefix(NETWORK): tensor for name, tensor in tensors.items()})
    except ValueError as error:
        problem = f"its weights do not fit the network that {model} builds"
        raise ConfigurationError(f"{path}: {problem}: {reason_of(error)}") from None
    return SavedModel(network, preprocessing, test_flip=test_flip).eval(), facts


def loading_code(path: Path, model: str, *, tables: bool = False) -> str:
    """Return Python code that loads a saved network and applies it; `tables`: to rows of numbers instead of images."""
    module, own, function = model.partition(":")
    first = "import evo\nimport torch\n" + (f"from {module} import {function}\n" if own else "")
    build = f", build={function}" if own else ""
    inputs = (
        'rows = torch.randn(4, facts["input_shape"][-1])  # yours: (batch, columns), not standardised\n'
        if tables
        else 'images = torch.randint(0, 256, (4, *facts["input_shape"]))  # yours: (batch, channels, height, width)\n'
    )
    return (
        f"{first}\n"
        f"model, facts = evo.load_model({str(path)!r}{build})\n"
        f"{inputs}"
        f"logits = model({'rows' if tables else 'images'})\n"
        'names = [facts["classes"][label] for label in logits.argmax(dim=1)]\n'
    )


def _shipped(path: str | Path, model: str) -> ModelBuilder:
    if model not in MODELS:
        raise ConfigurationError(
            f"{path}: was trained with a user-defined model, {model}, which is not kept in the file; "
            f"give its function: evo.load_model({str(path)!r}, build=…)"
        )
    return builder_of(model)
