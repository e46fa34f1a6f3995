"""Variation: every child is legal, every mutant is another genome, every crossover lies between its parents."""

from __future__ import annotations

import random
from collections import Counter
from itertools import zip_longest

import pytest
from deap import tools
from hypothesis import given
from hypothesis import strategies as st

from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers, Number
from evo.strategies.variation import edit_layers, lend, make_toolbox, mate, mate_gene, mutate, mutate_gene, stratified
from tests.spaces import PARTS, genes, space_of_every_kind, spaces

SEEDS = st.integers(0, 2**32)
STRENGTHS = st.sampled_from([1e-6, 0.01, 0.15, 0.5, 3.0])


@pytest.mark.parametrize("count", [5_000, pytest.param(125_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", PARTS)
def test_children_of_every_kind_are_legal(part: str, count: int) -> None:
    space = SearchSpace(PARTS[part])
    rng = random.Random(part)
    population = [space.sample(rng) for _ in range(50)]
    for number in range(count):
        child = mate(space, rng.choice(population), rng.choice(population), rng)
        mutant = mutate(space, child, rng, strength=(0.15, 0.001, 2.0)[number % 3])
        for genome in (child, mutant):
            assert not space.problems(genome)
        population[number % 50] = mutant


@given(spaces(), SEEDS, STRENGTHS, st.none() | st.sampled_from([0.0, 0.5, 1.0]))
def test_children_are_legal_in_random_spaces(space: SearchSpace, seed: int, strength: float, rate: float) -> None:
    rng = random.Random(seed)
    child = mate(space, space.sample(rng), space.sample(rng), rng)
    assert space.problems(child) == []
    mutant = mutate(space, child, rng, rate=rate, strength=strength)
    assert space.problems(mutant) == []
    assert list(mutant) == [name for name in space.genes if name in mutant]


@given(spaces(), SEEDS, STRENGTHS)
def test_a_mutant_differs_whenever_the_space_has_two_points(space: SearchSpace, seed: int, strength: float) -> None:
    rng = random.Random(seed)
    genome = space.sample(rng)
    assert (mutate(space, genome, rng, strength=strength) != genome) == (space.points > 1)


@given(genes(), SEEDS, STRENGTHS)
def test_a_mutated_gene_is_legal_and_differs_unless_it_has_one_value(gene: Gene, seed: int, strength: float) -> None:
    rng = random.Random(seed)
    value = gene.sample(rng)
    mutant = mutate_gene(gene, value, rng, strength)
    assert gene.contains(mutant)
    assert (mutant != value) == (gene.points > 1)


@given(genes(), SEEDS)
def test_parents_that_agree_have_a_child_that_agrees(gene: Gene, seed: int) -> None:
    rng = random.Random(seed)
    value = gene.sample(rng)
    assert mate_gene(gene, value, value, rng) == value


@given(genes(), SEEDS)
def test_a_crossover_lies_between_numbers_and_is_one_of_two_choices(gene: Gene, seed: int) -> None:
    rng = random.Random(seed)
    first, second = gene.sample(rng), gene.sample(rng)
    child = mate_gene(gene, first, second, rng)
    assert gene.contains(child)
    if isinstance(gene, Number):
        assert min(first, second) <= child <= max(first, second)
    elif isinstance(gene, Boolean | Categorical) or gene.choices is not None:
        assert child in (first, second)


@pytest.mark.parametrize("name", ["layers", "stepped", "log_stepped", "same_width"])
def test_layer_lists_cross_aligned_by_depth(name: str) -> None:
    gene, rng = PARTS["layers"][name], random.Random(name)
    for _ in range(2000):
        first, second = gene.sample(rng), gene.sample(rng)
        child = mate_gene(gene, first, second, rng)
        assert len(child) in (len(first), len(second))
        for width, *parents in zip_longest(child, first, second):
            present = [parent for parent in parents if parent is not None]
            assert width is None or min(present) <= width <= max(present)


def test_both_depths_and_widths_in_between_occur() -> None:
    gene, rng = Layers(depth=(1, 4), width=(8, 64)), random.Random(0)
    children = [mate_gene(gene, (8, 8), (64, 64, 64, 64), rng) for _ in range(200)]
    assert {len(child) for child in children} == {2, 4}
    assert any(8 < child[0] < 64 for child in children)


def test_every_edit_of_a_layer_list_does_what_it_is_called() -> None:
    gene, rng = Layers(depth=(1, 5), width=(4, 100)), random.Random(0)
    before = (10, 20, 40)
    for _ in range(200):
        resized = edit_layers(gene, before, "resize", rng, 0.15)
        assert sum(a != b for a, b in zip(before, resized, strict=True)) == 1
        assert edit_layers(gene, before, "duplicate", rng, 0.15) in {
            (10, 10, 20, 40),
            (10, 20, 20, 40),
            (10, 20, 40, 40),
        }
        assert edit_layers(gene, before, "split", rng, 0.15) in {(5, 5, 20, 40), (10, 10, 10, 40), (10, 20, 20, 20)}
        assert edit_layers(gene, before, "delete", rng, 0.15) in {(20, 40), (10, 40), (10, 20)}


def test_a_layer_is_inserted_at_every_place_the_ends_included() -> None:
    gene, rng = Layers(depth=(1, 5), width=(4, 100)), random.Random(0)
    before, first, between, last = (10, 30, 60), 0, 0, 0
    for _ in range(600):
        inserted = edit_layers(gene, before, "insert", rng, 0.15)
        places = [place for place in range(4) if inserted[:place] + inserted[place + 1 :] == before]
        assert places
        assert gene.contains(inserted)
        inside = {1, 2} & set(places)
        assert not inside or all(10 <= width <= 60 for width in inserted)
        first, between, last = first + (places == [0]), between + bool(inside), last + (places == [3])
    assert min(first, between / 2, last) > 100


def test_mutation_reaches_every_depth_and_both_bounds() -> None:
    gene, rng = Layers(depth=(1, 3), width=(4, 6)), random.Random(0)
    value, seen = gene.sample(rng), set()
    for _ in range(3000):
        value = mutate_gene(gene, value, rng, 0.15)
        seen.add(value)
    assert len(seen) == gene.points == 3 + 9 + 27


def test_the_strength_is_the_step_as_a_fraction_of_the_log_range() -> None:
    gene, rng = Float(1e-6, 1.0, log=True), random.Random(0)
    moves = [gene.distance(1e-3, mutate_gene(gene, 1e-3, rng, 0.05)) for _ in range(2000)]
    assert (sum(move**2 for move in moves) / len(moves)) ** 0.5 == pytest.approx(0.05, rel=0.1)


def test_a_gene_that_becomes_active_is_drawn_and_one_that_becomes_inactive_goes() -> None:
    space = SearchSpace({"use": Boolean(), "dropout": Float(0.1, 0.5, when={"use": True})})
    rng = random.Random(0)
    assert 0.1 <= mutate(space, {"use": False}, rng)["dropout"] <= 0.5
    mutants = [mutate(space, {"use": True, "dropout": 0.3}, rng) for _ in range(50)]
    assert {"use": False} in mutants
    assert mate(space, {"use": False}, {"use": False}, rng) == {"use": False}


def test_a_gene_active_in_one_parent_comes_from_it() -> None:
    space = SearchSpace({"use": Boolean(), "dropout": Float(0.1, 0.5, when={"use": True})})
    rng = random.Random(0)
    children = [mate(space, {"use": True, "dropout": 0.3}, {"use": False}, rng) for _ in range(50)]
    assert all(child in ({"use": True, "dropout": 0.3}, {"use": False}) for child in children)
    assert len({child["use"] for child in children}) == 2


def test_by_default_one_gene_mutates_on_average_and_rate_1_mutates_all() -> None:
    space = SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(10)})
    rng = random.Random(0)
    genome = space.sample(rng)
    counts = [sum(mutate(space, genome, rng)[name] != genome[name] for name in genome) for _ in range(1000)]
    # Binomial(10, 0.1), its zeros lifted to one: mean 1 + 0.9 ** 10.
    assert sum(counts) / 1000 == pytest.approx(1.35, abs=0.1)
    assert all(mutate(space, genome, rng, rate=1.0)[name] != genome[name] for name in genome)


def test_parents_are_left_as_they_were() -> None:
    space, rng = space_of_every_kind(), random.Random(0)
    first, second = space.sample(rng), space.sample(rng)
    copies = dict(first), dict(second)
    mutate(space, mate(space, first, second, rng), rng, rate=1.0)
    assert (first, second) == copies


def test_the_same_generator_gives_the_same_child() -> None:
    space = space_of_every_kind()

    def child(seed: int) -> object:
        rng = random.Random(seed)
        return mutate(space, mate(space, space.sample(rng), space.sample(rng), rng), rng)

    assert child(1) == child(1)
    assert child(1) != child(2)


def test_lend_gives_deap_our_generator_and_keeps_the_global_one() -> None:
    ours, same = random.Random(5), random.Random(5)
    before = random.getstate()
    with lend(ours):
        drawn = random.random()
        tools.selRandom(range(10), 3)
    assert random.getstate() == before
    assert drawn == same.random()
    assert ours.getstate() != same.getstate()


def test_lend_restores_the_global_generator_after_an_error() -> None:
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), lend(random.Random(5)):
        1 / random.randrange(0, 1)
    assert random.getstate() == before


