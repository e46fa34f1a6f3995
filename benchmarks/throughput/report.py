"""The files of a benchmark: tables, hardware, a summary for a reader, two figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.markdown import table
from benchmarks.throughput.analysis import ratios_table
from evo.errors import ConfigurationError
from evo.files import replacing, write_json, write_text
from evo.record.tables import write_csv

BASES = ("usual", "resident", "resident-bf16", "optuna")
RUNGS = {
    "usual": "DataLoader (the best of 0, 1 and 2 workers) over standardised float32 images in memory, torch's "
    "optimiser, loss read at every step, all threads; augmentation of whole batches by torchvision.transforms.v2",
    "resident": "standardised images resident in memory, rows taken by index, otherwise as `usual`",
    "resident-bf16": "`resident` under autocast to bfloat16",
    "optuna": "an Optuna study (journal file) over `resident`, one process per worker, one thread each",
    "evo-eager": "evo's worker processes, one thread each, torch's operators",
    "evo-onednn": "the same, linear layers through oneDNN",
    "evo-eager-bf16": "`evo-eager` under autocast to bfloat16",
    "evo-onednn-bf16": "`evo-onednn` under autocast to bfloat16, what evo chooses on processors with AMX",
}
QUIET = 0.1
"""Cores that other processes may use while a rung is timed."""
GREYS = ("#ffffff", "#f2f2f2", "#cccccc", "#cccccc", "#8c8c8c", "#8c8c8c", "#555555", "#555555")
HATCHES = ("", "///", "", "...", "", "xxx", "", "///")


@dataclass
class Results:
    """Everything that was measured; empty tables are neither written nor mentioned.

    Attributes:
        hardware: Facts about the machine and the command.
        timings: One row per population, rung and repeat.
        peaks: One row per matrix product.
        growth: One row per population size and repeat.
        workers: One row per number of workers and repeat.
        overhead: Where the time of a search went.
        notes: What was left out, and why.
    """

    hardware: dict[str, Any]
    timings: list[dict[str, Any]] = field(default_factory=list)
    peaks: list[dict[str, Any]] = field(default_factory=list)
    growth: list[dict[str, Any]] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    overhead: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)

    def note_shares(self) -> None:
        """Add to each timing its share of the best matrix product of its precision."""
        for row in self.timings:
            peaks = [peak["gflops"] for peak in self.peaks if peak["precision"] == row["precision"]]
            row["share_of_peak"] = row["gflops"] / max(peaks) if peaks else None

    @property
    def anything(self) -> bool:
        """Whether there is any table to write."""
        return any((self.timings, self.peaks, self.growth, self.workers, len(self.overhead)))

    @property
    def void(self) -> list[str]:
        """A line for each time that does not count."""
        rows = (row for row in self.timings if row["void"])
        return [f"{row['population']}, {row['rung']}, repeat {row['repeat']}: {row['void']}" for row in rows]

    @property
    def disturbed(self) -> str:
        """A warning if other processes ran while a rung was timed, or an empty text."""
        loads = [row["other_cores"] for row in self.timings if row["other_cores"] is not None]
        count = sum(load > QUIET for load in loads)
        if not count:
            return ""
        return (
            f"disturbed: during {count} of {len(loads)} times other processes used more than {QUIET:g} cores (up to "
            f"{max(loads):.2f}). Threads that wait for each other then become many times slower, so do not publish "
            "the ratios to rungs that use all threads"
        )


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raise ConfigurationError if the folder holds something that must not be replaced."""
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--output: {folder} is not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise ConfigurationError(f"--output: {folder} is not empty; give another folder, or --overwrite")


def write_measurements(results: Results, folder: Path) -> None:
    """Write what was measured so far, without loading a library that would count as memory of the next rung."""
    tables = {
        "throughput": pd.DataFrame(results.timings),
        "peaks": pd.DataFrame(results.peaks),
        "growth": pd.DataFrame(results.growth),
        "workers": pd.DataFrame(results.workers),
        "overhead": results.overhead,
    }
    for name, measured in tables.items():
        if len(measured):
            write_csv(measured, folder / f"{name}.csv")
    write_json(folder / "hardware.json", results.hardware)


def write_results(results: Results, folder: Path) -> None:
    """Write every file for which there are measurements."""
    write_measurements(results, folder)
    ratios = ratios_table(pd.DataFrame(results.timings), BASES)
    write_text(folder / "summary.md", summary(results, ratios))
    if len(ratios):
        write_csv(ratios, folder / "ratios.csv")
        _write_figure(ladder_figure(ratios), folder / "ladder.png")
    if results.growth:
        _write_figure(growth_figure(pd.DataFrame(results.growth)), folder / "growth.png")


