"""Search space files: every mistake is named at once, with its key path and a suggestion."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo import names
from evo.errors import ConfigurationError
from evo.models import MODELS
from evo.space import SearchSpace
from evo.space.file import load_space, shipped_spaces, space_from_dict, space_from_text
from evo.space.text import json_text, space_values, toml_text
from evo.space.training_settings import TRAINING_GENES
from evo.strategies import strategy_names

UNKNOWN_MODEL = (
    'model: unknown model "mpl". Did you mean "mlp"? Known: mlp, cnn, numpy_mlp; '
    "give your own function as --model package.module:function"
)
MLP = """
model = "mlp"
[genes.hidden_layers]
type = "layers"
depth = [1, 2]
width = [8, 64]
[genes.learning_rate]
type = "float"
low = 1e-4
high = 1e-2
[genes.batch_size]
type = "integer"
low = 16
high = 64
[genes.steps]
type = "integer"
low = 100
high = 600
"""
KINDS = "Known: float, integer, categorical, boolean, layers"
BAD_NAME = "a name consists of letters, digits and _, begins with a letter, and is not a column of the results tables"
READ_BY_MLP = f"Known: {', '.join(sorted(MODELS['mlp'].genes.keys() | TRAINING_GENES.keys()))}"


def gene(text: str, name: str = "x") -> str:
    return f"[genes.{name}]\n{text}\n"


BOOLEAN = 'type = "boolean"'
UNIT = 'type = "float"\nlow = 0.0\nhigh = 1.0'
A_VALUE = "must be a text, a finite number, true, false, none or a tuple of these"
MISTAKES: dict[str, tuple[str, list[str]]] = {
    "an empty file": ("", ["genes: at least one [genes.NAME] is needed"]),
    "an unknown kind": (
        gene('type = "flaot"'),
        [f"genes.x.type: unknown kind 'flaot'. Did you mean \"float\"? {KINDS}"],
    ),
    "a kind that is a list": (
        gene('type = ["float"]'),
        [f"genes.x.type: unknown kind ['float']. Did you mean \"float\"? {KINDS}"],
    ),
    "no kind": (gene("low = 1"), [f"genes.x.type: missing. {KINDS}"]),
    "genes that are not a table": ("genes = 3", ["genes: must be [genes.NAME] tables, got 3"]),
    "a gene that is not a table": ("[genes]\nx = 3", ["genes.x: must be a table with a type, got 3"]),
    "a misspelt key of a gene": (
        gene('type = "float"\nlow = 0.0\nhihg = 1.0'),
        ["genes.x.high: missing", 'genes.x.hihg: unknown key. Did you mean "high"?'],
    ),
    "a misspelt section": (gene(BOOLEAN) + "[traning]", ['traning: unknown key. Did you mean "training"?']),
    "misspelt settings": (
        gene(BOOLEAN) + '[training]\npreproces = "standardise"\n[search]\nbudgt = 3',
        [
            'training.preproces: unknown key. Did you mean "preprocess"?',
            'search.budgt: unknown key. Did you mean "budget"?',
        ],
    ),
    "an unknown model": (
        'model = "mpl"\n' + gene(BOOLEAN),
        [UNKNOWN_MODEL],
    ),
    "an unknown dataset": (
        'dataset = "cifar11"\n' + gene(BOOLEAN),
        [f'dataset: unknown dataset "cifar11". Did you mean "cifar10"? Known: {", ".join(names.DATASETS)}'],
    ),
    "a column as a gene": (
        gene(BOOLEAN, "loss") + gene(BOOLEAN, '"=cmd|x"'),
        [
            f"genes.loss: {BAD_NAME}",
            f"genes.=cmd|x: {BAD_NAME}",
        ],
    ),
    "a function as a model": (
        MLP.replace('"mlp"', '"os:system"'),
        ["model: a file cannot name a function; give your own model by --model or from Python"],
    ),
    "an unknown strategy": (
        gene(BOOLEAN) + '[search]\nstrategy = "gaa"',
        [
            'search.strategy: unknown strategy "gaa". Did you mean "ga"? Known: surrogate, halving, ga, ageing, '
            "pareto, cma, random, report2019, report2019-fixed"
        ],
    ),
    "unknown settings": (
        gene(BOOLEAN) + '[training]\npreprocess = "standardize"\noptimiser = "adamw"\nevaluate_every = 0',
        [
            'training.preprocess: unknown preprocess "standardize". Did you mean "standardise"? '
            "Known: standardise, subtract_mean_image",
            'training.optimiser: unknown optimiser "adamw". Did you mean "adam"? Known: adam, sgd, muon',
            "training.evaluate_every: must be greater than or equal to 1, got 0",
        ],
    ),
    "wrong objectives": (
        gene(BOOLEAN) + '[search]\nobjectives = { fitness = "maximise", loss = "min" }',
        ['search.objectives.loss: must be "maximise" or "minimise", got "min"'],
    ),
    "objectives of another strategy": (
        gene(BOOLEAN) + '[search]\nstrategy = "ga"\nobjectives = { fitness = "maximise", loss = "minimise" }',
        ['search.objectives: only the strategy "pareto" takes them, and strategy is "ga"; remove one of them'],
    ),
    "a section that is not a table": ("training = 5\n" + gene(BOOLEAN), ["training: must be a table, got 5"]),
    "a model that is not a text": ("model = 3\n" + gene(BOOLEAN), ["model: must be a text, got 3"]),
    "low above high": (
        gene('type = "float"\nlow = 1.0\nhigh = 0.0') + gene('type = "integer"\nlow = 2\nhigh = 1', "y"),
        [
            "genes.x.high: must not be below low, got low=1.0, high=0.0",
            "genes.y.high: must not be below low, got low=2, high=1",
        ],
    ),
    "a log scale from zero": (
        gene(UNIT + "\nlog = true") + gene('type = "integer"\nlow = -3\nhigh = 1\nlog = true', "y"),
        [
            "genes.x.log: log scale needs low > 0, got low=0.0",
            "genes.y.log: log scale needs low > 0, got low=-3",
        ],
    ),
    "bounds that are not finite": (
        gene('type = "float"\nlow = nan\nhigh = inf'),
        [
            "genes.x.low: must be a finite number, got nan",
            "genes.x.high: must be a finite number, got inf",
        ],
    ),
    "bounds that are not whole numbers": (
        gene('type = "integer"\nlow = 1.5\nhigh = "a"'),
        [
            "genes.x.low: must be a valid integer, got 1.5",
            "genes.x.high: must be a valid integer, got 'a'",
        ],
    ),
    "a bound that no float holds": (
        gene('type = "integer"\nlow = 0\nhigh = 99999999999999999'),
        ["genes.x.high: must be less than or equal to 9007199254740992, got 99999999999999999"],
    ),
    "steps of zero": (
        gene(UNIT + "\nstep = 0.0") + gene('type = "integer"\nlow = 0\nhigh = 9\nstep = 0', "y"),
        [
            "genes.x.step: must be greater than 0, got 0.0",
            "genes.y.step: must be greater than or equal to 1, got 0",
        ],
    ),
    "no choices": (gene('type = "categorical"\nchoices = []'), ["genes.x.choices: must not be empty"]),
    "choices twice": (
        gene('type = "categorical"\nchoices = ["a", "a"]') + gene('type = "categorical"\nchoices = [1, true]', "y"),
        ["genes.x.choices: must all differ, got ['a', 'a']", "genes.y.choices: must all differ, got [1, True]"],
    ),
    "choices that are not scalars": (
        gene('type = "categorical"\nchoices = [nan, { a = 1 }]'),
        [
            f"genes.x.choices.0: {A_VALUE}, got nan",
            f"genes.x.choices.1: {A_VALUE}, got {{'a': 1}}",
        ],
    ),
    "a width of zero": (
        gene('type = "layers"\ndepth = [1, 2]\nwidth = [0, 8]'),
        ["genes.x.width.0: must be greater than or equal to 1, got 0"],
    ),
    "a depth upside down": (
        gene('type = "layers"\ndepth = [2, 1]\nwidth = [1, 8]'),
        ["genes.x.depth: must be [smallest, largest], got [2, 1]"],
    ),
    "layers without bounds": (
        gene('type = "layers"\ndepth = [1, 2]'),
        ["genes.x: needs depth = [fewest, most] and width = [narrowest, widest], or choices"],
    ),
    "layers with bounds and choices": (
        gene('type = "layers"\nchoices = [[8]]\nlog = true'),
        ["genes.x: choices replace depth, width, log and step: give one or the other"],
    ),
    "empty layer lists": (gene('type = "layers"\nchoices = [[], []]'), ["genes.x.choices: must all differ"]),
    "steps off the curve's grid": (
        MLP.replace("low = 100", "low = 150"),
        [
            "genes.steps: low and step must be multiples of training.evaluate_every = 100, "
            "got low=150, step=100 (or set step = 1)"
        ],
    ),
    "a CNN without blocks": (
        MLP.replace("mlp", "cnn").replace("hidden_layers", "channels").replace("[1, ", "[0, "),
        ["genes.channels: needs at least 1 layer for this model, got 0 to 2 layers of width 8 to 64"],
    ),
    "a step between the curve's points": (
        MLP + "step = 50",
        [
            "genes.steps: low and step must be multiples of training.evaluate_every = 100, "
            "got low=100, step=50 (or set step = 1)"
        ],
    ),
    "a gene that nothing reads": (
        MLP.replace("learning_rate", "learning_rat"),
        [
            'genes.learning_rat: neither the training nor the model "mlp" reads it. '
            f'Did you mean "learning_rate"? {READ_BY_MLP}',
            "genes.learning_rate: needed unconditionally (a gene or training.learning_rate)",
        ],
    ),
    "names that the model does not know": (
        MLP
        + gene('type = "categorical"\nchoices = ["relu", "gellu"]', "activation")
        + gene('type = "categorical"\nchoices = ["manuel", "torch"]\nwhen = { batch_norm = true }', "batch_norm_kind")
        + gene(BOOLEAN, "batch_norm"),
        [
            'genes.activation.choices: unknown activation "gellu". Did you mean "gelu"? Known: relu, gelu, silu, tanh',
            'genes.batch_norm_kind.choices: unknown batch_norm_kind "manuel". Did you mean "manual"? '
            "Known: torch, automatic, manual",
        ],
    ),
    "a name that is not a categorical gene": (
        MLP + gene(f"{BOOLEAN}\nwhen = {{ batch_norm = true }}", "batch_norm_kind") + gene(BOOLEAN, "batch_norm"),
        ["genes.batch_norm_kind.type: must be categorical for this model, got boolean"],
    ),
    "a gene that cannot be read is not missing": (
        MLP.replace('"layers"', '"layer"') + "[[initial]]\nhidden_layers = [8]",
        [f"genes.hidden_layers.type: unknown kind 'layer'. Did you mean \"layers\"? {KINDS}"],
    ),
    "a condition on an unknown gene": (
        gene(BOOLEAN + "\nwhen = { use_droput = true }") + gene(BOOLEAN, "use_Dropout"),
        ['genes.x.when.use_droput: no such gene. Did you mean "use_Dropout"?'],
    ),
    "a condition on a wrong value": (
        gene(BOOLEAN + '\nwhen = { y = ["yes", true] }') + gene(BOOLEAN, "y"),
        ["genes.x.when.y: 'yes' is not in true | false"],
    ),
    "a condition on no value": (
        gene(BOOLEAN + "\nwhen = { y = [] }") + gene(BOOLEAN, "y"),
        ["genes.x.when.y: must not be empty"],
    ),
    "a condition on nan": (
        gene(BOOLEAN + "\nwhen = { y = nan }") + gene(BOOLEAN, "y"),
        [f"genes.x.when.y: {A_VALUE}, got nan"],
    ),
    "a condition on a float gene": (
        gene(BOOLEAN + "\nwhen = { y = 0.5 }") + gene(UNIT, "y"),
        [
            "genes.x.when.y: a condition needs a boolean, categorical or integer gene, or a comparison with a number, "
            'such as "> 0.5"'
        ],
    ),
    "a comparison of texts": (
        gene(BOOLEAN + '\nwhen = { y = ">= 2" }') + gene(BOOLEAN, "y"),
        ['genes.x.when.y: ">= 2" compares numbers, and the values are true | false: list those that are meant'],
    ),
    "a comparison with a wrong operator": (
        gene(BOOLEAN + '\nwhen = { y = "=> 2" }') + gene('type = "integer"\nlow = 0\nhigh = 3', "y"),
        [
            "genes.x.when.y: '=> 2' is not in 0 to 3; a comparison is one of <=, >=, ==, !=, <, > and a number, "
            'as in ">= 2"'
        ],
    ),
    "a comparison with no number": (
        gene(BOOLEAN + '\nwhen = { y = ">= two" }') + gene('type = "integer"\nlow = 0\nhigh = 3', "y"),
        [
            "genes.x.when.y: '>= two' is not in 0 to 3; a comparison is one of <=, >=, ==, !=, <, > and a number, "
            'as in ">= 2"'
        ],
    ),
    "a comparison in a list": (
        gene(BOOLEAN + '\nwhen = { y = [0, ">= 2"] }') + gene('type = "integer"\nlow = 0\nhigh = 3', "y"),
        ["genes.x.when.y: '>= 2' is not in 0 to 3; a comparison stands by itself, not in a list"],
    ),
    "a comparison that never holds": (
        gene(BOOLEAN + '\nwhen = { y = "> 3" }') + gene('type = "integer"\nlow = 0\nhigh = 3', "y"),
        ['genes.x.when.y: "> 3" never holds for 0 to 3'],
    ),
    "a comparison that always holds": (
        gene(BOOLEAN + '\nwhen = { y = ">= 0" }') + gene(UNIT, "y"),
        ['genes.x.when.y: ">= 0" always holds for 0 to 1; leave it out'],
    ),
    "a condition that is not a table": (
        gene(BOOLEAN + "\nwhen = true"),
        ["genes.x.when: must be a valid dictionary, got True"],
    ),
    "a circle of conditions": (
        gene(BOOLEAN + "\nwhen = { y = true }") + gene(BOOLEAN + "\nwhen = { x = true }", "y"),
        ["genes.x.when: the conditions form a circle"],
    ),
    "a condition on itself": (
        gene(BOOLEAN + "\nwhen = { x = true }"),
        ["genes.x.when: the conditions form a circle"],
    ),
    "wrong known configurations": (
        MLP + "[[initial]]\nbatch_size = 17.0\n[[initial]]\nhidden_layers = [8, 8, 8]\nsteps = 250\nrate = 0.1",
        [
            "initial[0].batch_size: 17.0 is not in 16 to 64",
            "initial[1].rate: no such gene",
            "initial[1].hidden_layers: (8, 8, 8) is not in 1 to 2 layers of width 8 to 64",
            "initial[1].steps: 250 is not in 100 to 600 (step 100)",
        ],
    ),
    "known configurations that are not tables": (
        "initial = 5\n" + gene(BOOLEAN),
        ["initial: must be [[initial]] tables, one for each known configuration"],
    ),
    "mistakes everywhere": (
        'model = "mpl"\nseed = 1\n[training]\npreproces = "x"\n'
        + gene('type = "flot"', "a")
        + gene('type = "float"\nlow = 2.0\nhigh = 1.0', "b")
        + gene(BOOLEAN + "\nwhen = { d = true }", "c"),
        [
            "seed: unknown key.",
            'training.preproces: unknown key. Did you mean "preprocess"?',
            f"genes.a.type: unknown kind 'flot'. Did you mean \"float\"? {KINDS}",
            "genes.b.high: must not be below low, got low=2.0, high=1.0",
            "genes.c.when.d: no such gene.",
            UNKNOWN_MODEL,
        ],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_all_at_once(mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    with pytest.raises(ConfigurationError) as caught:
        space_from_text(text, name="mine")
    heading = f"search space mine: {len(expected)} mistake{'s' if len(expected) > 1 else ''}"
    assert str(caught.value).splitlines() == [heading, *(f"  - {line}" for line in expected)]


def test_the_text_that_the_mistakes_vary_has_none() -> None:
    assert list(space_from_text(MLP, name="mine").genes) == ["hidden_layers", "learning_rate", "batch_size", "steps"]


def test_a_text_that_is_not_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("model = mlp\n")
    with pytest.raises(ConfigurationError, match=r"space\.toml: not a TOML file: .*line 1"):
        load_space(path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigurationError, match=r"space\.toml: cannot be read as a text file"):
        load_space(path)


def test_a_byte_order_mark_as_windows_writes_it_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MLP, encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert load_space(path) == space_from_text(MLP, name="mine")
    path.write_text(MLP, encoding="utf-16")
    with pytest.raises(ConfigurationError, match=r"mine\.toml: cannot be read as a text file"):
        load_space(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.touch()
    with pytest.raises(ConfigurationError, match=r"space\.toml: 1 mistake\n  - genes: at least one"):
        load_space(path)


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match=r'neither a shipped space nor a TOML file\. Did you mean "digits"\?'):
        load_space("digitz")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither a shipped space nor a TOML file"):
        load_space(tmp_path)


def test_a_file_gives_its_name_to_the_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MLP + "[[initial]]\nhidden_layers = [8, 16]\n")
    space = load_space(str(path))
    assert space.name == "mine"
    assert space.initial == ({"hidden_layers": (8, 16)},)
    assert load_space(space) is space


@pytest.mark.parametrize("name", list(shipped_spaces()))
def test_shipped_spaces_are_in_order_and_name_a_model_and_a_dataset(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.model is not None
    assert space.dataset is not None


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("abc", max_size=3) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abx"), inner, max_size=2),
    max_leaves=4,
)
_gene_tables = st.fixed_dictionaries(
    {"type": st.sampled_from(["float", "integer", "categorical", "boolean", "layers"]) | _values},
    optional=dict.fromkeys(("low", "high", "log", "step", "choices", "depth", "width", "when", "extra"), _values),
)
_files = st.fixed_dictionaries(
    {"genes": st.dictionaries(st.sampled_from("abx"), _gene_tables, max_size=3) | _values},
    optional=dict.fromkeys(("model", "dataset", "description", "training", "search", "other"), _values)
    | {"initial": st.lists(st.dictionaries(st.sampled_from("abx"), _values, max_size=2), max_size=2) | _values},
)


@settings(max_examples=300)
@given(_files)
def test_no_content_ends_in_another_error(values: dict[str, Any]) -> None:
    with suppress(ConfigurationError):
        space = space_from_dict(values, name="mine")
        assert space.problems(space.sample(random.Random(0))) == []


def test_a_file_can_name_every_strategy_and_model_and_no_other() -> None:
    assert strategy_names() == names.STRATEGIES
    assert tuple(MODELS) == names.MODELS


VALUES = """
[genes.mixer]
type = "categorical"
choices = [{ none = true }, "mean", [3, 3], [5, [1, { none = true }]]]
[genes.depth]
type = "integer"
low = 0
high = 3
[genes.layers]
type = "layers"
depth = [0, 2]
width = [1, 9]
[genes.sign]
type = "categorical"
choices = [">= 2", "< 1", 3]
[genes.a]
type = "boolean"
when = { mixer = [3, 3], depth = ">= 2" }
[genes.b]
type = "boolean"
when = { mixer = [[3, 3], { none = true }] }
[genes.c]
type = "boolean"
when = { mixer = { none = true }, sign = ">= 2" }
[[initial]]
mixer = { none = true }
layers = []
[[initial]]
mixer = [5, [1, { none = true }]]
"""


def test_none_tuples_and_comparisons_are_read_and_written() -> None:
    space = space_from_text(VALUES, name="mine")
    assert space.genes["mixer"].choices == (None, "mean", (3, 3), (5, (1, None)))
    assert space.initial == ({"mixer": None, "layers": ()}, {"mixer": (5, (1, None))})
    assert space_from_dict(json.loads(json.dumps(space.to_dict())), name="mine") == space
    for number, config in enumerate(space.initial):
        for text in (toml_text(space_values(space, config)), json_text(space_values(space, config))):
            again = space_from_text(text, name="mine")
            assert again.genes == space.genes
            assert again.initial == space.initial[number : number + 1]


@pytest.mark.parametrize(
    ("genome", "active"),
    [
        ({"mixer": (3, 3), "depth": 2, "sign": 3}, "ab"),
        ({"mixer": (3, 3), "depth": 1, "sign": 3}, "b"),
        ({"mixer": (5, (1, None)), "depth": 3, "sign": ">= 2"}, ""),
        ({"mixer": None, "depth": 3, "sign": ">= 2"}, "bc"),  # the text is a choice of `sign`: no comparison
        ({"mixer": None, "depth": 3, "sign": 3}, "b"),
    ],
)
def test_a_condition_means_the_exact_choice_first_then_several_values_or_a_comparison(
    genome: dict[str, Any], active: str
) -> None:
    space = space_from_text(VALUES, name="mine")
    assert "".join(name for name in "abc" if space.genes[name].is_active(genome)) == active
    copy = SearchSpace(space.genes)  # what was understood stays so
    assert "".join(name for name in "abc" if copy.genes[name].is_active(genome)) == active
