"""Search spaces: draws, partial configurations, distances and text agree with the genes and their conditions."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.errors import ConfigurationError
from evo.individual import genome_key
from evo.names import DATASETS
from evo.space import SearchSpace
from evo.space.file import load_space, shipped_spaces, space_from_dict
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers
from tests.spaces import space_of_every_kind, spaces

SEEDS = st.integers(0, 2**32)
DROPOUT: dict[str, Gene] = {"use": Boolean(), "dropout": Float(0.1, 0.5, when={"use": True}), "x": Integer(1, 9)}


@given(spaces(), SEEDS)
def test_a_sample_is_legal_and_in_the_order_of_the_space(space: SearchSpace, seed: int) -> None:
    genome = space.sample(random.Random(seed))
    assert space.problems(genome) == []
    assert list(genome) == [name for name in space.genes if name in genome]


@given(spaces(), SEEDS)
def test_decoding_undoes_encoding(space: SearchSpace, seed: int) -> None:
    genome = space.sample(random.Random(seed))
    cells = space.encode(genome)
    assert list(cells) == list(space.genes)
    assert space.decode(cells) == genome
    assert genome_key(space.decode(cells)) == genome_key(genome)


@given(spaces())
def test_reading_undoes_writing(space: SearchSpace) -> None:
    read = space_from_dict(space.to_dict(), name="read")
    assert read == space
    assert read.genes == space.genes
    assert list(read.genes) == list(space.genes)
    assert read.order == space.order


@pytest.mark.parametrize("name", list(shipped_spaces()))
def test_shipped_spaces_survive_writing_and_reading(name: str) -> None:
    space = load_space(name)
    read = space_from_dict(space.to_dict(), name=name)
    assert (read, read.genes, read.initial) == (space, space.genes, space.initial)
    assert (read.training, read.search) == (space.training, space.search)


@given(spaces(), SEEDS, SEEDS, st.data())
def test_complete_keeps_what_is_given_and_draws_the_rest(
    space: SearchSpace, first: int, second: int, data: st.DataObject
) -> None:
    genome = space.sample(random.Random(first))
    kept = data.draw(st.sets(st.sampled_from(list(genome))))
    partial = {name: genome[name] for name in kept}
    completed = space.complete(partial, random.Random(second))
    assert space.problems(completed) == []
    # A gene may have lost the condition that made it active.
    assert all(completed[name] == value for name, value in partial.items() if name in completed)
    assert all(not space.genes[name].is_active(completed) for name in partial if name not in completed)
    assert space.complete(genome, random.Random(second)) == genome


def test_complete_drops_inactive_genes() -> None:
    completed = SearchSpace(DROPOUT).complete({"use": False, "dropout": 0.3, "x": 4}, random.Random(0))
    assert completed == {"use": False, "x": 4}


@given(spaces(), SEEDS)
def test_distance_is_a_symmetric_fraction_and_zero_for_equal(space: SearchSpace, seed: int) -> None:
    rng = random.Random(seed)
    first, second = space.sample(rng), space.sample(rng)
    assert 0 <= space.diversity([first, second]) <= 1
    assert space.diversity([first, second]) == pytest.approx(space.diversity([second, first]))
    assert space.diversity([first, dict(first)]) == 0
    assert first == second or space.diversity([first, second]) > 0


def test_inactive_genes_count_neither_in_the_key_nor_in_the_distance() -> None:
    space, rng = SearchSpace(DROPOUT), random.Random(0)
    without = [space.complete({"use": False, "dropout": value, "x": 4}, rng) for value in (0.1, 0.5)]
    assert genome_key(without[0]) == genome_key(without[1])
    assert space.diversity(without) == 0


def test_active_against_inactive_counts_as_one_gene() -> None:
    distance = SearchSpace(DROPOUT).diversity([{"use": False, "x": 4}, {"use": True, "dropout": 0.3, "x": 4}])
    assert distance == pytest.approx(2 / 3)


def test_diversity_is_the_mean_of_all_pairs() -> None:
    space = SearchSpace({"x": Categorical(["a", "b", "c"])})
    assert space.diversity([{"x": "a"}, {"x": "a"}, {"x": "b"}]) == pytest.approx(2 / 3)
    assert space.diversity([{"x": "a"}]) == space.diversity([]) == 0


@given(spaces(), SEEDS)
def test_diversity_is_to_the_last_bit_that_of_the_distances(space: SearchSpace, seed: int) -> None:
    rng = random.Random(seed)
    genomes = [space.sample(rng) for _ in range(6)]
    distances = [space.diversity([first, second]) for place, first in enumerate(genomes) for second in genomes[:place]]
    assert space.diversity(genomes) == sum(distances) / 15


def test_every_genome_of_a_grid_is_equally_likely() -> None:
    space, rng = SearchSpace({"a": Integer(1, 3), "b": Boolean()}), random.Random(0)
    counts = Counter(genome_key(space.sample(rng)) for _ in range(6000))
    assert len(counts) == space.points == 6
    assert all(abs(count - 1000) < 120 for count in counts.values())


def test_the_same_generator_draws_the_same_genomes() -> None:
    space = space_of_every_kind()
    assert space.sample(random.Random(3)) == space.sample(random.Random(3))
    assert space.sample(random.Random(3)) != space.sample(random.Random(4))


@pytest.mark.parametrize(
    ("genome", "problem"),
    [
        ({"use": True, "dropout": 0.3}, "x: missing"),
        ({"use": True, "dropout": 0.6, "x": 1}, "dropout: 0.6 is not in 0.1 to 0.5"),
        ({"use": False, "dropout": 0.3, "x": 1}, "dropout: has a value although its condition {'use': True} does not"),
        ({"use": True, "x": 1}, "dropout: missing"),
        ({"use": False, "x": 1, "y": 2}, "y: no such gene"),
        ({"use": False, "x": 1.0}, "x: 1.0 is not in 1 to 9"),
    ],
)
def test_problems_names_what_is_wrong(genome: dict[str, object], problem: str) -> None:
    found = SearchSpace(DROPOUT).problems(genome)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_repair_moves_values_into_the_bounds_and_drops_the_impossible() -> None:
    space = SearchSpace({**DROPOUT, "layers": Layers(depth=(1, 2), width=(4, 8)), "kind": Categorical(["a"])})
    values = {"x": 99, "dropout": 0.0, "layers": [100, 5, 5], "kind": "b", "use": "yes", "other": 1}
    assert space.repair(values) == {"x": 9, "dropout": 0.1, "layers": (8, 5)}
    assert space.repair({"layers": ["wide"], "x": None}) == {}


def test_conditions_may_stand_before_the_gene_they_name() -> None:
    space = SearchSpace({"b": Boolean(when={"a": True}), "a": Boolean()})
    assert space.order == ("a", "b")
    assert list(space.genes) == ["b", "a"]


def test_a_steps_gene_of_a_model_lies_on_the_grid_of_the_curve() -> None:
    genes: dict[str, Gene] = {
        "hidden_layers": Layers(depth=(1, 2), width=(8, 16)),
        "learning_rate": Float(1e-4, 1e-2),
        "batch_size": Integer(8, 16),
        "steps": Integer(50, 220),
    }
    space = SearchSpace(genes, model="mlp", training={"evaluate_every": 50})
    rng = random.Random(0)
    assert {space.sample(rng)["steps"] for _ in range(100)} == {50, 100, 150, 200}
    assert SearchSpace(genes).genes["steps"] == genes["steps"]


def test_spaces_are_equal_when_their_files_would_be() -> None:
    assert SearchSpace(DROPOUT) == SearchSpace(DROPOUT, name="other")
    assert SearchSpace(DROPOUT) != SearchSpace({**DROPOUT, "x": Integer(1, 8)})
    assert SearchSpace(DROPOUT) != "space"


def test_every_problem_of_a_space_made_in_python_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SearchSpace(
            {"use_dropout": Boolean(), "x": Float(0.0, 1.0, when={"use_droput": True})},
            dataset="cifar11",
            initial=[{"use_dropout": "yes", "z": 1}],
        )
    assert str(caught.value).splitlines() == [
        "search space custom: 4 mistakes",
        '  - genes.x.when.use_droput: no such gene. Did you mean "use_dropout"?',
        f'  - dataset: unknown dataset "cifar11". Did you mean "cifar10"? Known: {", ".join(DATASETS)}',
        "  - initial[0].z: no such gene",
        "  - initial[0].use_dropout: 'yes' is not in true | false",
    ]


def test_wrong_settings_of_a_space_made_in_python_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SearchSpace({"x": Boolean()}, training={"optimizer": "adam"}, search={"population": 0})
    assert str(caught.value).splitlines()[1:] == [
        '  - training.optimizer: unknown key. Did you mean "optimiser"?',
        "  - search.population: must be greater than or equal to 1, got 0",
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("loss", "seed", "individual", "fitness", "error", "rank", "winner", "status", "test_accuracy"),
        *("=cmd|x", "", "a b", "1x", "_x", "größe", "x\n", "a.b", "-x"),
    ],
)
def test_a_name_that_no_column_of_a_gene_may_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SearchSpace({name: Boolean(), "x": Boolean()})
    assert f"genes.{name}: a name consists of letters, digits and _" in str(caught.value)
    assert "1 mistake" in str(caught.value)


def test_what_is_no_gene_and_what_is_no_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"genes x: must be evo\.Float, Integer, Categorical, Boolean or"):
        SearchSpace({"x": (0, 1)})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match=r"genes 1: must be evo\.Float"):
        SearchSpace({1: (0, 1)})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match=r"genes\.1: a name consists of letters"):
        SearchSpace({1: Boolean()})  # type: ignore[dict-item]


TRAINED: dict[str, Gene] = {
    "learning_rate": Float(1e-4, 1e-2),
    "batch_size": Integer(8, 16),
    "steps": Integer(50, 220),
}


def test_a_model_of_the_users_own_needs_what_every_training_needs() -> None:
    space = SearchSpace(TRAINED, training={"evaluate_every": 50})
    assert space.with_model("mine:build").genes["steps"] == Integer(50, 220, step=50)
    assert space.with_model("mine:build").model == "mine:build"
    genes = {name: gene for name, gene in TRAINED.items() if name != "learning_rate"}
    with pytest.raises(ConfigurationError, match=r"genes\.learning_rate: needed unconditionally"):
        SearchSpace(genes, training={"evaluate_every": 50}).with_model("mine:build")
    with pytest.raises(ConfigurationError, match=r"genes\.learning_rate: must lie in \[0, inf\], got -1"):
        SearchSpace({**TRAINED, "learning_rate": Float(-1.0, 1.0)}, training={"evaluate_every": 50}, model="mine:build")


def test_a_model_of_the_users_own_reads_its_other_genes_as_it_likes() -> None:
    own: dict[str, Gene] = {"activation": Categorical(["mish", "sine"]), "hidden_layers": Integer(1, 3)}
    space = SearchSpace({**TRAINED, **own}, training={"evaluate_every": 50}, model="mine:build")
    assert space.genes["activation"] == own["activation"]
    with pytest.raises(ConfigurationError, match='unknown activation "mish"'):
        space.with_model("mlp")


def test_a_shipped_model_that_does_not_read_the_genes_names_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_space("digits").with_model("cnn")
    assert 'genes.hidden_layers: neither the training nor the model "cnn" reads it' in str(caught.value)
    assert "genes.channels: needed unconditionally" in str(caught.value)


def test_a_model_of_the_users_own_is_not_written_with_the_space() -> None:
    space = SearchSpace(TRAINED, training={"evaluate_every": 50}, model="mine:build")
    read = space_from_dict(space.to_dict(), name="read")
    assert read.model is None
    assert read.genes == space.genes