def summary(results: Results, ratios: pd.DataFrame) -> str:
    """Return the results as Markdown."""
    facts = results.hardware
    lines = ["# Throughput of populations", "", f"`{facts['command']}`, {facts['date']}", ""]
    lines += [
        f"{facts.get('device_name') or facts['processor']}; {facts['cores']} cores, {facts['memory_gib']} GiB; "
        f"{', '.join(f'{name} {version}' for name, version in facts['versions'].items())}. "
        f"Data: {facts.get('data', 'none')}. Precision of evo here: {facts.get('precision', '-')}. "
        f"Load average at the start: {', '.join(map(str, facts['load_average_at_start']))}.",
        "",
    ]
    if results.disturbed:
        lines += [f"**{results.disturbed}.**", ""]
    if results.void:
        lines += ["**These times do not count:**", "", *[f"- {line}" for line in results.void], ""]
    lines += [f"- {note}" for note in results.notes] + [""] * bool(results.notes)
    if results.timings:
        lines += _ladder_section(results, ratios)
    if results.growth:
        lines += _growth_section(pd.DataFrame(results.growth))
    if results.workers:
        lines += _workers_section(pd.DataFrame(results.workers))
    if len(results.overhead):
        cells = [
            [str(row.part), f"{row.worker_seconds:.1f}", f"{row.share:.2%}"] for row in results.overhead.itertuples()
        ]
        lines += ["## Where the time of a search went", "", *table(["part", "worker seconds", "share"], cells)]
    return "\n".join(lines).rstrip() + "\n"


def _ladder_section(results: Results, ratios: pd.DataFrame) -> list[str]:
    timings = pd.DataFrame(results.timings)
    shown = [f"- `{name}`: {words}" for name, words in RUNGS.items() if name in set(timings["rung"])]
    lines = ["## The ladder", "", *shown, "", *_METHOD, ""]
    for population, rows in timings.groupby("population", sort=False):
        first = rows.iloc[0]
        lines += [f"### `{population}`: {first['members']} networks, {first['steps']} steps each", ""]
        head = [
            "rung",
            "wall s (median)",
            "ms per member-step",
            "GFLOP/s",
            "of the peak",
            "start-up s",
            "peak memory MB",
            "other load",
        ]
        cells = [[str(rung), *_rung_cells(own)] for rung, own in rows.groupby("rung", sort=False)]
        lines += table(head, cells)
        own_ratios = ratios[ratios["population"] == population]
        bases = [base for base in BASES if base in set(own_ratios["base"])]
        names = list(dict.fromkeys(rows["rung"]))
        head = ["times as fast as", *[f"`{base}`" for base in bases]]
        lines += table(head, [[name, *[_ratio_cell(own_ratios, base, name) for base in bases]] for name in names])
    head = ["precision", "product", "processes", "threads each", "size", "GFLOP/s together"]
    order = ("precision", "product", "processes", "threads", "size")
    peaks = [[*[str(row[name]) for name in order], f"{row['gflops']:.0f}"] for row in results.peaks]
    return lines + (["### Matrix products of this machine", "", *table(head, peaks)] if peaks else [])


_METHOD = (
    "All rungs train the same genomes, from the same initial weights, on the same number of images; each orders its "
    "batches itself. The rungs of a repeat follow one another, forwards and backwards in turn. Wall time runs from the "
    "start of the first training to the end of the last; starting the processes, loading the data and a warm-up come "
    "before it, as start-up. evo and Optuna get the most expensive trainings first. GFLOP/s are those of linear and "
    "convolutional layers (forward, weight gradient, input gradient except for the first layer; for linear layers "
    "2·batch·(3·Σ inputs·outputs − inputs·outputs of the first)), as a share of the fastest matrix product of the same "
    "precision below. Memory is the proportional set size of all processes together, sampled every 0.2 s while they "
    "start and while they continue for a while after the clock has stopped. Other load is the mean number of cores "
    "that other processes used while the clock ran, for the worst repeat: where it is not near 0, do not rely on the "
    "times, least of all on those of rungs that use all threads. Ratios: geometric mean over the repeats, in "
    "brackets the 95 % interval (Student's t over the logarithms), then smallest and largest.",
)


