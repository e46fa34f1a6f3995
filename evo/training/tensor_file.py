"""Tensors and a few facts in a safetensors file with a checksum: a damaged file is noticed, never read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from evo.errors import PortableError
from evo.files import replacing

CHECKSUM = "checksum"


class DamagedFileError(PortableError):
    """A file of tensors is missing, or not as it was written."""


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str], *, durable: bool = True
) -> None:
    """Write tensors atomically.

    Args:
        path: The file.
        tensors: By name, on any device; two names of one tensor become two tensors.
        facts: Texts that are kept with them.
        durable: Whether the file must survive a crash of the machine.

    Raises:
        StorageError: It cannot be written.
    """
    contiguous = torch.contiguous_format
    copies = {name: tensor.detach().cpu().clone(memory_format=contiguous) for name, tensor in tensors.items()}
    content = save(copies, metadata={**facts, CHECKSUM: _checksum(copies, facts)})
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the facts of a file.

    Raises:
        DamagedFileError: It is missing, or a bit of its tensors or facts has changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise DamagedFileError(f"{path}: {error}") from None
    if facts.pop(CHECKSUM, None) != _checksum(tensors, facts):
        raise DamagedFileError(f"{path}: its checksum does not fit")
    return tensors, facts


def _checksum(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> str:
    """Return the SHA-256 of names, shapes, types, numbers and facts."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    digest.update(json.dumps(dict(facts), sort_keys=True).encode())
    return digest.hexdigest()
