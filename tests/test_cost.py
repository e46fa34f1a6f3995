"""The cost model learns what trainings cost from those that are done, and nothing that lies in the cache harms it."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evo.loop.cost import (
    GUESSED_RATES,
    CostModel,
    Count,
    cost_model,
    counter,
    guessed_rates,
    keep_rates,
    known_rates,
    rates_name,
    rates_name_of,
)
from evo.models import MODELS
from evo.space.settings import TrainingSettings
from tests.test_run import make_settings

SHAPE, CLASSES, IMAGES, HELD_OUT = (1, 8, 8), 10, 1350, 150
NAME = rates_name("mlp", (1, 8, 8), "some processor", "fp32", "eager")
count = counter("mlp", TrainingSettings(), SHAPE, CLASSES, IMAGES, HELD_OUT)


def configs(number: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "hidden_layers": tuple(int(2 ** rng.uniform(3, 10)) for _ in range(rng.randint(1, 3))),
            "batch_size": int(2 ** rng.uniform(4, 9)),
            "steps": 100 * rng.randint(1, 40),
        }
        for _ in range(number)
    ]


def model(rates: Sequence[float] = GUESSED_RATES["mlp"]) -> CostModel:
    return CostModel(count, rates)


def exact(config: Mapping[str, Any], rates: Sequence[float]) -> float:
    return sum(amount * rate for amount, rate in zip(count(config).amounts, rates, strict=True))


def taught(true: Sequence[float], trainings: int = 60) -> CostModel:
    found = model()
    for config in configs(trainings):
        found.learn(config, exact(config, true))
    return found


TRUE = {
    "the guess": (1.0, 1.0, 1.0, 1.0),
    "a faster machine": (0.4, 0.5, 0.3, 0.6),
    "a slower machine": (3.0, 2.0, 4.0, 2.5),
    "one that calls slowly": (0.5, 1.0, 8.0, 1.0),
    "one that calculates alone": (5.0, 0.0, 0.0, 0.0),
}


@pytest.mark.parametrize("factors", TRUE.values(), ids=TRUE)
def test_exact_times_are_predicted_within_5_percent(factors: tuple[float, ...]) -> None:
    true = [rate * factor for rate, factor in zip(GUESSED_RATES["mlp"], factors, strict=True)]
    found = taught(true)
    for config in configs(40, seed=1):
        assert found.seconds(config) == pytest.approx(exact(config, true), rel=0.05)


@pytest.mark.parametrize("factor", [1 / 30, 30.0])
def test_a_machine_of_quite_another_speed_is_learned_too(factor: float) -> None:
    true = [rate * factor for rate in GUESSED_RATES["mlp"]]
    found = taught(true, trainings=20)
    for config in configs(40, seed=1):
        assert found.seconds(config) == pytest.approx(exact(config, true), rel=0.05)


def test_before_any_training_it_guesses() -> None:
    found = model()
    assert found.trainings == 0
    assert found.rates == GUESSED_RATES["mlp"] == guessed_rates("mlp")
    for config in configs(5):
        assert found.seconds(config) == pytest.approx(exact(config, GUESSED_RATES["mlp"]))


def test_rates_are_never_negative_and_predictions_always_positive() -> None:
    rng = random.Random(3)
    for attempt in range(20):
        found = model()
        for config in configs(rng.randint(1, 30), seed=attempt):
            found.learn(config, 10 ** rng.uniform(-4, 4))
        assert all(rate >= 0 for rate in found.rates)
        assert all(math.isfinite(rate) for rate in found.rates)
        assert all(found.seconds(config) > 0 for config in configs(10, seed=99))


def test_a_contradiction_that_wants_a_negative_rate_gets_zero() -> None:
    small, large = {"hidden_layers": (8,), "batch_size": 16, "steps": 100}, {"hidden_layers": (900,) * 3}
    found = model()
    for _ in range(50):
        found.learn(small, 10.0)
        found.learn(small | large, 0.01)
    assert min(found.rates) == 0.0
    assert found.seconds(small) > 0


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e12, math.inf, math.nan])
def test_a_training_that_took_no_time_or_for_ever_teaches_nothing(seconds: float) -> None:
    found = model()
    found.learn(configs(1)[0], seconds)
    assert found.trainings == 0
    assert found.rates == GUESSED_RATES["mlp"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0, 3600.0])
def test_one_rate_alone_is_the_mean(scale: float) -> None:
    found = CostModel(lambda config: Count((1.0,)), (1.0,))
    times = [scale * random.Random(number).uniform(0.5, 1.5) for number in range(40)]
    for seconds in times:
        found.learn({}, seconds)
    assert found.seconds({}) == pytest.approx(statistics.fmean(times), rel=0.05)


def test_what_a_machine_did_long_ago_is_forgotten() -> None:
    found = model()
    for config in configs(300):
        found.learn(config, exact(config, GUESSED_RATES["mlp"]))
    for config in configs(300, seed=2):
        found.learn(config, 3 * exact(config, GUESSED_RATES["mlp"]))
    config = configs(1, seed=5)[0]
    assert found.trainings == 600
    assert found.seconds(config) == pytest.approx(3 * exact(config, GUESSED_RATES["mlp"]), rel=0.01)


def test_a_training_costs_more_with_more_of_anything() -> None:
    plain = {"hidden_layers": (32,), "batch_size": 64, "steps": 1000}
    more = ({"steps": 2000}, {"batch_size": 128}, {"hidden_layers": (64,)}, {"hidden_layers": (32, 32)})
    for change in more:
        assert model().seconds(plain | change) > model().seconds(plain), change
    assert model().seconds(plain | {"batch_size": 5000}) == model().seconds(plain | {"batch_size": IMAGES})


def test_memory_grows_with_parameters_and_batch() -> None:
    plain = {"hidden_layers": (32,), "batch_size": 64, "steps": 1000}
    found = model()
    work = MODELS["mlp"].workload(plain, SHAPE, CLASSES)
    assert found.memory(plain) > 4 * (4 * work.parameters + 64 * work.activations)
    assert found.memory(plain | {"hidden_layers": (64,)}) > found.memory(plain)
    assert found.memory(plain | {"batch_size": 128}) > found.memory(plain)
    assert found.memory(plain | {"steps": 2000}) == found.memory(plain)


def test_settings_of_the_space_hold_where_no_gene_does() -> None:
    fixed = counter("mlp", TrainingSettings(batch_size=64, steps=200), SHAPE, CLASSES, IMAGES, HELD_OUT)
    assert fixed({"hidden_layers": (8,)}) == count({"hidden_layers": (8,), "batch_size": 64, "steps": 200})


def test_a_model_of_the_users_own_is_counted_by_its_images() -> None:
    own = counter("mine:build", TrainingSettings(), SHAPE, CLASSES, IMAGES, HELD_OUT)
    rates = guessed_rates("mine:build")
    assert len(own({"batch_size": 16, "steps": 100}).amounts) == len(rates)
    found = CostModel(own, rates)
    assert 0 < found.seconds({"batch_size": 16, "steps": 100}) < found.seconds({"batch_size": 32, "steps": 100})
    assert found.memory({"batch_size": 16, "steps": 100}) == 0


def dataset() -> dict[str, Any]:
    return {"name": "digits", "image_shape": [1, 8, 8], "classes": [*"0123456789"], "train_count": 1500} | {
        "test_count": 297
    }


def of_a_network(**changes: Any) -> Any:
    values = {"objective": None, "model": "mlp", "dataset": dataset(), "device_name": "some processor"}
    return make_settings(**values | {"precision": "fp32", "engine": "eager"} | changes)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVO_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / "calibration.json"


def test_a_run_counts_its_own_parts(cache: Path) -> None:
    config = configs(1)[0]
    validation = cost_model(of_a_network(), TrainingSettings())
    assert validation.seconds(config) == pytest.approx(exact(config, GUESSED_RATES["mlp"]))
    on_test = counter("mlp", TrainingSettings(), SHAPE, CLASSES, 1500, 297)
    found = cost_model(of_a_network(fitness="test"), TrainingSettings())
    assert found.seconds(config) == pytest.approx(CostModel(on_test, GUESSED_RATES["mlp"]).seconds(config))


def test_an_objective_costs_the_mean_of_its_calls(cache: Path) -> None:
    found = cost_model(make_settings(), TrainingSettings())
    for seconds in (0.2, 0.4):
        found.learn({"anything": 1}, seconds)
    assert found.seconds({"else": 2}) == pytest.approx(0.3, rel=0.01)
    assert found.memory({}) == 0


def test_rates_that_are_kept_are_known_again_and_used_by_the_next_run(cache: Path) -> None:
    assert known_rates(NAME) == (None, 0)
    found = taught([2 * rate for rate in GUESSED_RATES["mlp"]])
    keep_rates(of_a_network(), found)
    rates, trainings = known_rates(NAME)
    assert rates == pytest.approx(found.rates)
    assert trainings == 60
    assert known_rates(rates_name("mlp", (1, 8, 8), "another", "fp32", "eager")) == (None, 0)
    settings = of_a_network()
    assert rates_name_of(settings) == NAME
    assert cost_model(settings, TrainingSettings()).rates == pytest.approx(found.rates)
    other = rates_name("cnn", (1, 8, 8), "some processor", "bf16", "eager")
    keep_rates(of_a_network(model="cnn", precision="bf16"), taught(GUESSED_RATES["mlp"], 3))
    assert known_rates(NAME)[0] == pytest.approx(found.rates)
    assert known_rates(other)[1] == 3


def test_a_model_that_learned_nothing_leaves_the_cache_alone(cache: Path) -> None:
    keep_rates(of_a_network(), model())
    assert not cache.exists()


def test_only_a_shipped_model_leaves_rates(cache: Path) -> None:
    for settings in (of_a_network(model="mine:build"), make_settings()):
        keep_rates(settings, taught(GUESSED_RATES["mlp"], 3))
    assert not cache.exists()


def test_known_rates_are_the_start_and_a_zero_among_them_does_not_last(cache: Path) -> None:
    known = (0.0, *GUESSED_RATES["mlp"][1:])
    cache.write_text(json.dumps({NAME: {"rates": known, "trainings": 7}}))
    found = cost_model(of_a_network(), TrainingSettings())
    assert found.rates == pytest.approx(known)
    assert found.trainings == 0
    true = [5 * rate for rate in GUESSED_RATES["mlp"]]
    for config in configs(60):
        found.learn(config, exact(config, true))
    for config in configs(20, seed=1):
        assert found.seconds(config) == pytest.approx(exact(config, true), rel=0.15)


GOOD = {"rates": [1e-9, 1e-9, 1e-6, 1e-9], "trainings": 7}
DAMAGED: dict[str, str] = {
    "empty": "",
    "no JSON": "{",
    "binary": "\x00\x01",
    "a list": "[1, 2]",
    "a number": "3",
    "null": "null",
    "fewer trainings than none": json.dumps({NAME: GOOD | {"trainings": -5}}),
    "an entry that is a list": json.dumps({NAME: [1]}),
    "an entry that is null": json.dumps({NAME: None}),
    "no rates": json.dumps({NAME: {"trainings": 7}}),
    "no count": json.dumps({NAME: {"rates": GOOD["rates"]}}),
    "too few rates": json.dumps({NAME: GOOD | {"rates": [1.0]}}),
    "too many rates": json.dumps({NAME: GOOD | {"rates": [1.0] * 5}}),
    "a negative rate": json.dumps({NAME: GOOD | {"rates": [1.0, 1.0, -1.0, 1.0]}}),
    "a rate that is no number": json.dumps({NAME: GOOD | {"rates": [1.0, math.nan, 1.0, 1.0]}}),
    "an infinite rate": json.dumps({NAME: GOOD | {"rates": [1.0, math.inf, 1.0, 1.0]}}),
    "an endless rate": json.dumps({NAME: GOOD | {"rates": [1, 10**400, 1, 1]}}),
    "rates that are text": json.dumps({NAME: GOOD | {"rates": ["a", "b", "c", "d"]}}),
    "rates that are null": json.dumps({NAME: GOOD | {"rates": [None] * 4}}),
    "rates that are all zero": json.dumps({NAME: GOOD | {"rates": [0.0] * 4}}),
    "a count that is no number": json.dumps({NAME: GOOD | {"trainings": math.nan}}),
    "an infinite count": json.dumps({NAME: GOOD | {"trainings": math.inf}}),
    "lists in lists": "[" * 100_000,
}


def test_the_file_that_the_damaged_ones_are_made_from_is_read(cache: Path) -> None:
    cache.write_text(json.dumps({NAME: GOOD}))
    assert known_rates(NAME) == (tuple(GOOD["rates"]), 7)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_ignored(text: str, cache: Path) -> None:
    cache.write_text(text)
    assert known_rates(NAME) == (None, 0)
    assert cost_model(of_a_network(), TrainingSettings()).rates == GUESSED_RATES["mlp"]


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_keeping_rates_beside_damaged_ones_is_no_error(text: str, cache: Path) -> None:
    cache.write_text(text)
    keep_rates(of_a_network(), taught(GUESSED_RATES["mlp"], 3))


@pytest.mark.parametrize("name", ["no JSON", "a list", "binary"])
def test_a_file_that_is_nothing_at_all_is_replaced(name: str, cache: Path) -> None:
    cache.write_text(DAMAGED[name])
    keep_rates(of_a_network(), taught(GUESSED_RATES["mlp"], 3))
    assert known_rates(NAME)[1] == 3


def test_a_file_that_is_no_text_is_ignored(cache: Path) -> None:
    cache.write_bytes(bytes(range(256)))
    assert known_rates(NAME) == (None, 0)
    keep_rates(of_a_network(), taught(GUESSED_RATES["mlp"], 3))


def test_a_cache_that_cannot_be_written_or_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EVO_CACHE_DIR", str(tmp_path / "file" / "cache"))
    keep_rates(of_a_network(), taught(GUESSED_RATES["mlp"], 3))
    assert known_rates(NAME) == (None, 0)
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_full_disk_is_no_error_and_the_old_rates_stay(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_rates(of_a_network(), taught(GUESSED_RATES["mlp"], 3))

    def fail(*arguments: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("evo.loop.cost.write_json", fail)
    keep_rates(of_a_network(), taught(GUESSED_RATES["mlp"], 4))
    assert known_rates(NAME)[1] == 3
