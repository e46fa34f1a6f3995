"""Cells of tables: a genome's own cells, its CSV file's and what pandas reads from that all stand for the genome."""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evo
from evo.errors import ConfigurationError
from evo.individual import Genome, Individual, genome_key
from evo.record.run import Run
from evo.record.tables import with_texts, write_csv_text
from evo.reports.comparison import compare_runs, comparison_table, csv_text
from evo.reports.features import features_of
from evo.space.genes.values import alike, is_empty
from evo.space.typed import read_typed, typed
from tests.spaces import spaces
from tests.test_run import evaluation, make_settings

SEEDS = st.integers(0, 2**32)
MIXED = {"kind": evo.Categorical([0, 0.5, 1]), "rate": evo.Float(0.0, 1.0)}


def run_with(space: evo.SearchSpace, genomes: Iterable[Genome]) -> Run:
    run = Run.create(make_settings(space=space.to_dict(), initial=[]))
    for number, genome in enumerate(genomes):
        run.record_proposal(Individual(number, genome))
        run.record(evaluation(number, number / 100))
    return run


def csv_of(run: Run) -> str:
    buffer = io.StringIO()
    write_csv_text(with_texts(run.table, run.space), buffer)
    return buffer.getvalue()


def same(read: Genome, genome: Genome) -> bool:
    return read.keys() == genome.keys() and all(alike(value, genome[name]) for name, value in read.items())


@given(spaces(), SEEDS)
def test_a_row_of_a_table_and_of_its_file_is_the_genome(space: evo.SearchSpace, seed: int) -> None:
    rng = random.Random(seed)
    genomes = [space.sample(rng) for _ in range(4)]
    run = run_with(space, genomes)
    text = csv_of(run)
    for table in (run.table, pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)):
        for (_, row), record, genome in zip(table.iterrows(), table.to_dict("records"), genomes, strict=True):
            assert same(space.decode(record), genome)
            assert space.decode(row.to_dict()) == genome
    for record, genome in zip(csv.DictReader(io.StringIO(text)), genomes, strict=True):
        assert same(space.decode(record), genome)


@given(spaces(), SEEDS)
def test_what_pandas_reads_is_the_genome_or_is_refused(space: evo.SearchSpace, seed: int) -> None:
    rng = random.Random(seed)
    genomes = [space.sample(rng) for _ in range(4)]
    table = pd.read_csv(io.StringIO(csv_of(run_with(space, genomes))))
    texts = [
        {c for c in getattr(gene, "choices", None) or () if not isinstance(c, tuple)} for gene in space.genes.values()
    ]
    texts = [{c for c in own if c is None or isinstance(c, str)} for own in texts]
    unclear = any(len(own & group) > 1 for own in texts for group in ({"1", "1.0"}, {"None", "NA", "nan", None}))
    for record, genome in zip(table.to_dict("records"), genomes, strict=True):
        with pytest.raises(ConfigurationError, match="may be any of") if unclear else nullcontext():
            assert same(space.decode(record), genome)
            if unclear:  # by chance, none of these choices was drawn
                raise ConfigurationError("may be any of")


@given(spaces(), SEEDS)
def test_a_comparison_holds_the_cells_as_they_are(space: evo.SearchSpace, seed: int) -> None:
    rng = random.Random(seed)
    run = run_with(space, [space.sample(rng) for _ in range(3)])
    for record in csv.DictReader(io.StringIO(csv_text(compare_runs([run])))):
        assert same(space.decode(record), run.config_of(int(record["individual"])))


