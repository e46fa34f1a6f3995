"""One search of whole trainings on CIFAR-10: every training is kept, so that a search resumes where it stopped."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.search_quality.methods import Adapters, Method, Searcher, make_searcher
from benchmarks.search_quality.places import Places
from benchmarks.search_quality.tasks import Task, Training
from evo.files import write_text
from evo.individual import Genome, genome_key, training_seed
from evo.models.mlp import build
from evo.space import SearchSpace
from evo.space.file import load_space

ANCHOR: Genome = {"hidden_layers": (100,), "learning_rate": 1e-3, "batch_size": 200, "steps": 1500}
"""What `evo train` trains without a flag: every method's first genome."""
TESTED_AFTER = (10, 20, 40)
TEST_SEEDS = 3
TEST_SEED = -1
"""In place of a search's seed, for trainings that judge a genome: no search has used theirs."""
SEARCHES = "searches"
"""Folder of the finished searches."""
CHANCE = 0.1
"""Accuracy that counts for a training that diverged: that of guessing."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One search.

    Attributes:
        method: Name of the method.
        seed: Of the search.
        budget: Trainings.
        data_dir: CIFAR-10 as an image folder.
        output: Folder of the results.
        places: Where the peers' environments are.
    """

    method: str
    seed: int
    budget: int
    data_dir: Path
    output: Path
    places: Places

    @property
    def file(self) -> Path:
        """The search's trainings, one JSON line each."""
        return self.output / "trainings" / f"{self.method}-{self.seed}.jsonl"

    @property
    def search_file(self) -> Path:
        """The finished search, a line per training."""
        return self.output / SEARCHES / f"{self.method}-{self.seed}.jsonl"


class CifarTask(Task):
    """The shipped space `mlp` with `ANCHOR` as its known configuration."""

    def space(self) -> SearchSpace:
        shipped = load_space("mlp_classic")
        return SearchSpace(shipped.genes, name=self.name, initial=[ANCHOR], training=shipped.training)


TASK = CifarTask("cifar10-mlp", "reporting", Training(best=1.0, reference=CHANCE), seeds=3)


class Trainings:
    """Trains genomes and keeps every result in a file; what is in it is not trained again.

    Args:
        file: One JSON line per training.
        train: Takes a genome, a seed and whether to measure on the test set; returns accuracy and seconds of a core.
    """

    def __init__(self, file: Path, train: Callable[[Genome, int, bool], tuple[float, float]]):
        self.file, self._train = file, train
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the process was killed while it wrote the last line
            write_text(file, whole)
        rows: list[Row] = [json.loads(line) for line in whole.splitlines()]
        self._known = {(row["key"], row["seed"], row["part"]): row for row in rows}

    def measure(self, genome: Genome, seed: int, part: str, note: Row) -> Row:
        """Return the row of a training: `accuracy` on the part, `seconds`, and `note`."""
        where = (genome_key(genome), seed, part)
        if where not in self._known:
            accuracy, seconds = self._train(genome, seed, part == "test")
            row = {
                "key": where[0],
                "seed": seed,
                "part": part,
                "accuracy": accuracy,
                "seconds": round(seconds, 3),
                **note,
            }
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self._known[where] = row
        return self._known[where]


def search(searcher: Searcher, trainings: Trainings, seed: int, budget: int) -> list[Row]:
    """Run one search.

    Returns:
        One row per training: `number, genome, accuracy, seconds`, and of the genome recommended after it `recommended`
        and `recommended_accuracy`, the mean of its validation accuracies so far; after those of `TESTED_AFTER` also
        `test`, the test accuracies of its trainings on new seeds.
    """
    rows: list[Row] = []
    values: dict[str, list[float]] = {}
    genomes: dict[str, Genome] = {}
    for number in range(1, budget + 1):
        genome = searcher.ask()
        if genome is None:
            break
        key = genome_key(genome)
        seen = values.setdefault(key, [])
        genomes[key] = genome
        measured = trainings.measure(
            genome, training_seed(seed, genome, len(seen)), "validation", {"number": number, "genome": genome}
        )
        seen.append(measured["accuracy"])
        searcher.tell(measured["accuracy"])
        recommended = searcher.recommend() or genomes[max(values, key=lambda one: max(values[one]))]
        row = {"number": number, "genome": genome, "accuracy": measured["accuracy"], "seconds": measured["seconds"]}
        row |= {"recommended": recommended, "recommended_accuracy": statistics.fmean(values[genome_key(recommended)])}
        if number in TESTED_AFTER:
            seeds = [training_seed(TEST_SEED, recommended, replicate) for replicate in range(TEST_SEEDS)]
            row["test"] = [trainings.measure(recommended, one, "test", {"after": number})["accuracy"] for one in seeds]
        rows.append(row)
    return rows


def run_job(job: Job) -> list[Row]:
    """Return the rows of a search; see `search`."""
    searcher = make_searcher(Method(job.method), TASK, job.seed, job.budget, Adapters(job.places))
    return search(searcher, Trainings(job.file, _train_function(job.data_dir)), job.seed, job.budget)


def _train_function(data_dir: Path) -> Callable[[Genome, int, bool], tuple[float, float]]:
    """Return what trains a genome with evo's own trainer, one thread; what else the machine does is not timed."""
    import torch

    from evo.data.prepared import prepare_dataset
    from evo.training.trainer import Trainer

    torch.set_num_threads(1)
    trainer = Trainer(prepare_dataset("imagefolder", data_dir), TASK.space().training, build)

    def train(genome: Genome, seed: int, test: bool) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.safetensors"
            start = time.process_time()
            result = trainer.train(genome, seed, weights=weights if test else None)
            seconds = time.process_time() - start
            if result.status != "complete" or result.held_out is None:
                return CHANCE, seconds
            accuracy = trainer.test(genome, weights).accuracy if test else result.held_out.accuracy
        return accuracy, seconds

    return train


def keep(job: Job, rows: Sequence[Row]) -> None:
    """Write the file of a search that has ended."""
    lines = [json.dumps({"method": job.method, "seed": job.seed, **row}) + "\n" for row in rows]
    job.search_file.parent.mkdir(parents=True, exist_ok=True)
    write_text(job.search_file, "".join(lines))
