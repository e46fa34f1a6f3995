"""Checks and measurements on one GPU that decide whether CUDA graphs, streams and stacking are worth having in evo.

    python -m benchmarks.gpu --data-dir DIR [--device cuda:0] [--minutes 8] [--output benchmarks/gpu/results]
    python -m benchmarks.gpu --dataset digits --device cpu --minutes 1 --output DIR      # a dry run, everything small

`results.json` is written after each section and `summary.md` at the end. A section that fails is recorded with its
reason, and the others still run. `--only` runs some sections and keeps earlier results of the others, so that each
section can have its own process: an illegal memory access spoils a CUDA context for everything that follows.

Needed besides torch and numpy: safetensors, pydantic (with pydantic-core, annotated-types and typing-inspection),
platformdirs, pillow; scikit-learn only for `--dataset digits`. Neither DEAP nor pandas.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as evo's workers have it; cuBLAS reads it at its start

import torch

from benchmarks.gpu.bench import Bench, Results
from benchmarks.gpu.checks import correctness, environment
from benchmarks.gpu.engines import graphs, memory, population, stacked, streams
from benchmarks.gpu.ladder import ladder
from benchmarks.markdown import table
from evo.data import prepare_dataset

SECTIONS: dict[str, tuple[Callable[[Bench], Results], float, bool]] = {
    "environment": (environment, 1, False),
    "correctness": (correctness, 6, False),
    "ladder": (ladder, 10, False),
    "graphs": (graphs, 2, True),
    "streams": (streams, 3, True),
    "stacked": (stacked, 4, False),
    "memory": (memory, 1.5, True),
    "population": (population, 2, False),
}
"""Function, share of the time, and whether it needs CUDA."""


def run_section(bench: Bench, name: str) -> Results:
    """Return a section's results with its status and seconds; an error becomes the status and its reason."""
    section, _, needs_cuda = SECTIONS[name]
    if needs_cuda and bench.small:
        return {"status": "not run: no CUDA device"}
    started = time.monotonic()
    try:
        found: Results = {"status": "done"} | section(bench)
        bench.synchronise()
    except Exception as problem:  # the other sections still run
        trace = traceback.format_exc().splitlines()[-12:]
        found = {"status": "failed", "error": f"{type(problem).__name__}: {problem}", "traceback": trace}
    return found | {"section_seconds": time.monotonic() - started}


def run_sections(bench: Bench, names: Sequence[str], seconds: float, output: Path) -> None:
    """Run sections in turn, each within its share of the remaining time, and write what they found."""
    ends = time.monotonic() + seconds
    output.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        shares = [SECTIONS[later][1] for later in names[place:]]
        bench.section_ends = time.monotonic() + (ends - time.monotonic()) * shares[0] / sum(shares)
        bench.results[name] = run_section(bench, name)
        print(f"{name}: {bench.results[name]['status']} {bench.results[name].get('error', '')}", flush=True)
        (output / "results.json").write_text(json.dumps(bench.results, indent=1, default=str), encoding="utf-8")
    (output / "summary.md").write_text(summary(bench.results), encoding="utf-8")


def summary(results: Mapping[str, Results]) -> str:
    """Return the results as Markdown: a table for each list of rows, a line for everything else."""
    lines = ["# Measurements on one GPU", "", f"Command: `python -m benchmarks.gpu {' '.join(sys.argv[1:])}`"]
    for name in (section for section in SECTIONS if section in results):
        lines += ["", f"## {name}", ""]
        tables = {key: value for key, value in results[name].items() if _is_table(value)}
        lines += [f"- {key}: {_cell(value)}" for key, value in results[name].items() if key not in tables]
        for key, rows in tables.items():
            columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
            cells = [[_cell(row.get(column, "")) for column in columns] for row in rows]
            lines += ["", f"### {key}", "", *table(columns, cells)[:-1]]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("\n", "; ").replace("|", "/")


def _earlier(path: Path) -> dict[str, Results]:
    """Return the results that an earlier command left."""
    found: dict[str, Results] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-10 or an image tree")
    parser.add_argument("--dataset", choices=("cifar10", "digits", "imagefolder"))
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--minutes", type=float, default=8.0, help="about how long all sections take together")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/gpu/results"))
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(SECTIONS)):
        parser.error(f"unknown sections {', '.join(unknown)}; known: {', '.join(SECTIONS)}")
    started = time.monotonic()
    dataset = prepare_dataset(options.dataset, options.data_dir, download=False)
    bench = Bench(dataset, torch.device(options.device), results=_earlier(options.output / "results.json"))
    run_sections(bench, names, 60 * options.minutes - (time.monotonic() - started), options.output)


if __name__ == "__main__":
    main()
