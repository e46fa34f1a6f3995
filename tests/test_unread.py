"""No gene without a reader: what changes no training is refused, or named where only the user's model knows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.data import PreparedDataset
from evo.errors import ConfigurationError
from evo.loop.search_loop import SilentObserver
from evo.models import mlp
from evo.space import SearchSpace
from evo.space.file import load_space, shipped_spaces, space_from_text
from evo.space.problems import image_problems
from evo.space.training_settings import TrainingSettings
from evo.training.jobs import Job
from evo.training.lookups import Lookups
from evo.training.trainer import Trainer

BASE: dict[str, Any] = {
    "hidden_layers": evo.Layers(depth=(1, 2), width=(4, 8)),
    "learning_rate": evo.Float(1e-3, 1e-1, log=True),
    "batch_size": evo.Integer(16, 64),
}
STEPS = {"steps": evo.Integer(10, 20, step=10)}
OPTIMISER, SCHEDULE = evo.Categorical(("adam", "sgd")), evo.Categorical(("constant", "cosine", "trapezoid"))
MOMENTUM = evo.Float(0.0, 0.9, when={"optimiser": "sgd"})


def space(genes: dict[str, Any], model: str = "mlp", **training: Any) -> SearchSpace:
    return SearchSpace(BASE | STEPS | genes, model=model, training={"evaluate_every": 10, **training}, dataset="digits")


MISTAKES: dict[str, tuple[Callable[[], SearchSpace], str]] = {
    "momentum with adam": (
        lambda: space({}, momentum=0.9),
        'training.momentum: nothing reads it where optimiser is "adam"',
    ),
    "a gene momentum with adam": (
        lambda: space({"optimiser": OPTIMISER, "momentum": evo.Float(0.0, 0.9)}),
        'genes.momentum: nothing reads it where optimiser is "adam"; set when = { optimiser = "sgd" }',
    ),
    "an optimiser that does not exist": (
        lambda: space(
            {"optimiser": evo.Categorical(("adam", "adamax")), "dropout": evo.Float(0, 0.5, when={"optimiser": "adam"})}
        ),
        'genes.optimiser.choices: unknown optimiser "adamax"',
    ),
    "a warm-up of a constant rate": (lambda: space({}, warmup=0.1), 'where schedule is "constant"; set schedule to'),
    "a cooldown that only some schedules read": (
        lambda: space(
            {"schedule": SCHEDULE, "cooldown": evo.Float(0.1, 0.4, when={"schedule": ["cosine", "trapezoid"]})}
        ),
        'genes.cooldown: nothing reads it where schedule is "cosine"; set when = { schedule = "trapezoid" }',
    ),
    "warm-up and cooldown of more than the training": (
        lambda: space({"warmup": evo.Float(0.1, 0.6)}, schedule="trapezoid", cooldown=0.5),
        "must not add up to more than 1, got up to 0.6 + 0.5",
    ),
    "steps and epochs": (lambda: space({"epochs": evo.Float(1, 5)}), "both say how long to train; keep one of them"),
    "fixed steps and a gene epochs": (
        lambda: SearchSpace(BASE | {"epochs": evo.Float(1, 5)}, model="mlp", training={"steps": 10}),
        "genes.epochs and training.steps: both say how long",
    ),
    "a schedule of an unknown number of steps": (
        lambda: SearchSpace(BASE, model="mlp", training={"schedule": "cosine"}),
        "steps or epochs is needed unconditionally (a gene or in [training]); the schedule cosine needs to know it",
    ),
    "schedules of an unknown number of steps": (
        lambda: SearchSpace(BASE | {"schedule": SCHEDULE}, model="mlp"),
        "steps or epochs is needed unconditionally (a gene or in [training]); the schedules cosine and trapezoid need",
    ),
    "a padding as large as the image": (
        lambda: space({"crop_padding": evo.Integer(1, 8)}, augment="flip_crop"),
        "genes.crop_padding: must be less than the 8 pixels of an image's side, got 8",
    ),
    "a label smoothing of 1": (
        lambda: space({"label_smoothing": evo.Float(0.0, 1.0)}),
        "genes.label_smoothing: must be at least 0 and below 1, got 1.0",
    ),
    "a value beside a gene that is always active": (
        lambda: space({"weight_decay": evo.Float(0.0, 0.1)}, weight_decay=0.2),
        "training.weight_decay: the gene of that name is active wherever this value would be read",
    ),
    "a value beside a gene that is active wherever it is read": (
        lambda: space(
            {
                "optimiser": evo.Categorical(("adam", "sgd", "muon")),
                "momentum": evo.Float(0.0, 0.9, when={"optimiser": ["sgd", "muon"]}),
            },
            momentum=0.9,
        ),
        "training.momentum: the gene of that name is active wherever this value would be read",
    ),
    "a value beside a gene whose switch is on wherever it is read": (
        lambda: space(
            {
                "optimiser": OPTIMISER,
                "tuned": evo.Boolean(when={"optimiser": "sgd"}),
                "momentum": evo.Float(0.0, 0.9, when={"tuned": [True, False]}),
                "dropout": evo.Float(0.1, 0.5, when={"tuned": True}),
            },
            momentum=0.9,
        ),
        "training.momentum: the gene of that name is active wherever this value would be read",
    ),
    "a setting that holds for a whole search": (
        lambda: space(
            {
                "preprocess": evo.Categorical(("standardise", "none")),
                "dropout": evo.Float(0, 0.5, when={"preprocess": "none"}),
            }
        ),
        "genes.preprocess: holds for a whole search and cannot be a gene; set it in [training]",
    ),
    "choices that no condition tells apart": (
        lambda: space({"kind": evo.Categorical(("a", "b", "c")), "dropout": evo.Float(0, 0.5, when={"kind": "a"})}),
        'genes.kind: only conditions read it, and none tells "b" and "c" apart; keep one of them',
    ),
    "choices that mean the same although a condition names both": (
        lambda: space(
            {"kind": evo.Categorical(("a", "b", "c")), "dropout": evo.Float(0, 0.5, when={"kind": ["a", "b"]})}
        ),
        'genes.kind: only conditions read it, and none tells "a" and "b" apart; keep one of them',
    ),
    "a kind of batch norm without batch norm": (
        lambda: space({"batch_norm_kind": evo.Categorical(("torch", "manual"))}),
        "genes.batch_norm_kind: nothing reads it where batch_norm is false; set batch_norm to true",
    ),
}


@pytest.mark.parametrize(("make", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_nothing_reads_is_refused_with_its_remedy(make: Callable[[], SearchSpace], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert message in str(caught.value)
    assert "1 mistake" in str(caught.value)


@pytest.mark.parametrize(
    "genes",
    [
        {"optimiser": OPTIMISER, "momentum": MOMENTUM},
        {"schedule": SCHEDULE, "warmup": evo.Float(0.0, 0.2, when={"schedule": ["cosine", "trapezoid"]})},
        {
            "optimiser": OPTIMISER,
            "use_momentum": evo.Boolean(when={"optimiser": "sgd"}),
            "momentum": evo.Float(0.1, 0.9, when={"use_momentum": True}),
        },
        {
            "schedule": SCHEDULE,
            "warmup": evo.Float(0.0, 0.9, when={"schedule": "cosine"}),
            "cooldown": evo.Float(0.1, 0.9, when={"schedule": "trapezoid"}),
        },
        {
            "kind": evo.Categorical(("a", "b", "c", "d")),
            "dropout": evo.Float(0.1, 0.5, when={"kind": ["a", "b"]}),
            "label_smoothing": evo.Float(0.1, 0.5, when={"kind": ["b", "c"]}),
        },
        {"use_dropout": evo.Boolean(), "dropout": evo.Float(0.1, 0.5, when={"use_dropout": True})},
        {
            "batch_norm": evo.Boolean(),
            "batch_norm_place": evo.Categorical(("layer", "activation"), when={"batch_norm": True}),
        },
    ],
    ids=lambda genes: ", ".join(genes),
)
def test_what_is_read_under_a_condition_is_accepted(genes: dict[str, Any]) -> None:
    assert set(genes) < set(space(genes).genes)


def test_a_value_is_read_where_a_gene_of_that_name_is_not_active() -> None:
    """Muon has the fixed momentum, SGD the searched one; weight decay is read everywhere."""
    optimiser = evo.Categorical(("adam", "sgd", "muon"))
    assert space({"optimiser": optimiser, "momentum": MOMENTUM}, momentum=0.9).training.momentum == 0.9
    decay = {"weight_decay": evo.Float(0.0, 0.1, when={"optimiser": "sgd"})}
    assert space({"optimiser": optimiser, **decay}, weight_decay=0.2).training.weight_decay == 0.2
    with pytest.raises(ConfigurationError, match=r"training\.weight_decay: the gene of that name is active wherever"):
        space({"optimiser": evo.Categorical(("sgd",)), **decay}, weight_decay=0.2)


CNN = {
    **{name: gene for name, gene in BASE.items() if name != "hidden_layers"},
    "channels": evo.Layers(depth=(1, 2), width=(4, 8)),
    "block": evo.Categorical(("pooled", "classic")),
    "convolutions": evo.Integer(1, 3, when={"block": "pooled"}),
}


@pytest.mark.parametrize("when", [None, {"block": "pooled"}, {"convolutions": [1, 2]}], ids=str)
def test_a_remedy_that_is_followed_is_accepted(when: dict[str, Any] | None) -> None:
    def with_condition(when: Any) -> SearchSpace:
        genes = CNN | STEPS | {"residual": evo.Boolean(when=when)}
        return SearchSpace(genes, model="cnn", training={"evaluate_every": 10})

    with pytest.raises(ConfigurationError, match="1 mistake") as caught:
        with_condition(when)
    [remedy] = re.findall(r"set when = (\{.*\})", str(caught.value))
    assert with_condition(tomllib.loads(f"when = {remedy}")["when"]).genes["residual"].when


def test_a_mistake_in_training_hides_nothing_else_that_is_there(tmp_path: Path) -> None:
    text = """
    model = "mlp"
    [training]
    learning_rate = 0.1
    batch_size = 32
    steps = 20
    schedule = "cosine"
    warmup = 0.1
    label_smoothing = 1
    [genes.hidden_layers]
    type = "layers"
    depth = [1, 2]
    width = [4, 8]
    """
    with pytest.raises(ConfigurationError) as caught:
        space_from_text(text, name="mine")
    assert str(caught.value).splitlines()[1:] == ["  - training.label_smoothing: must be less than 1, got 1"]


@pytest.mark.parametrize(
    "options",
    [
        ["--batch-norm", "--batch-norm-kind", "manual"],
        ["--batch-norm", "--batch-norm-place", "activation", "--residual"],
        ["--model", "cnn", "--channels", "4", "--block", "pooled", "--residual"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("in_process")
def test_options_of_train_are_read_beside_each_other(options: list[str], tmp_path: Path, cli: CliRunner) -> None:
    words = ["train", "--dataset", "digits", "--steps", "4", "-q", "-o", str(tmp_path / "run"), *options]
    result = cli.invoke(app, words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", shipped_spaces())
def test_shipped_spaces_have_no_gene_without_a_reader(name: str) -> None:
    assert load_space(name).genes


def test_an_optimiser_that_others_depend_on_is_the_one_that_trains(digits: PreparedDataset, tmp_path: Path) -> None:
    searched = space({"optimiser": OPTIMISER, "momentum": MOMENTUM})
    run = evo.search(
        searched,
        strategy="random",
        budget=6,
        finalists=0,
        output=tmp_path / "run",
        seed=3,
        precision="fp32",
        engine="eager",
    )
    assert {individual.config["optimiser"] for individual in run.individuals} == {"adam", "sgd"}
    for individual in run.individuals:
        fixed = {name: individual.config[name] for name in ("optimiser", "momentum") if name in individual.config}
        assert ("momentum" in fixed) == (fixed["optimiser"] == "sgd")
        others = {name: value for name, value in individual.config.items() if name not in fixed}
        trainer = Trainer(digits, TrainingSettings(evaluate_every=10, **fixed), mlp.build)
        recorded = run.evaluations[individual.id, 0]
        assert trainer.train(others, recorded.seed).curve == recorded.curve


def test_in_runs_from_before_there_was_a_recipe_its_genes_stay_unread(digits: PreparedDataset) -> None:
    genes = BASE | STEPS | {"optimiser": evo.Categorical(("a", "b")), "rate": evo.Float(0, 1, when={"optimiser": "a"})}
    training = {"evaluate_every": 10}
    with pytest.raises(ConfigurationError, match="unknown optimiser"):
        SearchSpace(genes, model="mine:build", training=training)
    assert SearchSpace(genes, model="mine:build", training=training, older=True).older
    config = {"hidden_layers": (8,), "learning_rate": 0.01, "batch_size": 32, "steps": 10}
    ignoring = Trainer(digits, TrainingSettings().ignoring({"optimiser", "schedule"}), mlp.build)
    namesakes = {"optimiser": "a", "schedule": "late"}
    assert ignoring.train(config | namesakes, 1) == Trainer(digits, TrainingSettings(), mlp.build).train(config, 1)
    job = Job(config | namesakes, 1)
    assert ignoring.identity(job, 10) == ignoring.identity(job, 20), "a longer training continues a shorter one"


class Warnings(SilentObserver):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, message: str) -> None:
        self.texts.append(message)


def test_genes_that_a_user_defined_model_never_looks_up_are_named_after_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_net.py").write_text(
        "from evo.models import mlp\n"
        "def build(config, shape, classes):\n"
        "    read = {'hidden_layers': config['hidden_layers'], 'dropout': config.get('rate', 0)}\n"
        "    return mlp.build(read, shape, classes)\n"
    )
    monkeypatch.chdir(tmp_path)
    watching = Warnings()
    mine = {"width": evo.Integer(1, 3), "noisy": evo.Boolean(), "rate": evo.Float(0.1, 0.5, when={"noisy": True})}
    genes = {**mine, "odd": evo.Boolean()}
    run = evo.search(
        space(genes, model="my_net:build"),
        budget=4,
        finalists=0,
        workers=2,
        output="run",
        observer=watching,
        strategy="random",
    )
    assert len(run.table) == 4
    warned = [text for text in watching.texts if "did not look up" in text]
    [text] = warned
    assert text.startswith("warning: the model's function did not look up width, odd in its first training;")


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (lambda config: config["a"], {"a"}),
        (lambda config: config.get("b"), {"b"}),
        (lambda config: "a" in config, {"a"}),
        (lambda config: dict(config), {"a", "b"}),
        (lambda config: dict(**config), {"a", "b"}),
        (lambda config: list(config.items()), {"a", "b"}),
        (lambda config: {"c": 1} | config, {"a", "b"}),
        (lambda config: None, set()),
    ],
)
def test_a_configuration_remembers_what_was_asked_for(read: Callable[[Lookups], object], names: set[str]) -> None:
    config = Lookups({"a": 1, "b": 2})
    read(config)
    assert config.names == names
    assert config == {"a": 1, "b": 2}


def test_what_changes_images_is_refused_for_tables() -> None:
    training = TrainingSettings(augment="flip", cutout=4, test_flip=True)
    assert image_problems({}, training, 32, 32) == []
    assert image_problems({}, TrainingSettings(), 1, 20) == []
    refused = image_problems({}, training, 1, 20)
    assert [problem.split(":")[0] for problem in refused] == [
        "training.augment",
        "training.cutout",
        "training.test_flip",
    ]
    assert refused[2].endswith("a table of 20 numbers per row has no images; set test_flip = false")
