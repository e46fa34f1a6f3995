"""Numbers from outside are taken exactly or refused by name, and nothing that is computed from them overflows."""

from __future__ import annotations

import math
import random
import statistics
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.errors import ConfigurationError
from evo.names import STRATEGIES
from evo.numbers import LARGEST_WHOLE, deviation, mean, number_text, positive_number, whole_number
from evo.reports.style import save_figure

finite = some.floats(allow_nan=False, allow_infinity=False)
M = sys.float_info.max
HOUR = np.timedelta64(1, "h")


@given(some.lists(finite, min_size=1, max_size=20))
def test_a_mean_lies_among_its_values_and_a_deviation_is_a_number(values: list[float]) -> None:
    found = mean(values)
    assert min(values) <= found <= max(values) or found == pytest.approx(values[0], rel=1e-15)  # but for rounding
    assert 0 <= deviation(values) < math.inf
    if len(values) > 1:
        assert 0 <= deviation(values, of_sample=True) < math.inf


@given(some.lists(some.floats(-1e100, 1e100), min_size=2, max_size=20))
def test_where_nothing_overflows_they_are_the_usual_ones(values: list[float]) -> None:
    assert mean(values) == statistics.fmean(values)
    assert deviation(values) == statistics.pstdev(values)
    assert deviation(values, of_sample=True) == statistics.stdev(values)


def test_values_at_the_end_of_the_floats() -> None:
    assert mean([M, M, M]) == M
    assert mean([M, -M]) == 0
    assert deviation([M, -M], of_sample=True) == M
    with pytest.raises(ValueError, match="no values"):
        mean([])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.535, "0.5350"),
        (1.0, "1.0000"),
        (-0.0, "0.0000"),
        (-1.2e-5, "-1.2e-05"),
        (-3.14e200, "-3.14e+200"),
        (M, "1.798e+308"),
        (12345.678, "12345.6780"),
        (math.nan, "–"),
        (-math.inf, "–"),
    ],
)
def test_a_number_is_shown_with_what_it_says(value: float, text: str) -> None:
    assert number_text(value) == text


@given(some.floats(-1e308, 1e308))
def test_a_number_takes_little_room_and_keeps_its_sign_and_size(value: float) -> None:
    text = number_text(value)
    assert len(text) <= 11
    assert float(text) == pytest.approx(value, rel=0.05, abs=1e-320)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_kind_are_taken(value: Any) -> None:
    assert type(whole_number("budget", value)) is int
    assert whole_number("budget", value) == 3


@pytest.mark.parametrize("value", [2.5, 2.0, True, np.bool_(True), np.float64(2), "2", None, [2], Decimal(2), -1, HOUR])
def test_what_is_not_a_whole_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^budget: must be a whole number of at least 0, got"):
        whole_number("budget", value)


@pytest.mark.parametrize("value", [2**53, 10**5000], ids=["just", "by far"])
def test_a_whole_number_that_a_reader_would_round_is_refused(value: int) -> None:
    assert whole_number("budget", LARGEST_WHOLE) == 2**53 - 1
    with pytest.raises(ConfigurationError, match=r"^budget: must be at most 9007199254740991, got"):
        whole_number("budget", value)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), Fraction(2)])
def test_numbers_of_any_kind_are_taken(value: Any) -> None:
    assert type(positive_number("timeout", value)) is float
    assert positive_number("timeout", value) == 2


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, 10**400, True, "2", 2j, None, HOUR])
def test_what_is_not_a_number_above_zero_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout: must be a number above 0, got"):
        positive_number("timeout", value)


EXTREMES = (M, -M, 1.8e307, -1e308, 1e200, 5e-324, -1e-310, 0.0, -0.0, 1.0, 1e16, 1e-9)
GENES: dict[str, Any] = {"x": evo.Float(-1, 1), "steps": evo.Integer(1, 100), "c": evo.Categorical(["a", "b"])}


def extreme(config: dict[str, Any], seed: int) -> float:
    return random.Random(f"{sorted(config.items())} {seed}").choice(EXTREMES)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if not name.startswith("report2019")])
@pytest.mark.usefixtures("undrawn")
def test_a_search_takes_any_finite_fitness_and_its_run_can_be_continued_and_shown(
    strategy: str, tmp_path: Path, cli: CliRunner
) -> None:
    space = evo.SearchSpace({name: gene for name, gene in GENES.items() if strategy != "cma" or name != "c"})
    path = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = {"objectives": {"fitness": "maximise", "seconds": "minimise"}} if strategy == "pareto" else {}
        evo.search(space, extreme, strategy=strategy, budget=24, seed=3, output=path, **both)
        run = evo.resume(path, extreme, budget=40)
    assert set(run.table["status"]) == {"complete"}
    assert np.isfinite(run.generation_table[["mean", "std", "min", "max"]].to_numpy(dtype=float)).all()
    for command in (["compare", str(path)], ["watch", str(path), "--once"], ["report", str(path)]):
        result = cli.invoke(app, command)
        assert result.exit_code == 0, result.output


def test_figures_of_the_largest_numbers_are_drawn(tmp_path: Path) -> None:
    run = evo.search(evo.SearchSpace(GENES), extreme, strategy="ga", population=8, budget=40, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = run.plot()
        for figure in figures.values():
            figure.savefig(tmp_path / "figure.png")


def test_genes_at_the_ends_of_the_floats_are_drawn_and_weighed(tmp_path: Path) -> None:
    space = evo.SearchSpace(
        {
            "x": evo.Float(0, 8e307),
            "y": evo.Float(1e-300, 1e300, log=True),
            "z": evo.Float(0, 1e-310),
            "n": evo.Integer(-(2**53), 2**53),
        }
    )
    run = evo.search(space, lambda config: math.log(config["y"]) + config["x"] / 1e307, strategy="random", budget=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for figure in run.plot().values():
            save_figure(figure, tmp_path / "figure")


NUMBERS = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.integers(2**52, 2**70),
    some.floats(),
    some.sampled_from([np.int64(3), np.float32(3), np.bool_(True), Decimal(3), "3", 10**400]),
)
TEXTS = some.one_of(some.text(max_size=5), some.sampled_from(["\u202aname", "\x1b[31m", "\x7f", "\ud800"]))


@given(
    some.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("budget", "generations", "population", "finalists", "pending", "seed"), NUMBERS),
            **dict.fromkeys(("time_budget", "timeout", "workers"), NUMBERS),
        },
    ),
    TEXTS,
)
@settings(max_examples=60, deadline=None)
def test_what_a_search_accepts_is_written_so_that_it_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any], name: str
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run"
    given = dict(arguments)
    if isinstance(given.get("workers"), int | np.integer) and given["workers"] > 1:
        given["workers"] = 1  # the others take seconds to start
    ended: list[int] = []

    def objective(config: dict[str, Any]) -> float:
        return float(config["x"])

    def after_three() -> None:
        ended.append(1)
        if len(ended) > 6:
            raise evo.Stop("enough", 75)

    try:
        space = evo.SearchSpace({"x": evo.Float(-1, 1)}, name=name)
        evo.search(space, objective, output=path, stop_check=after_three, **given)
    except ConfigurationError:
        assert not path.exists()
        return
    except evo.Stop:
        pass
    run = evo.load(path)
    assert run.settings == evo.load(path).settings
    assert evo.resume(path, objective, budget=max(8, len(run.proposals)), timeout=None).trainings >= run.trainings