def test_choices_stay_as_written_beside_others(tmp_path: Path) -> None:
    run = evo.search(
        evo.SearchSpace(
            {**MIXED, "exact": evo.Categorical([2**53 + 1, 0.5]), "large": evo.Categorical([2**63, 2**64])}
        ),
        lambda config: config["rate"],
        budget=40,
        output=tmp_path / "run",
    )
    with (tmp_path / "run" / "evaluations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {"kind": {"0", "0.5", "1"}, "exact": {str(2**53 + 1), "0.5"}, "large": {str(2**63), str(2**64)}}
    for name, texts in expected.items():
        assert {row[name] for row in rows} == texts
        assert set(run.table[name].map(str)) == texts
        assert set(comparison_table([run], top=40)[name].map(str)) == texts


def test_a_report_groups_by_the_choice() -> None:
    genomes: list[Genome] = [{"kind": kind, "rate": 0.5} for kind in (0, 0.5, 1, 1)]
    space = evo.SearchSpace(MIXED)
    kind, _ = features_of(space, run_with(space, genomes).table)
    assert (kind.categories, list(kind.values)) == (("0", "0.5", "1"), [0, 1, 2, 2])
    written = pd.read_csv(io.StringIO(csv_of(run_with(space, genomes))))
    assert list(features_of(space, written)[0].values) == [0, 1, 2, 2]
    with pytest.raises(ValueError, match=r"expected one of \[0, 0\.5, 1\], got 2"):
        features_of(space, written.assign(kind=2))


@pytest.mark.parametrize(
    ("gene", "cells"),
    [
        (evo.Boolean(), ["maybe", "1", 1, 0.0, "yes", "tru e"]),
        (evo.Categorical(["relu", 1, 0.5]), ["gelu", "Relu", 2, True, "1.5", " relu", (1,), "1_0"]),
        (evo.Categorical([True, "auto"]), [1, "1", 0.0, "yes"]),
        (evo.Integer(1, 5), [3.5, "3.5", True, "three", "1_0", "１", (3,), np.inf, "nan", "3,5"]),
        (evo.Float(0.0, 1.0), ["half", True, "0,5", np.inf, "inf", "1e999", "0_1", (0.5,)]),
        (evo.Layers((1, 3), (1, 64)), ["a,b", "8,,8", "8,", "8.5", 8.5, True, 832, "8;8", (8, 0.5)]),
        (evo.Layers(choices=[(8, 8)]), ["a", 8, 16.0]),
    ],
)
def test_a_cell_that_is_no_value_is_refused_with_its_gene(gene: Any, cells: list[Any]) -> None:
    space = evo.SearchSpace({"gene": gene, "other": evo.Boolean()})
    for cell in cells:
        with pytest.raises(ConfigurationError, match=r"- gene: .*expected") as caught:
            space.decode({"gene": cell, "other": "True"})
        assert str(cell) in str(caught.value)


@pytest.mark.parametrize("empty", [None, "", np.nan, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_an_empty_cell_is_an_inactive_gene_and_nothing_else(empty: Any) -> None:
    space = evo.SearchSpace({"rate": evo.Float(0.1, 0.5, when={"use": True}), "use": evo.Boolean()})
    assert is_empty(empty)
    assert space.decode({"use": "False", "rate": empty}) == {"use": False}
    with pytest.raises(ConfigurationError, match="- rate: the cell is empty: expected a finite number"):
        space.decode({"use": "True", "rate": empty})
    with pytest.raises(ConfigurationError, match="- use: the cell is empty"):
        space.decode({"use": empty, "rate": empty})


def test_a_text_that_pandas_takes_for_an_empty_cell_is_found_again() -> None:
    genes: dict[str, Any] = {"use": evo.Boolean(), "norm": evo.Categorical(["None", "batch"], when={"use": True})}
    space = evo.SearchSpace(genes)
    genomes: list[Genome] = [{"use": True, "norm": "None"}, {"use": True, "norm": "batch"}, {"use": False}]
    table = pd.read_csv(io.StringIO(csv_of(run_with(space, genomes))))
    assert [space.decode(row) for row in table.to_dict("records")] == genomes


def test_a_column_that_only_has_the_name_of_the_gene_is_not_the_gene() -> None:
    space = evo.SearchSpace({"gap": evo.Float(0.0, 1.0)})
    run = run_with(space, [{"gap": 0.25}])
    [row] = comparison_table([run]).to_dict("records")
    assert space.decode(row) == {"gap": 0.25}


@pytest.mark.parametrize(
    "choices",
    [
        *([1, "1.0"], ["0.50", 0.5], [True, "true"], [7, "007"], [2**53 + 1, 2.0**53]),
        *(["-1", "'-1"], ["a\rb", "a b"]),
    ],
)
def test_choices_that_no_csv_file_tells_apart_are_refused(choices: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"Categorical\.choices: must all differ"):
        evo.Categorical(choices)


_VALUES = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["1", "0.5", "true", "1,2", "64,", '"a"', "1_0", "nan", "inf", "-1", '"', "１"]),
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(1, 99), max_size=4).map(tuple),
    st.recursive(
        st.none() | st.integers() | st.text('aé"\\,', max_size=3), lambda inner: st.lists(inner, max_size=2).map(tuple)
    ),
    st.sampled_from(["null", "[]", "[1, 2]", "[1", "None", (1.0, True), ("a", (None,))]),
)


@given(_VALUES)
def test_what_a_command_types_is_read_as_the_same_value_of_the_same_type(value: Any) -> None:
    read = read_typed(typed(value))
    assert alike(read, value)
    assert genome_key({"x": read}) == genome_key({"x": value})


def test_what_nullable_types_of_pandas_leave_empty_is_empty() -> None:
    space = evo.SearchSpace({"g": evo.Categorical(["a", "None"]), "h": evo.Float(0, 1, when={"g": "a"})})
    assert space.decode({"g": "None", "h": pd.NA}) == {"g": "None"}
    assert space.decode({"g": pd.NA, "h": pd.NA}) == {"g": "None"}  # which pandas reads as empty
    with pytest.raises(ConfigurationError, match="h: the cell is empty"):
        space.decode({"g": "a", "h": pd.NA})


def test_none_and_tuples_are_values_in_a_table_and_have_a_text_in_its_file() -> None:
    genes: dict[str, Any] = {
        "use": evo.Boolean(),
        "mixer": evo.Categorical([None, "mean"], when={"use": True}),
        "kernel": evo.Categorical([(3, 3), (5, (1, None))]),
        "layers": evo.Layers(depth=(0, 2), width=(1, 9)),
    }
    space = evo.SearchSpace(genes)
    run = run_with(
        space,
        [
            {"use": True, "mixer": None, "kernel": (3, 3), "layers": ()},
            {"use": True, "mixer": "mean", "kernel": (5, (1, None)), "layers": (4,)},
            {"use": False, "kernel": (3, 3), "layers": (4, 5)},
        ],
    )
    assert run.table["mixer"].tolist()[:2] == [None, "mean"]
    assert math.isnan(run.table["mixer"].tolist()[2])
    assert run.table["kernel"].tolist() == [(3, 3), (5, (1, None)), (3, 3)]
    rows = list(csv.DictReader(io.StringIO(csv_of(run))))
    assert [row["mixer"] for row in rows] == ["null", "mean", ""]
    assert [row["kernel"] for row in rows] == ["[3, 3]", "[5, [1, null]]", "[3, 3]"]
    assert [row["layers"] for row in rows] == ["[]", "4", "4,5"]
    mixer, kernel, depth, units = features_of(space, run.table)[1:]
    assert (mixer.categories, list(mixer.values[:2])) == (("null", "mean"), [0, 1])
    assert math.isnan(mixer.values[2])
    assert kernel.categories == ("[3, 3]", "[5, [1, null]]")
    assert (list(depth.values), list(units.values)) == ([0, 1, 2], [0, 4, 9])