def _rung_cells(rows: pd.DataFrame) -> list[str]:
    share = rows["share_of_peak"].median() if "share_of_peak" in rows else math.nan
    memory, other = rows["peak_memory_bytes"].max(), rows["other_cores"].max()
    return [
        f"{rows['wall_seconds'].median():.2f}",
        f"{1000 * rows['seconds_per_member_step'].median():.3g}",
        f"{rows['gflops'].median():.1f}",
        f"{share:.0%}" if pd.notna(share) else "",
        f"{rows['startup_seconds'].median():.1f}",
        f"{memory / 1e6:.0f}" if pd.notna(memory) and memory else "",
        f"{other:.2f}" if pd.notna(other) else "",
    ]


def _ratio_cell(ratios: pd.DataFrame, base: str, rung: str) -> str:
    rows = ratios[(ratios["base"] == base) & (ratios["rung"] == rung)]
    if rows.empty:
        return "1" if rung == base else ""
    row = rows.iloc[0]
    interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if pd.notna(row["low"]) else " (one repeat)"
    return f"{row['ratio']:.2f}{interval}" + (f", {row['min']:.2f}–{row['max']:.2f}" if row["repeats"] > 1 else "")


def _growth_section(growth: pd.DataFrame) -> list[str]:
    first = growth.iloc[0]
    lines = [
        "## Growth of the population",
        "",
        f"The first networks of `small`, {first['steps']} steps each, {first['workers']} workers, engine "
        f"{first['engine']}, {first['precision']}; medians of {growth['repeat'].max()} repeats, smallest and largest.",
        "",
    ]
    cells = [
        [
            str(size),
            f"{rows['wall_seconds'].median():.3f}",
            f"{rows['seconds_per_member'].median():.4f}",
            f"{rows['seconds_per_member'].min():.4f}–{rows['seconds_per_member'].max():.4f}",
        ]
        for size, rows in growth.groupby("members")
    ]
    return lines + table(["networks", "wall s", "s per network", "smallest–largest"], cells)


def _workers_section(workers: pd.DataFrame) -> list[str]:
    first = workers.iloc[0]
    lines = [
        "## More workers",
        "",
        f"`{first['population']}`, {first['steps']} steps each, engine {first['engine']}.",
        "",
    ]
    cells = [
        [
            str(count),
            f"{rows['wall_seconds'].median():.2f}",
            f"{rows['times_one_worker'].median():.2f}",
            f"{rows['times_one_worker'].min():.2f}–{rows['times_one_worker'].max():.2f}",
        ]
        for count, rows in workers.groupby("workers")
    ]
    return lines + table(["workers", "wall s (median)", "times as fast as one", "smallest–largest"], cells)


def ladder_figure(ratios: pd.DataFrame) -> Any:
    """Return bars of the speed relative to `usual`, one group per population."""
    from matplotlib.figure import Figure

    own = ratios[ratios["base"] == "usual"]
    populations, rungs = list(dict.fromkeys(own["population"])), list(dict.fromkeys(own["rung"]))
    figure = Figure(figsize=(max(5.0, 2.2 * len(populations) + 1.5), 4.2), layout="constrained")
    axes, width = figure.subplots(), 0.8 / max(1, len(rungs))
    for number, rung in enumerate(rungs):
        rows = own[own["rung"] == rung].set_index("population").reindex(populations)
        places = [place + (number - (len(rungs) - 1) / 2) * width for place in range(len(populations))]
        errors = [(rows["ratio"] - rows["low"]).tolist(), (rows["high"] - rows["ratio"]).tolist()]
        bars = axes.bar(places, rows["ratio"], width, yerr=errors, label=rung, capsize=2, ecolor="black")
        for bar in bars:
            bar.set(facecolor=GREYS[number % len(GREYS)], hatch=HATCHES[number % len(HATCHES)], edgecolor="black")
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(populations)), populations)
    axes.set_xlabel("population")
    axes.set_ylabel('speed relative to "usual" (1 = as fast)')
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small", frameon=False)
    return figure


def growth_figure(growth: pd.DataFrame) -> Any:
    """Return the seconds per network against the size of the population: a dot per repeat, the medians as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    medians = growth.groupby("members")["seconds_per_member"].median()
    axes.scatter(growth["members"], growth["seconds_per_member"], s=16, color="#808080", label="a repeat")
    axes.plot(medians.index, medians, color="black", marker="o", markersize=4, label="median")
    axes.set_xscale("log", base=2)
    axes.set_xticks(medians.index, [str(size) for size in medians.index])
    axes.set_xlabel("networks in the population")
    axes.set_ylabel("seconds per network")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small", frameon=False)
    return figure


def _write_figure(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
