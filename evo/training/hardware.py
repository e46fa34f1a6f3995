"""What this machine computes with: device, precision and engine, chosen by what the hardware offers, not by timings."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import math
import os
import re
from pathlib import Path

from evo.control_group import memory_left
from evo.errors import ConfigurationError, did_you_mean
from evo.names import AUTO, ENGINES, PRECISIONS, check_name
from evo.training import engines

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names for two settings of `mallopt`, in bytes (malloc.h)."""


def check_names(device: str, precision: str, engine: str) -> None:
    """Check what can be checked before a worker looks at the machine.

    Raises:
        ConfigurationError: A name is unknown.
    """
    kind, _, number = device.partition(":")
    if device not in (AUTO, "cpu", "cuda") and not (kind == "cuda" and number.isdigit()):
        hint = did_you_mean(device, (AUTO, "cpu", "cuda"))
        raise ConfigurationError(f'--device: unknown device "{device}".{hint} Known: auto, cpu, cuda, cuda:N')
    check_name("--precision", precision, (AUTO, *PRECISIONS))
    check_name("--engine", engine, (AUTO, *ENGINES))


def resolve_device(device: str) -> str:
    """Return the device that "auto" stands for, or `device` if this machine has it.

    Raises:
        ConfigurationError: It does not.
    """
    import torch

    available = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if device == AUTO:
        return "cuda:0" if len(available) > 1 else "cpu"
    if device == "cuda":
        device = "cuda:0"
    if device not in available:
        raise ConfigurationError(f'--device: this machine has no "{device}". It has: {", ".join(available)}')
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Return the precision that "auto" stands for: bfloat16 where the hardware computes in it."""
    if precision != AUTO:
        return precision
    if device == "cpu":
        return "bf16" if processor_flags() & {"avx512_bf16", "amx_bf16"} else "fp32"
    import torch

    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"


def resolve_engine(engine: str, device: str, precision: str) -> str:
    """Return the engine that "auto" stands for, or `engine` if it can be had here.

    "onednn" is taken where torch's own products leave much of the machine unused: in float32 on AMD processors with
    AVX-512, in bfloat16 on processors with AMX (see `evo.training.engines.onednn`). Everywhere else it is "eager".

    Raises:
        ConfigurationError: The engine does not fit the device or this build of torch.
    """
    if engine == AUTO:
        wanted = "onednn" if _gains_from_onednn(device, precision) else "eager"
        return "eager" if engines.ENGINES[wanted].problem(device, precision) else wanted
    if problem := engines.ENGINES[engine].problem(device, precision):
        raise ConfigurationError(f"--engine {engine}: {problem}")
    return engine


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that trainings can use, as `CUDA_VISIBLE_DEVICES` takes them, without torch."""
    if not _torch_computes_on_gpus():
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in map(str.strip, chosen.split(",")) if name and name != "-1"]
    # A container's devices keep the numbers of their machine, and CUDA counts those that are there from 0.
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def _torch_computes_on_gpus() -> bool:
    """Return whether this build of torch can compute on a GPU, by a file of it: to import it takes seconds."""
    spec = importlib.util.find_spec("torch")
    try:
        text = Path(str(spec.origin)).with_name("version.py").read_text(encoding="utf-8") if spec is not None else ""
    except (OSError, ValueError):
        return True  # the first worker will tell
    kinds = re.findall(r"^(?:cuda|hip|xpu)\b[^=\n]*=\s*(\S+)", text, re.MULTILINE)
    return not kinds or any(value != "None" for value in kinds)


def free_memory(device: str) -> float:
    """Return the bytes of memory that trainings on a device can use; infinity where that is unknown."""
    if device != "cpu":
        import torch

        return float(torch.cuda.mem_get_info(device)[0])
    return min(_available(), memory_left())


def _available() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return math.inf


def keep_freed_memory() -> None:
    """Let the C library keep freed memory instead of returning it to the system.

    A CNN's step frees and allocates the same tens of megabytes; glibc returns them in between, and the page faults
    (4,000 a step of 64 images, channels 32, 48, 48) take 16 % of the time. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def processor_flags() -> set[str]:
    """Return the instruction sets that Linux says the processor has; none elsewhere."""
    return set(_cpuinfo("flags").split())


def processor_name() -> str:
    """Return the processor's name as Linux says it; empty elsewhere."""
    return _cpuinfo("model name")


def _gains_from_onednn(device: str, precision: str) -> bool:
    flags = processor_flags() if device == "cpu" else set()
    if precision == "bf16":
        return "amx_bf16" in flags
    return "avx512f" in flags and _cpuinfo("vendor_id") == "AuthenticAMD"


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
