"""Device, precision and engine follow from what the hardware offers."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evo.errors import ConfigurationError
from evo.names import AUTO, ENGINES, PRECISIONS
from evo.processes import usable_cores
from evo.training.hardware import (
    check_names,
    free_memory,
    processor_flags,
    processor_name,
    resolve_device,
    resolve_engine,
    resolve_precision,
    visible_gpus,
)

ZEN5 = {"vendor_id": "AuthenticAMD", "flags": "sse2 avx2 avx512f avx512_bf16", "model name": "AMD EPYC 9965"}
ZEN3 = {"vendor_id": "AuthenticAMD", "flags": "sse2 avx2", "model name": "AMD EPYC"}
XEON = {"vendor_id": "GenuineIntel", "flags": "sse2 avx2 avx512f amx_bf16", "model name": "Xeon"}
UNKNOWN: dict[str, str] = {}


def on(processor: dict[str, str], monkeypatch: pytest.MonkeyPatch, usable: bool = True) -> None:
    monkeypatch.setattr("evo.training.hardware._cpuinfo", lambda key: processor.get(key, ""))
    monkeypatch.setattr("evo.training.engines.onednn.usable", lambda: usable)


@pytest.mark.parametrize(
    ("processor", "precision", "device", "usable", "expected"),
    [
        (ZEN5, "fp32", "cpu", True, "onednn"),
        (ZEN5, "fp32", "cpu", False, "eager"),
        (ZEN5, "bf16", "cpu", True, "eager"),
        (ZEN5, "fp32", "cuda:0", True, "eager"),
        (ZEN3, "fp32", "cpu", True, "eager"),
        (XEON, "fp32", "cpu", True, "eager"),
        (XEON, "bf16", "cpu", True, "onednn"),
        (XEON, "bf16", "cpu", False, "onednn"),  # in bfloat16 it needs no operator that torch could lack
        (XEON, "bf16", "cuda:0", True, "eager"),
        (ZEN3, "bf16", "cpu", True, "eager"),
        (UNKNOWN, "fp32", "cpu", True, "eager"),
    ],
)
def test_the_automatic_engine_is_onednn_on_amd_with_avx512_in_fp32_and_with_amx_in_bf16_alone(
    processor: dict[str, str],
    precision: str,
    device: str,
    usable: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(processor, monkeypatch, usable)
    assert resolve_engine("auto", device, precision) == expected


@pytest.mark.parametrize("processor", [ZEN5, ZEN3, XEON, UNKNOWN])
def test_an_engine_that_was_asked_for_and_fits_is_taken_on_any_processor(
    processor: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(processor, monkeypatch)
    assert resolve_engine("onednn", "cpu", "fp32") == "onednn"
    assert resolve_engine("onednn", "cpu", "bf16") == "onednn"
    assert resolve_engine("eager", "cpu", "fp32") == "eager"
    assert resolve_engine("eager", "cuda:0", "bf16") == "eager"


@pytest.mark.parametrize(("device", "precision"), [("cuda:0", "fp32"), ("cuda:1", "bf16")])
def test_onednn_is_refused_where_it_does_not_fit_with_what_is_there(
    device: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(ZEN5, monkeypatch)
    with pytest.raises(ConfigurationError, match=f"--engine onednn: .*this is {device}"):
        resolve_engine("onednn", device, precision)


def test_onednn_is_refused_where_torch_has_no_such_product(monkeypatch: pytest.MonkeyPatch) -> None:
    on(ZEN5, monkeypatch, usable=False)
    with pytest.raises(ConfigurationError, match="--engine onednn: this build of torch has no oneDNN product"):
        resolve_engine("onednn", "cpu", "fp32")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cdua", "auto", "auto"), r'--device: unknown device "cdua". Did you mean "cuda"\?'),
        (("cuda:x", "auto", "auto"), "--device"),
        (("cpu", "fp16", "auto"), '--precision: unknown precision "fp16".*fp32, bf16'),
        (("cpu", "auto", "onedn"), r'--engine: unknown engine "onedn". Did you mean "onednn"\?'),
    ],
)
def test_names_that_do_not_exist_are_refused_with_what_there_is(names: tuple[str, str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_names(*names)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:7"])
@pytest.mark.parametrize("precision", [AUTO, *PRECISIONS])
@pytest.mark.parametrize("engine", [AUTO, *ENGINES])
def test_names_that_exist_are_taken(device: str, precision: str, engine: str) -> None:
    check_names(device, precision, engine)


CACHED = (
    "anon 1600000\nfile 3200000\nshmem 200000\ninactive_file 2000000\nactive_file 900000\nslab_reclaimable 100000\n"
)
OLD_CACHED = {"memory/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\ntotal_active_file 1000\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "5000000", "memory.current": "2000000"}, 3e6),
        ({"memory.max": "5000000", "memory.current": "4900000", "memory.stat": CACHED}, 3.1e6),
        ({"memory.max": "max", "memory.high": "4000000", "memory.current": "4900000", "memory.stat": CACHED}, 2.1e6),
        ({"memory.max": "5000", "memory.current": "9000"}, 0.0),
        ({"memory.max": "5000", "memory.current": "4000", "memory.stat": "inactive_file 9000\n"}, 5e3),
        ({"memory.max": "5000", "memory.current": "4000", "memory.stat": "a b c\ninactive_file many\n"}, 1e3),
        ({"job/memory.max": "6000", "job/memory.current": "1000", "memory.max": "max"}, 5e3),
        ({"job/step/memory.max": "9000", "job/step/memory.current": "0", "job/memory.max": "max"}, 9e3),
        ({"memory/memory.limit_in_bytes": "6000", "memory/memory.usage_in_bytes": "5000", **OLD_CACHED}, 4e3),
        ({"memory/old/memory.limit_in_bytes": "6000", "memory/old/memory.usage_in_bytes": "1000"}, 5e3),
        ({"memory.max": "max", "memory.current": "2000000"}, 1e9),
        ({"memory/memory.limit_in_bytes": "6000", "memory/memory.usage_in_bytes": "1000"}, 5e3),
        ({"memory.max": "5000000"}, 1e9),
        ({"memory.max": "many", "memory.current": "few"}, 1e9),
        ({"memory.max": "5000000000", "memory.current": "1"}, 1e9),
        ({}, 1e9),
    ],
    ids=str,
)
def test_a_container_bounds_the_free_memory(
    files: dict[str, str], expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.training.hardware._available", lambda: 1e9)
    grouped(files, tmp_path, monkeypatch)
    assert free_memory("cpu") == expected


def grouped(files: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this process into control groups."""
    monkeypatch.setattr("evo.control_group.ROOT", folder / "cgroup")
    monkeypatch.setattr("evo.control_group.OWN", folder / "own")
    (folder / "own").write_text("7:memory:/old\n3:cpu,cpuacct:/old\n0::/job/step\n")
    for name, text in files.items():
        (folder / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup" / name).write_text(text + "\n")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu.max": "damaged"}, 8),
        ({"cpu.max": "max 100000", "job/cpu.max": "300000 100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/old/cpu.cfs_quota_us": "400000", "cpu/old/cpu.cfs_period_us": "100000"}, 4),
    ],
    ids=str,
)
@pytest.mark.parametrize("affinity", ["there", "missing", "refused"])
def test_a_container_bounds_the_cores(
    files: dict[str, str], expected: int, affinity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> set[int]:
        raise OSError("not here")

    grouped(files, tmp_path, monkeypatch)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    if affinity == "missing":
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    else:
        found = (lambda pid: set(range(8))) if affinity == "there" else refuse
        monkeypatch.setattr(os, "sched_getaffinity", found, raising=False)
    assert usable_cores() == expected


BUILDS = {
    "cuda: Optional[str] = None\nhip: Optional[str] = None\n": False,
    "cuda = None\n": False,
    "cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n": True,
    "cuda: Optional[str] = None\nhip: Optional[str] = '6.3'\n": True,
    "": True,
}


@pytest.mark.parametrize(("build", "uses"), BUILDS.items(), ids=str)
def test_a_gpu_counts_only_where_torch_can_use_it(
    build: str, uses: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text(build)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: SimpleNamespace(origin=tmp_path / "torch" / "__init__.py")
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert visible_gpus() == ["0"] * uses


@pytest.mark.parametrize(("processor", "expected"), [(ZEN5, "bf16"), (XEON, "bf16"), (ZEN3, "fp32"), (UNKNOWN, "fp32")])
def test_the_automatic_precision_is_bf16_where_the_processor_computes_in_it(
    processor: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(processor, monkeypatch)
    assert resolve_precision("auto", "cpu") == expected


CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC: a name
flags\t\t: fpu avx512f

processor\t: 1
vendor_id\t: Other
model name\t: Other
flags\t\t: other
"""


def test_the_processor_is_the_first_that_linux_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: CPUINFO)
    assert processor_flags() == {"fpu", "avx512f"}
    assert processor_name() == "AMD EPYC: a name"


def test_without_linux_files_nothing_is_known_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Path, encoding: str) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    assert (processor_flags(), processor_name(), free_memory("cpu")) == (set(), "", math.inf)
    assert resolve_engine("auto", "cpu", "fp32") == "eager"


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB\n", "MemAvailable: much\n", "MemAvailable:\n"])
def test_free_memory_that_linux_does_not_say_is_no_bound(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert free_memory("cpu") == math.inf


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/meminfo")
def test_free_memory_is_a_number_of_bytes_below_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 1e6 < free_memory("cpu") < total
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: "MemFree: 1 kB\nMemAvailable: 3 kB\n")
    assert free_memory("cpu") == 3 * 1024


def test_the_device_is_the_first_gpu_or_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [resolve_device(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda:0", "cuda:0", "cuda:1", "cpu"]
    with pytest.raises(ConfigurationError, match=r'no "cuda:2". It has: cpu, cuda:0, cuda:1'):
        resolve_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_device("auto") == "cpu"
