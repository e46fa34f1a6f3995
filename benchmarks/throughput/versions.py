"""Two versions of evo in turn (A-B-B-A): the time of trainings, of their steps, of proposals, and of a search of CNNs.

    python -m benchmarks.throughput.versions OLD NEW --data-dir cifar10

OLD and NEW are checkouts. A process of each does the same small piece of work when it is its turn, so that other work
on the machine slows both alike. Both must come to the same result: the loss of the training, the proposed genomes.

The piece `search` is one genome of the space `cnn_classic` as a worker of a search evaluates it, with all that is
measured; each of its pairs is another genome, and its ratio is that of the sums. Its result is only the genome.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import itertools
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

PIECES: dict[str, dict[str, Any]] = {
    "report": {"hidden_layers": (1000, 500, 250, 100), "batch_size": 1609, "learning_rate": 1.68e-4, "steps": 6},
    "cnn": {"channels": (32, 48, 48), "batch_norm": True, "batch_size": 64, "learning_rate": 1e-3, "steps": 15},
    "small": {"hidden_layers": (100,), "batch_size": 200, "learning_rate": 2e-3, "steps": 200},
}
"""What is trained: the report's GA1, a network of the space `cnn_classic`, and the report's Default, whose steps are
mostly overhead."""
STEPS_OF = {"step of GA1": "report", "steps of Default": "small"}
"""Only steps, of a training that goes on and on; so many as `PIECES` says."""
SETTINGS = (
    "evo.space.training_settings:TrainingSettings",
    "evo.space.settings:TrainingSettings",
    "evo.space_settings:TrainingSettings",
)
TRAINER = ("evo.training.trainer:Trainer", "evo.training:Trainer")
"""Where versions of evo have what is needed, the newest first."""
MEASURED_IMAGES = 250
"""Of each part, at the end of a training: measuring all would take longer than its few steps."""
SEARCH = "search"
SEARCH_SEED = 2019
SEARCH_IMAGES = 5000
"""Training images that a search measures at the end of a training, in versions in which it does not measure all."""
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
PROPOSALS, BUDGET = 4, 60
"""In a piece; of a search of the space `mlp`."""
DRAWS = 3000


def trainings(data_dir: Path, precision: str) -> dict[str, Callable[[], object]]:
    """Return what does each training of `PIECES` with the version of evo that is imported."""
    import torch

    from evo.data import prepare_dataset
    from evo.models import cnn, mlp

    settings, trainer_of = _found(*SETTINGS), _found(*TRAINER)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dataset = prepare_dataset(None, data_dir, image_size=32)
    engine = "onednn" if precision == "bf16" else "eager"

    def trainer(name: str) -> Callable[[], object]:
        build = cnn.build if name == "cnn" else mlp.build
        made = trainer_of(dataset, settings(evaluate_every=1000), build, precision=precision, engine=engine)
        measure = made.measure

        def measure_little(model: Any, part: Any, **more: Any) -> Any:
            return measure(model, replace(part, indices=part.indices[:MEASURED_IMAGES]), **more)

        made.measure = measure_little  # see MEASURED_IMAGES
        return lambda: made.train(PIECES[name], 1).held_out

    return {name: trainer(name) for name in PIECES}


def steps(data_dir: Path, precision: str) -> dict[str, Callable[[], object]]:
    """Return what does only the steps of trainings, and returns their last loss."""
    import torch

    from evo.data import prepare_dataset
    from evo.models import mlp
    from evo.training.engines.eager import step
    from evo.training.jobs import Job

    settings, trainer_of = _found(*SETTINGS), _found(*TRAINER)
    engine = "onednn" if precision == "bf16" else "eager"
    dataset = prepare_dataset(None, data_dir, image_size=32)
    made = trainer_of(dataset, settings(evaluate_every=1000), mlp.build, precision=precision, engine=engine)

    def stepper(name: str) -> Callable[[], object]:
        torch.manual_seed(1)
        training = made.begin(Job({**PIECES[name], "steps": 10**9}, 1))

        def steps_of() -> object:
            for _ in range(PIECES[name]["steps"]):
                step(training)
            return training.last.tolist()

        return steps_of

    return {piece: stepper(name) for piece, name in STEPS_OF.items()}


def search(data_dir: Path, precision: str) -> Iterator[object]:
    """Evaluate genome after genome of the space `cnn_classic` as a worker of a search does it, and yield each."""
    from evo.data import prepare_dataset
    from evo.evaluators import TrainingSetup
    from evo.evaluators.base import StopRequest, Task
    from evo.individual import training_seed

    space, seeds = _space("cnn_classic", "cnn"), random.Random(SEARCH_SEED)
    more: dict[str, Any] = {}
    if "train_images" in TrainingSetup.__dataclass_fields__:
        more["train_images"] = SEARCH_IMAGES
    dataset = prepare_dataset(None, data_dir, image_size=32)
    setup = TrainingSetup(dataset, space.training, space.model or "cnn", "cpu", precision, **more)
    evaluate, _ = setup.build(StopRequest())
    for number in itertools.count():
        genome = space.sample(seeds)
        [evaluation] = evaluate([Task(number, 0, training_seed(SEARCH_SEED, genome, number), genome)])
        assert evaluation.status == "complete", evaluation.error
        yield genome


def _found(*references: str) -> Any:
    """Return the first of "module:name" that the imported version has."""
    for reference in references:
        module, _, name = reference.partition(":")
        with contextlib.suppress(ImportError, AttributeError):
            return getattr(importlib.import_module(module), name)
    raise ImportError(f"this version of evo has none of {', '.join(references)}")


def _space(name: str, before: str) -> Any:
    """Return a shipped space, which older versions call by another name."""
    import evo

    try:
        return evo.load_space(name)
    except evo.errors.ConfigurationError:
        return evo.load_space(before)


def proposals() -> Iterator[object]:
    """Search after search, yield the genome of each proposal; its fitness is a function of it."""
    import evo

    space = _space("mlp_classic", "mlp")
    for seed in itertools.count():
        strategy = evo.make_strategy("surrogate", space, seed=seed, budget=BUDGET, retrainable=True)
        while not strategy.done():
            [individual] = strategy.ask(1)
            strategy.tell(individual, random.Random(f"{individual.genome} {individual.replicate}").random())
            yield individual.genome


def serve(data_dir: Path, precision: str, clock_name: str) -> None:
    """Do the piece of work that each line of stdin names; answer with its seconds and a digest of its result."""
    genomes, evaluations = proposals(), search(data_dir, precision)
    pieces: dict[str, Callable[[], object]] = trainings(data_dir, precision)
    with contextlib.suppress(ImportError):  # before evo was divided into packages
        pieces |= steps(data_dir, precision)
    pieces["proposals"] = lambda: list(itertools.islice(genomes, PROPOSALS))
    pieces[SEARCH] = lambda: next(evaluations)
    clock = CLOCKS[clock_name]
    for line in sys.stdin:
        began = clock()
        result = pieces[line.strip()]()
        print(clock() - began, hashlib.sha256(repr(result).encode()).hexdigest(), flush=True)


class Version:
    """A process that works with one checkout."""

    def __init__(self, checkout: Path, data_dir: Path, precision: str, clock: str):
        command = [sys.executable, __file__, "--serve", str(data_dir.resolve()), precision, clock]
        self._process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(checkout.resolve())}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def do(self, piece: str) -> tuple[float, str]:
        """Do a piece of work; return its seconds and the digest of its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(piece, file=self._process.stdin, flush=True)
        seconds, digest = self._process.stdout.readline().split()
        return float(seconds), digest

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


