"""An individual: a genome that was proposed, and the seed of its training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

GeneValue: TypeAlias = float | int | str | bool | tuple[Any, ...] | None
Genome: TypeAlias = dict[str, GeneValue]

STEPS, EPOCHS = "steps", "epochs"
DURATION = (STEPS, EPOCHS)
"""The genes that say how long to train, of which a space has one: they do not enter a training's seed.

Genomes that differ in nothing else are the same network and recipe.
"""

EARLIER = "earlier"
"""The operator of individuals whose results a search began with."""

RUNG = "rung"
"""The key in `strategy_parameters` under which older runs of `halving` keep how far a training went.

There, an individual with more steps took the place of a continued training.
"""


@dataclass(frozen=True)
class Individual:
    """One proposal of an algorithm: a genome, the seed to train it on (`replicate`), and how far to train it now.

    Attributes:
        id: Counts the individuals of a run from 0.
        genome: Active genes only, in the order of the search space; one that is None is active. Layer lists are tuples.
        generation: The generation it was proposed in, from 0. Each part of a continued training has its own.
        parents: Ids of the individuals it was made from; empty for a sampled one.
        operator: What made it: "initial", "random", "crossover", "mutation", "crossover+mutation", …
        strategy_parameters: What evolves along with the genome (self-adaptive mutation strengths), or what a
            strategy needs again when a run is resumed. JSON values.
        replicate: 0 for the first evaluation of the genome. A strategy may propose an individual again, to be evaluated
            on another seed: 1, 2, …
        until: How far to train now, in steps, or in epochs where the genome has these; None trains all of them. To
            continue a paused training, a strategy proposes the same individual with a larger `until`.
    """

    id: int
    genome: Genome
    generation: int = 0
    parents: tuple[int, ...] = ()
    operator: str = "initial"
    strategy_parameters: dict[str, Any] = field(default_factory=dict)
    replicate: int = 0
    until: int | None = None

    @property
    def pauses(self) -> bool:
        """Whether this training is to pause before the last step of its genome."""
        whole = self.genome.get(EPOCHS, self.genome.get(STEPS))
        return self.until is not None and isinstance(whole, int) and self.until < whole

    @property
    def trained_now(self) -> Genome:
        """The configuration of a training that is as long as this one is to be now."""
        if self.until is None:
            return self.config
        return self.config | {EPOCHS if EPOCHS in self.genome else STEPS: self.until}

    @property
    def config(self) -> Genome:
        """The configuration to train: a copy of the genome."""
        return dict(self.genome)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` is the inverse."""
        values = asdict(self)
        if self.until is None:  # as in format 1 of the journal
            del values["until"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Individual:
        """Build an individual from what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is something else.
        """
        until = values.get("until")
        parameters = dict(values["strategy_parameters"])
        return cls(
            id=whole_count(values["id"], "id"),
            genome=genome_from_json(values["genome"]),
            generation=whole_count(values["generation"], "generation"),
            parents=tuple(whole_count(parent, "parents") for parent in values["parents"]),
            operator=str(values["operator"]),
            strategy_parameters=parameters
            | ({RUNG: whole_count(parameters[RUNG], RUNG)} if RUNG in parameters else {}),
            replicate=whole_count(values.get("replicate", 0), "replicate"),
            until=None if until is None else whole_count(until, "until"),
        )


def whole_count(value: Any, name: str) -> int:
    """Return a whole number from 0 on that JSON has held.

    Raises:
        ValueError: It is something else; the text names it.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError(f"{name} must be a whole number from 0 on, got {value!r}")
    return value


def genome_from_json(values: Mapping[str, Any]) -> Genome:
    """Return the genome of a JSON object: its lists become tuples."""
    return {name: _with_tuples(value) for name, value in values.items()}


def _with_tuples(value: Any) -> Any:
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))  # `json.dumps` would make one each time


def genome_key(genome: Mapping[str, GeneValue]) -> str:
    """Return the canonical text of a genome, which does not depend on the order of its genes."""
    return _CANONICAL.encode(genome)


def without_duration(genome: Mapping[str, GeneValue]) -> Genome:
    """Return a genome without the genes that say how long to train."""
    return {name: value for name, value in genome.items() if name not in DURATION}


def training_seed(run_seed: int, genome: Mapping[str, GeneValue], replicate: int) -> int:
    """Return the seed of a training, in [0, 2**48): short enough for a spreadsheet to keep every digit.

    It depends only on the run's seed, the active genes but `DURATION`, and the replicate. With a constant learning
    rate a long training therefore contains every shorter one of the same genes.
    """
    text = f"{run_seed}|{genome_key(without_duration(genome))}|{replicate}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())
