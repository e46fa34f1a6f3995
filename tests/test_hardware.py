"""Device, precision and engine follow from what the hardware offers."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from evo.errors import ConfigurationError
from evo.names import AUTO, ENGINES, PRECISIONS
from evo.training.hardware import (
    check_names,
    free_memory,
    processor_flags,
    processor_name,
    resolve_device,
    resolve_engine,
    resolve_precision,
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


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "5000000", "memory.current": "2000000"}, 3e6),
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
    monkeypatch.setattr("evo.training.hardware.CONTROL_GROUP", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert free_memory("cpu") == expected


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
