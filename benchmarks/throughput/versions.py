"""Two versions of evo in turn (A-B-B-A): the time of the steps of a training, and of a proposal of `surrogate`.

    python -m benchmarks.throughput.versions OLD NEW --data-dir cifar10

OLD and NEW are checkouts. A process of each does the same small piece of work when it is its turn, so that other work
on the machine slows both alike. Both must come to the same result: the loss of the training, the proposed genomes.
"""

from __future__ import annotations

import argparse
import hashlib
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
"""What is trained: the report's GA1, a network of the space `cnn`, and a small one, whose steps are mostly overhead."""
MEASURED_IMAGES = 250
"""Of each part, at the end of a training: measuring all would take longer than its few steps."""
PROPOSALS, BUDGET = 4, 60
"""In a piece; of a search of the space `mlp`."""
DRAWS = 3000


def trainings(data_dir: Path, precision: str) -> dict[str, Callable[[], object]]:
    """Return what does each training of `PIECES` with the version of evo that is imported."""
    import torch

    from evo.data import prepare_dataset
    from evo.models import cnn, mlp

    try:
        from evo.space.training_settings import TrainingSettings
        from evo.training.trainer import Trainer
    except ImportError:  # before evo was divided into packages
        from evo.space_settings import TrainingSettings  # type: ignore[no-redef,import-not-found]
        from evo.training import Trainer  # type: ignore[no-redef,attr-defined]
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dataset = prepare_dataset(None, data_dir, image_size=32)
    engine = "onednn" if precision == "bf16" else "eager"

    def trainer(name: str) -> Callable[[], object]:
        build = cnn.build if name == "cnn" else mlp.build
        made = Trainer(dataset, TrainingSettings(evaluate_every=1000), build, precision=precision, engine=engine)
        measure = made.measure

        def measure_little(model: Any, part: Any, **more: Any) -> Any:
            return measure(model, replace(part, indices=part.indices[:MEASURED_IMAGES]), **more)

        made.measure = measure_little  # type: ignore[method-assign]  # see MEASURED_IMAGES
        return lambda: made.train(PIECES[name], 1).held_out

    return {name: trainer(name) for name in PIECES}


def proposals() -> Iterator[object]:
    """Search after search, yield the genome of each proposal; its fitness is a function of it."""
    import evo

    try:
        space = evo.load_space("mlp_classic")
    except evo.errors.ConfigurationError:  # a version in which that was the only one
        space = evo.load_space("mlp")
    for seed in itertools.count():
        strategy = evo.make_strategy("surrogate", space, seed=seed, budget=BUDGET, retrainable=True)
        while not strategy.done():
            [individual] = strategy.ask(1)
            strategy.tell(individual, random.Random(f"{individual.genome} {individual.replicate}").random())
            yield individual.genome


def serve(data_dir: Path, precision: str) -> None:
    """Do the piece of work that each line of stdin names; answer with its seconds and a digest of its result."""
    genomes = proposals()
    pieces: dict[str, Callable[[], object]] = trainings(data_dir, precision)
    pieces["proposals"] = lambda: list(itertools.islice(genomes, PROPOSALS))
    for line in sys.stdin:
        began = time.perf_counter()
        result = pieces[line.strip()]()
        seconds = time.perf_counter() - began
        print(seconds, hashlib.sha256(repr(result).encode()).hexdigest(), flush=True)


class Version:
    """A process that works with one checkout."""

    def __init__(self, checkout: Path, data_dir: Path, precision: str):
        command = [sys.executable, __file__, "--serve", str(data_dir.resolve()), precision]
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


def compare(old: Version, new: Version, piece: str, pairs: int) -> list[str]:
    """Let two versions do a piece of work in turn; return the cells of its row."""
    for version in (old, new):  # the first time, everything is loaded
        version.do(piece)
    seconds, logarithms, equal = [], [], True
    for number in range(pairs):
        order = (old, new) if number % 2 == 0 else (new, old)
        done = {version: version.do(piece) for version in order}
        seconds.append(done[old][0])
        logarithms.append(math.log(done[new][0] / done[old][0]))
        equal &= done[old][1] == done[new][1]
    return [piece, f"{statistics.median(seconds):.3f}", ratio_of(logarithms), "equal" if equal else "DIFFERENT"]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput.versions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, help="another")
    parser.add_argument("--data-dir", type=Path, required=True, help="CIFAR-10, or a tree of images")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--pairs", type=int, default=60)
    given = parser.parse_args()
    old, new = (Version(checkout, given.data_dir, given.precision) for checkout in (given.old, given.new))
    print("| piece of work | seconds, old | new / old, 95 % interval | results |\n|---|--:|--:|---|")
    for piece in (*PIECES, "proposals"):
        print(f"| {' | '.join(compare(old, new, piece, given.pairs))} |", flush=True)
    for version in (old, new):
        version.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