def test_the_toolbox_has_what_a_strategy_needs() -> None:
    space, rng = SearchSpace({"x": Integer(1, 9)}), random.Random(0)
    toolbox = make_toolbox(space)
    first, second = space.sample(rng), space.sample(rng)
    assert space.problems(toolbox.mutate(toolbox.mate(first, second, rng), rng)) == []


def test_a_gene_of_an_unknown_kind_is_refused_by_name() -> None:
    class Strange:
        pass

    with pytest.raises(TypeError, match="Strange"):
        mutate_gene(Strange(), 1, random.Random(0), 0.1)
    with pytest.raises(TypeError, match="Strange"):
        mate_gene(Strange(), 1, 2, random.Random(0))


# Spread genomes.


@given(spaces(), st.integers(1, 12), SEEDS)
def test_stratified_genomes_are_legal_whatever_the_conditions(space: SearchSpace, count: int, seed: int) -> None:
    genomes = stratified(space, count, random.Random(seed))
    assert [space.problems(genome) for genome in genomes] == [[]] * count
    assert all(list(genome) == [name for name in space.genes if name in genome] for genome in genomes)
    assert genomes == stratified(space, count, random.Random(seed))


@pytest.mark.parametrize("count", [1, 2, 7, 20])
@pytest.mark.parametrize(
    "gene", [Float(-3.0, 5.0), Float(1e-5, 1e-1, log=True), Integer(1, 10**9), Integer(1, 10**9, log=True)], ids=repr
)
def test_each_part_of_a_range_is_used_once(gene: Number, count: int) -> None:
    genomes = stratified(SearchSpace({"x": gene}), count, random.Random(0))
    places = [gene.scale.to_unit(genome["x"]) for genome in genomes]
    for part, place in enumerate(sorted(places)):
        assert part / count - 1e-6 <= place <= (part + 1) / count + 1e-6


