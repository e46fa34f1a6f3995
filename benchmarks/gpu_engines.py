"""Sections of `benchmarks.gpu` that try the prototypes: graphs, streams, stacks, their memory and growth."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as evo's workers have it; cuBLAS reads it at its start

import torch

from benchmarks.gpu_bench import (
    CHECK_STEPS,
    PRECISIONS,
    Bench,
    Precision,
    Results,
    _genome,
    floor_seconds,
    network_shape,
    number,
    parameters_of,
    report_population,
    seconds_per_call,
    step_flops,
)
from benchmarks.gpu_checks import _cases, eager_losses, largest_difference, outcome
from benchmarks.gpu_ladder import evo_step, population_floor
from benchmarks.gpu_prototypes import (
    MemberProgram,
    Replay,
    StackProgram,
    replay_on_streams,
    stack,
)
from evo.evaluators import Task
from evo.individual import Genome


def _architectures(bench: Bench) -> list[Genome]:
    """Return five networks of the report's space, from the smallest to the largest."""
    lists = ([800, 400, 200, 100, 50], [500, 500], [1000, 500, 250, 100], [2500], [5000])
    return [
        _genome([width // 50 for width in widths] if bench.small else widths, 500, 1e-4, bench.small)
        for widths in lists
    ]


def _largest_weight_difference(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    return max(float((left - right).abs().max()) for left, right in zip(one, other, strict=True))


def graphs(bench: Bench) -> Results:
    """One CUDA graph a member against evo's eager step."""
    found: Results = {"members": []}
    networks = _architectures(bench)
    budget = 0.3 * bench.left / (2 * len(networks) * len(PRECISIONS))
    for precision, config in itertools.product(PRECISIONS, networks):
        found["members"].append(_graph_row(bench, precision, config, budget))
    return found


def _graph_row(bench: Bench, precision: Precision, config: Genome, budget: float) -> Results:
    trainer = bench.report_trainer(precision)
    losses, weights = eager_losses(trainer, config, 5, CHECK_STEPS)
    eager = seconds_per_call(bench, evo_step(trainer, config), budget)
    reserved = _reserved(bench)
    program = MemberProgram(trainer, config, 5, CHECK_STEPS)
    replay = Replay(program, bench.device)
    memory = _reserved(bench) - reserved
    replay_on_streams([replay], [replay.stream], CHECK_STEPS)
    bench.synchronise()
    graphed = program.losses.tolist()
    difference = _largest_weight_difference(program.weights(), weights)
    seconds = seconds_per_call(bench, replay, budget)
    shape = network_shape(config, bench.dataset)
    floor = floor_seconds(shape, program.batch_size, bench.peaks[precision], bench.peaks["bandwidth"])
    return {
        "hidden_layers": str(config["hidden_layers"]),
        "precision": precision,
        "losses_equal": graphed == losses,
        "largest_loss_difference": largest_difference(graphed, losses),
        "largest_weight_difference": difference,
        "eager_microseconds": eager * 1e6,
        "graph_microseconds": seconds * 1e6,
        "speed_up": eager / seconds,
        "roofline_share": floor / seconds,
        "warm_up_milliseconds": replay.warm_up_seconds * 1e3,
        "capture_milliseconds": replay.capture_seconds * 1e3,
        "memory_bytes": memory,
    }


def _reserved(bench: Bench) -> int:
    """Return the bytes that torch holds on the device, those of graphs included."""
    if bench.small:
        return 0
    bench.synchronise()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(bench.device)


def make_streams(bench: Bench, count: int) -> list[torch.cuda.Stream | None]:
    """Return new streams of the device; on a CPU there are none."""
    if bench.small:
        return [None] * count
    return [torch.cuda.Stream(bench.device) for _ in range(count)]  # type: ignore[no-untyped-call]


def _members(
    bench: Bench, population: Sequence[Genome], precision: Precision, lanes: Sequence[torch.cuda.Stream | None]
) -> list[Replay]:
    """Return every member as a graph; those captured on one stream share cuBLAS's workspace and must stay on one."""
    trainer = bench.report_trainer(precision)
    return [
        Replay(MemberProgram(trainer, config, seed, CHECK_STEPS), bench.device, lanes[seed % len(lanes)])
        for seed, config in enumerate(population)
    ]


def _run(bench: Bench, replays: Sequence[Replay], streams: Sequence[torch.cuda.Stream | None], steps: int) -> float:
    """Return the seconds that `steps` steps of every member take."""
    bench.synchronise()
    started = time.perf_counter()
    replay_on_streams(replays, streams, steps)
    bench.synchronise()
    return time.perf_counter() - started


def _fitting_steps(bench: Bench, once: float, budget: float) -> int:
    """Return how many steps of a kind of which one takes `once` seconds fit in `budget`, within reason."""
    return 2 if bench.small else max(10, min(500, int(budget / max(once, 1e-6))))


def streams(bench: Bench) -> Results:
    """Members' graphs on several streams: time, and whether a member's result depends on the others."""
    found: Results = {"streams": []}
    population = report_population(2 if bench.small else 8, 2019, bench.small)
    for precision in reversed(PRECISIONS):
        lanes = make_streams(bench, 8)
        replays = _members(bench, population, precision, lanes)
        alone = []
        for replay in replays:
            _run(bench, [replay], lanes[:1], CHECK_STEPS)
            assert isinstance(replay.program, MemberProgram)
            alone.append((replay.program.losses.clone(), replay.program.weights()))
        floor = population_floor(bench, population, precision)
        for count in (1, 2, 4, 8):
            row = _streams_row(bench, replays, alone, lanes[:count], floor)
            found["streams"].append(row | {"precision": precision})
    return found


def _streams_row(
    bench: Bench,
    replays: Sequence[Replay],
    alone: Sequence[tuple[torch.Tensor, list[torch.Tensor]]],
    lanes: Sequence[torch.cuda.Stream | None],
    floor: float,
) -> Results:
    for replay in replays:
        replay.program.reset()
    once = _run(bench, replays, lanes, CHECK_STEPS) / CHECK_STEPS
    equal = 0
    for replay, (losses, weights) in zip(replays, alone, strict=True):
        assert isinstance(replay.program, MemberProgram)
        same = all(map(torch.equal, replay.program.weights(), weights))
        equal += same and torch.equal(replay.program.losses, losses)
    steps = _fitting_steps(bench, once, min(3.0, bench.left / 20))
    seconds = statistics.median(_run(bench, replays, lanes, steps) / steps for _ in range(3))
    return {
        "streams": len(lanes),
        "members": len(replays),
        "seconds_per_member_step": seconds / len(replays),
        "roofline_share": floor / seconds,
        "equal_to_alone": equal,
    }


def _stack_groups(bench: Bench, kind: str, count: int) -> list[Genome]:
    """Return members of one depth and batch size: all alike, or with the widths of the report's space mixed."""
    mixed = ([1000, 500, 250, 100], [500, 500, 250, 250])
    chosen = [mixed[0] if kind == "alike" else mixed[number % 2] for number in range(count)]
    return [
        _genome([width // 20 for width in widths] if bench.small else widths, 500, 1e-4 * (1 + number), bench.small)
        for number, widths in enumerate(chosen)
    ]


def stacked(bench: Bench) -> Results:
    """Members as batched matrix products: exactness on the device, then time by size of the group."""
    found: Results = {"exactness": [], "groups": []}
    for kind, multiple in itertools.product(("alike", "mixed"), (1, 8)):
        found["exactness"].append(_stack_exactness(bench, kind, multiple))
    counts = (2, 4) if bench.small else (2, 4, 8, 16)
    modes = ("eager",) if bench.small else ("eager", "graph")
    plan = list(itertools.product(reversed(PRECISIONS), counts, ("alike", "mixed"), (1, 8), modes))
    for place, (precision, count, kind, multiple, mode) in enumerate(plan):
        if bench.left < 0:
            found["left_out"] = [str(case) for case in plan[place:]]
            break
        budget = 0.5 * bench.left / (len(plan) - place)
        found["groups"].append(_stack_row(bench, precision, _stack_groups(bench, kind, count), multiple, mode, budget))
        found["groups"][-1] |= {"kind": kind}
    return found


def _stack_exactness(bench: Bench, kind: str, multiple: int) -> Results:
    """Compare four stacked members with each alone, and one of them beside others."""
    trainer, configs = bench.report_trainer("fp32"), _stack_groups(bench, kind, 4)
    program = stack(trainer, configs, CHECK_STEPS, multiple)
    swapped = stack(trainer, [configs[0], *reversed(configs[1:])], CHECK_STEPS, multiple)
    differences = []
    for one in (program, swapped):
        for _ in range(CHECK_STEPS):
            one.step()
    for seed, config in enumerate(configs):
        alone = eager_losses(trainer, config, seed, CHECK_STEPS)[0]
        differences.append(largest_difference(program.losses[:, seed].tolist(), alone))
    return {
        "kind": kind,
        "multiple": multiple,
        "largest_loss_difference": max(differences),
        "within_1e-3": max(differences) <= 1e-3,
        "padding_zero": all(not bool(zeros.any()) for zeros in program.padding()),
        "same_beside_others": bool(torch.equal(program.losses[:, 0], swapped.losses[:, 0])),
    }


def _stack_row(
    bench: Bench, precision: Precision, configs: Sequence[Genome], multiple: int, mode: str, budget: float
) -> Results:
    program: StackProgram = stack(bench.report_trainer(precision), configs, CHECK_STEPS, multiple)
    replay = Replay(program, bench.device) if mode == "graph" else None
    seconds = seconds_per_call(bench, replay or program.step, budget)
    shapes = [network_shape(config, bench.dataset) for config in configs]
    size = len(program.members[0].order[0])
    return {
        "precision": precision,
        "members": len(configs),
        "multiple": multiple,
        "mode": mode,
        "seconds_per_member_step": seconds / len(configs),
        "roofline_share": population_floor(bench, configs, precision) / seconds,
        "padded_flops": len(configs) * step_flops(program.shape, size) / sum(step_flops(s, size) for s in shapes),
        "capture_milliseconds": replay.capture_seconds * 1e3 if replay else 0.0,
    }


def memory(bench: Bench) -> Results:
    """Bytes that a member takes, next to a simple model; then a network that cannot fit."""
    found: Results = {"members": []}
    for precision in PRECISIONS:
        # cuBLAS takes its workspace at the first step of a process, and keeps it.
        evo_step(bench.report_trainer(precision), _architectures(bench)[0])()
    for precision, config in itertools.product(PRECISIONS, _architectures(bench)):
        for size in (100, 500, 1000, 4000):
            found["members"].append(_memory_row(bench, precision, {**config, "batch_size": size}))
    return found | {"absurd_network": _absurd_network(bench)}


def _memory_row(bench: Bench, precision: Precision, config: Genome) -> Results:
    trainer = bench.report_trainer(precision)
    _reserved(bench)
    torch.cuda.reset_peak_memory_stats(bench.device)
    before = torch.cuda.memory_allocated(bench.device)
    step = evo_step(trainer, config)
    step()
    step()
    bench.synchronise()
    measured = torch.cuda.max_memory_allocated(bench.device) - before
    shape = network_shape(config, bench.dataset)
    simple = simple_memory(shape, number(config, "batch_size"))
    return {
        "hidden_layers": str(config["hidden_layers"]),
        "precision": precision,
        "batch_size": config["batch_size"],
        "parameters": parameters_of(shape),
        "activations": sum(shape),
        "bytes": measured,
        "simple_model_bytes": simple,
        "ratio": measured / simple,
    }


def simple_memory(shape: Sequence[int], batch_size: int) -> int:
    """Return the simple model's bytes: weights, gradients and Adam's slots, and two floats an activation and image."""
    return 16 * parameters_of(shape) + 2 * 4 * batch_size * sum(shape)


def _absurd_network(bench: Bench) -> Results:
    """Train a network one of whose activations would fill the device, then a usual one."""
    task = bench.task("fp32")
    size = len(task.trainer.train_part)
    # Its weights must stay small: they are drawn in the computer's memory, which is smaller than the device's.
    width = torch.cuda.get_device_properties(bench.device).total_memory // (4 * size)
    absurd: Genome = {"hidden_layers": (8, width), "learning_rate": 1e-3, "batch_size": size, "steps": 2}
    usual = _cases(bench)["mlp"][1]
    before = task.evaluate(Task(0, 0, 3, usual))
    try:
        task.trainer.train(absurd, 3)
        raised = "nothing"
    except Exception as problem:  # the type is what is asked for
        raised = f"{type(problem).__module__}.{type(problem).__qualname__}"
    after = task.evaluate(Task(1, 0, 3, absurd))
    again = task.evaluate(Task(0, 0, 3, usual))
    return {
        "raised": raised,
        "status": after.status,
        "error": after.error,
        "usable_afterwards": outcome(again) == outcome(before),
        "allocated_bytes_afterwards": torch.cuda.memory_allocated(bench.device),
    }


def best_engine(results: Mapping[str, Results]) -> tuple[str, int]:
    """Return the fastest engine for mixed populations that the sections found, and its number of streams."""
    section = results.get("streams", {})
    rows = [row for row in section.get("streams", []) if row["precision"] == "bf16"]
    if not rows:
        return "evo", 0
    best = min(rows, key=lambda row: float(row["seconds_per_member_step"]))
    return "graphs", int(best["streams"])


def population(bench: Bench) -> Results:
    """Growth with the number of members, report's space, bf16; not for stacks, which need equal depths."""
    engine, count = best_engine(bench.results)
    found: Results = {"engine": f"{engine}, {count} streams" if count else engine, "growth": []}
    members = report_population(2 if bench.small else 64, 2020, bench.small)
    started = time.perf_counter()
    if engine == "graphs":
        lanes = make_streams(bench, count)
        replays = _members(bench, members, "bf16", lanes)
        found["preparation_seconds"] = time.perf_counter() - started
    else:
        trainer = bench.report_trainer("bf16")
        eager = [evo_step(trainer, config) for config in members]
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= len(members)]
    for size in sizes:
        budget = max(0.05, min(3.0, bench.left / (2 * len(sizes))))
        if engine == "graphs":
            step: Callable[[], object] = lambda size=size: replay_on_streams(replays[:size], lanes, 1)  # type: ignore[misc]  # noqa: E731
        else:
            step = lambda size=size: [one() for one in eager[:size]]  # type: ignore[misc]  # noqa: E731
        seconds = seconds_per_call(bench, step, budget)
        share = population_floor(bench, members[:size], "bf16") / seconds
        row = {"members": size, "seconds_per_step_of_all": seconds, "seconds_per_member_step": seconds / size}
        found["growth"].append(row | {"roofline_share": share})
    return found


# ------------------------------------------------------------------------------------------------------------- running
