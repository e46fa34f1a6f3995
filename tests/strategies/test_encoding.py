"""Genomes as vectors: of one length, finite, and different where the genomes are."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.individual import Genome
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers
from evo.strategies.encoding import ABSENT, INACTIVE, Encoder
from tests.spaces import PARTS, genes, space_of_every_kind, spaces

SEEDS = st.integers(0, 2**32)


@given(spaces(), SEEDS)
def test_every_genome_of_a_space_is_a_finite_vector_of_one_length(space: SearchSpace, seed: int) -> None:
    rng = random.Random(seed)
    encoder = Encoder(space)
    vectors = encoder.encode([space.sample(rng) for _ in range(5)])
    assert vectors.shape == (5, len(encoder.groups))
    assert np.isfinite(vectors).all()
    assert vectors.min() >= ABSENT
    assert vectors.max() <= 1.0 + 1e-9


@given(genes(), SEEDS)
def test_different_values_of_a_gene_have_different_vectors(gene: Gene, seed: int) -> None:
    rng = random.Random(seed)
    first, second = gene.sample(rng), gene.sample(rng)
    vectors = Encoder(SearchSpace({"gene": gene})).encode([{"gene": first}, {"gene": second}])
    assert (vectors[0] != vectors[1]).any() == (first != second)


@pytest.mark.parametrize("part", PARTS)
def test_different_genomes_of_every_kind_have_different_vectors(part: str) -> None:
    space, rng = SearchSpace(PARTS[part]), random.Random(0)
    genomes = list({str(genome): genome for genome in (space.sample(rng) for _ in range(300))}.values())
    vectors = Encoder(space).encode(genomes)
    assert len(np.unique(vectors, axis=0)) == len(genomes) > 20


def test_groups_tell_genes_apart_and_the_shape_of_a_layer_list_from_its_widths() -> None:
    space = SearchSpace(
        {
            "x": Float(0.0, 1.0),
            "kind": Categorical(["a", "b", "c"]),
            "layers": Layers(depth=(1, 3), width=(2, 8)),
            "use": Boolean(),
            "rate": Float(0.1, 0.5, when={"use": True}),
        }
    )
    assert Encoder(space).groups == [0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 5, 5]
    everything = Encoder(space_of_every_kind()).groups
    assert sorted(set(everything)) == list(range(max(everything) + 1))


@pytest.mark.parametrize(
    ("gene", "low", "high"),
    [(Float(1e-4, 1e-2, log=True), 1e-4, 1e-2), (Float(-3.0, 5.0), -3.0, 5.0), (Boolean(), False, True)],
)
def test_numbers_lie_between_0_and_1_by_their_scale(gene: Gene, low: Any, high: Any) -> None:
    assert Encoder(SearchSpace({"x": gene})).encode([{"x": low}, {"x": high}]) == pytest.approx(
        np.array([[0.0], [1.0]])
    )


def test_a_log_scale_has_its_geometric_mean_in_the_middle() -> None:
    [[place]] = Encoder(SearchSpace({"x": Float(1e-4, 1e-2, log=True)})).encode([{"x": 1e-3}])
    assert place == pytest.approx(0.5)


def test_choices_are_equally_far_apart_and_as_far_as_the_ends_of_a_range() -> None:
    vectors = Encoder(SearchSpace({"kind": Categorical(["a", "b", "c"])})).encode([{"kind": c} for c in "abc"])
    distances = [np.linalg.norm(vectors[i] - vectors[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert distances == pytest.approx([1.0] * 3)


def test_an_inactive_gene_says_so_and_is_no_value_of_its_own() -> None:
    space = SearchSpace({"use": Boolean(), "rate": Float(0.0, 1.0, when={"use": True})})
    genomes: list[Genome] = [{"use": False}, {"use": True, "rate": 0.5}, {"use": True, "rate": 0.0}]
    assert Encoder(space).encode(genomes).tolist() == [[0.0, INACTIVE, 0.0], [1.0, 0.5, 1.0], [1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "gene", [Integer(1, 4), Boolean(), Categorical(["a", "b"]), Layers(depth=(1, 2), width=(2, 8))], ids=repr
)
def test_every_kind_of_gene_may_be_inactive(gene: Gene) -> None:
    space = SearchSpace({"use": Boolean(), "gene": replace(gene, when={"use": True})})
    rng = random.Random(0)
    active = space.complete({"use": True}, rng)
    vectors = Encoder(space).encode([{"use": False}, active])
    assert vectors[0, -1] == 0.0
    assert vectors[1, -1] == 1.0


def test_layers_are_aligned_by_depth_and_missing_ones_are_absent() -> None:
    encoder = Encoder(SearchSpace({"layers": Layers(depth=(1, 3), width=(1, 100), log=True)}))
    shallow, deep = encoder.encode([{"layers": (10,)}, {"layers": (10, 1, 100)}])
    assert shallow.tolist() == pytest.approx([1 / 3, 0.0, 0.5, ABSENT, ABSENT])
    assert deep.tolist() == pytest.approx([1.0, (0.5 + 1.0) / 4, 0.5, 0.0, 1.0])


def test_a_gene_of_an_unknown_kind_is_refused_by_name() -> None:
    class Strange:
        when = None

    space = SearchSpace({"x": Float(0.0, 1.0)})
    space.genes["x"] = Strange()
    with pytest.raises(TypeError, match="Strange"):
        Encoder(space).encode([{"x": 1}])


def test_a_gene_is_found_by_its_first_column() -> None:
    space = space_of_every_kind()
    encoder = Encoder(space)
    genome = space.sample(random.Random(1))
    [whole] = encoder.encode([genome])
    for name in genome:
        other = {key: value for key, value in genome.items() if key != name}
        changed = np.flatnonzero(encoder.encode([other])[0] != whole)
        if len(changed):
            assert changed[0] >= encoder.column(name)
            place = list(space.genes).index(name) + 1
            assert place == len(space.genes) or changed[-1] < encoder.column(list(space.genes)[place])
    assert encoder.column(next(iter(space.genes))) == 0