def test_two_ranges_are_spread_independently() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    genomes = stratified(space, 10, random.Random(1))
    orders = [sorted(range(10), key=lambda place: genomes[place][name]) for name in ("x", "y")]
    assert orders[0] != orders[1] != orders[0][::-1]


@pytest.mark.parametrize(
    "gene",
    [
        Categorical(["a", "b", "c"]),
        Boolean(),
        Layers(choices=[(1,), (2, 2), (3,)]),
        Layers(depth=(2, 4), width=(1, 100)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("count", [2, 6, 13])
def test_choices_and_depths_come_up_equally_often(gene: Gene, count: int) -> None:
    genomes = stratified(SearchSpace({"x": gene}), count, random.Random(3))
    depths = isinstance(gene, Layers) and gene.choices is None
    seen = Counter(len(genome["x"]) if depths else genome["x"] for genome in genomes)
    kinds = 3 if depths else int(gene.points)
    assert len(seen) == min(kinds, count)
    assert max(seen.values()) - min(seen.values()) <= 1


def test_a_gene_without_a_choice_keeps_its_value_and_inactive_ones_are_left_out() -> None:
    space = SearchSpace(
        {"only": Float(0.5, 0.5), "use": Boolean(), "rate": Float(0.1, 0.5, when={"use": True}), "one": Integer(3, 3)}
    )
    genomes = stratified(space, 8, random.Random(0))
    assert all((genome["only"], genome["one"]) == (0.5, 3) for genome in genomes)
    assert all(("rate" in genome) == genome["use"] for genome in genomes)
    assert sum(bool(genome["use"]) for genome in genomes) == 4