def ratio_of(logarithms: list[float]) -> str:
    """Return the geometric mean of ratios with the 95 % interval of a bootstrap."""
    rng = random.Random(0)
    means = sorted(statistics.fmean(rng.choices(logarithms, k=len(logarithms))) for _ in range(DRAWS))
    low, high = (math.exp(means[round(place * (DRAWS - 1))]) for place in (0.025, 0.975))
    return f"{math.exp(statistics.fmean(logarithms)):.3f} [{low:.3f}, {high:.3f}]"


def ratio_of_totals(pairs: list[tuple[float, float]]) -> str:
    """Return the sum of the second numbers over that of the first, with the 95 % interval of a bootstrap over pairs."""
    rng = random.Random(0)

    def ratio(chosen: list[tuple[float, float]]) -> float:
        return sum(new for _, new in chosen) / sum(old for old, _ in chosen)

    drawn = sorted(ratio(rng.choices(pairs, k=len(pairs))) for _ in range(DRAWS))
    low, high = (drawn[round(place * (DRAWS - 1))] for place in (0.025, 0.975))
    return f"{ratio(pairs):.3f} [{low:.3f}, {high:.3f}]"


def compare(old: Version, new: Version, piece: str, pairs: int) -> list[str]:
    """Let two versions do a piece of work in turn; return the cells of its row."""
    for version in (old, new):  # the first time, everything is loaded
        version.do(piece)
    seconds, equal = [], True
    for number in range(pairs):
        order = (old, new) if number % 2 == 0 else (new, old)
        done = {version: version.do(piece) for version in order}
        seconds.append((done[old][0], done[new][0]))
        equal &= done[old][1] == done[new][1]
    logarithms = [math.log(after / before) for before, after in seconds]
    ratio = ratio_of_totals(seconds) if piece == SEARCH else ratio_of(logarithms)
    median = statistics.median(before for before, _ in seconds)
    return [piece, str(pairs), f"{median:.3f}", ratio, "equal" if equal else "DIFFERENT"]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput.versions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, help="another")
    parser.add_argument("--data-dir", type=Path, required=True, help="CIFAR-10, or a tree of images")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--pairs", type=int, default=60, help="genomes, for the piece search (default: %(default)s)")
    names = (*PIECES, *STEPS_OF, "proposals", SEARCH)
    parser.add_argument(
        "--pieces", default=",".join(name for name in names if name != SEARCH), help=f"of {', '.join(names)}"
    )
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default="wall", help="processor: where others use the machine, too"
    )
    given = parser.parse_args()
    pieces = [name.strip() for name in given.pieces.split(",")]
    if wrong := [name for name in pieces if name not in names]:
        parser.error(f"--pieces: unknown {', '.join(wrong)}. Known: {', '.join(names)}")
    old, new = (Version(checkout, given.data_dir, given.precision, given.clock) for checkout in (given.old, given.new))
    print("| piece of work | pairs | seconds, old | new / old, 95 % interval | results |\n|---|--:|--:|---|---|")
    for piece in pieces:
        print(f"| {' | '.join(compare(old, new, piece, given.pairs))} |", flush=True)
    for version in (old, new):
        version.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), *sys.argv[3:5])
    else:
        main()
