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
    keep_speed,
    known_speed,
    speed_name,
    speed_name_of,
)
from evo.models import MODELS
from evo.space.training_settings import TrainingSettings
from tests.test_run import make_settings

SHAPE, CLASSES, IMAGES, HELD_OUT = (1, 8, 8), 10, 1350, 150
NAME = speed_name("mlp", (1, 8, 8), "some processor", "fp32", "eager")
RATES = guessed_rates("mlp")
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


def model() -> CostModel:
    return CostModel(count, GUESSED_RATES["mlp"])


def exact(config: Mapping[str, Any], rates: Sequence[float]) -> float:
    return sum(amount * rate for amount, rate in zip(count(config).amounts, rates, strict=True))


def guessed(config: Mapping[str, Any]) -> float:
    return exact(config, GUESSED_RATES["mlp"])


def taught(factor: float, trainings: int = 60) -> CostModel:
    found = model()
    for config in configs(trainings):
        found.learn(config, factor * guessed(config))
    return found


@pytest.mark.parametrize("factor", [1 / 30, 0.4, 1.0, 3.0, 30.0])
def test_the_speed_of_a_machine_is_learned(factor: float) -> None:
    found = taught(factor, trainings=5)
    for config in configs(40, seed=1):
        assert found.seconds(config) == pytest.approx(factor * guessed(config))


def test_a_machine_whose_rates_compare_otherwise_is_right_on_average_and_in_order() -> None:
    true = [rate * factor for rate, factor in zip(GUESSED_RATES["mlp"], (0.5, 1.0, 4.0, 1.0), strict=True)]
    found = model()
    for config in configs(60):
        found.learn(config, exact(config, true))
    others = configs(60, seed=1)
    predicted, taken = [found.seconds(config) for config in others], [exact(config, true) for config in others]
    assert sum(predicted) == pytest.approx(sum(taken), rel=0.15)
    logs = ([math.log(seconds) for seconds in times] for times in (predicted, taken))
    assert statistics.correlation(*logs) > 0.9


def test_before_any_training_it_guesses() -> None:
    found = model()
    assert found.trainings == 0
    assert GUESSED_RATES["mlp"] == guessed_rates("mlp")
    for config in configs(5):
        assert found.seconds(config) == pytest.approx(guessed(config))


def test_bfloat16_has_rates_of_its_own() -> None:
    """Products are many times as fast there, the rest is not."""
    for name in ("mlp", "cnn"):
        products, *rest = (b / a for a, b in zip(guessed_rates(name), guessed_rates(name, "bf16"), strict=True))
        assert products < 0.1
        assert min(rest) >= 1
    assert guessed_rates("numpy_mlp", "bf16") == guessed_rates("numpy_mlp")


def test_a_shipped_model_without_rates_of_its_own_has_those_of_an_mlp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "new", MODELS["mlp"])
    assert guessed_rates("new") == guessed_rates("mlp")


def test_predictions_are_always_positive_and_finite() -> None:
    rng = random.Random(3)
    for attempt in range(20):
        found = model()
        for config in configs(rng.randint(1, 30), seed=attempt):
            found.learn(config, 10 ** rng.uniform(-4, 4))
        assert all(0 < found.seconds(config) < math.inf for config in configs(10, seed=99))


def test_one_training_on_a_machine_that_slept_does_not_count_for_all() -> None:
    found = taught(2.0)
    found.learn(configs(1)[0], 36_000.0)
    config = configs(1, seed=5)[0]
    assert found.seconds(config) == pytest.approx(2.0 * guessed(config), rel=0.5)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e12, math.inf, math.nan])
def test_a_training_that_took_no_time_or_for_ever_teaches_nothing(seconds: float) -> None:
    found = model()
    found.learn(configs(1)[0], seconds)
    assert found.trainings == 0
    assert found.factor == 1.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0, 3600.0])
def test_calls_of_an_objective_are_predicted_by_their_mean(scale: float) -> None:
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


def test_a_user_defined_model_is_counted_by_its_images() -> None:
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


def test_a_finalist_costs_the_measurement_of_all_training_images(cache: Path) -> None:
    config = configs(1)[0]
    found = cost_model(of_a_network(train_images=100), TrainingSettings())
    assert found.seconds(config, "finalist") == pytest.approx(exact(config, GUESSED_RATES["mlp"]))
    assert found.seconds(config) < found.seconds(config, "finalist")
    found.learn(config, 2 * found.seconds(config, "finalist"), "finalist")
    assert found.factor == pytest.approx(2.0)


def test_an_objective_costs_the_mean_of_its_calls(cache: Path) -> None:
    found = cost_model(make_settings(), TrainingSettings())
    for seconds in (0.2, 0.4):
        found.learn({"anything": 1}, seconds)
    assert found.seconds({"else": 2}) == pytest.approx(0.3, rel=0.01)
    assert found.memory({}) == 0


def test_a_speed_that_is_kept_is_known_again_and_used_by_the_next_run(cache: Path) -> None:
    assert known_speed(NAME, RATES) == (1.0, 0)
    keep_speed(of_a_network(), taught(2.0))
    assert known_speed(NAME, RATES) == (pytest.approx(2.0), 60)
    assert known_speed(speed_name("mlp", (1, 8, 8), "another", "fp32", "eager"), RATES) == (1.0, 0)
    settings = of_a_network()
    assert speed_name_of(settings) == NAME
    assert cost_model(settings, TrainingSettings()).factor == pytest.approx(2.0)
    other = speed_name("cnn", (1, 8, 8), "some processor", "bf16", "eager")
    keep_speed(of_a_network(model="cnn", precision="bf16"), taught(1.0, 3))
    assert known_speed(NAME, RATES)[1] == 60
    assert known_speed(other, guessed_rates("cnn", "bf16"))[1] == 3


def test_a_model_that_learned_nothing_leaves_the_cache_alone(cache: Path) -> None:
    keep_speed(of_a_network(), model())
    assert not cache.exists()


def test_only_a_shipped_model_leaves_its_speed(cache: Path) -> None:
    for settings in (of_a_network(model="mine:build"), make_settings()):
        keep_speed(settings, taught(1.0, 3))
    assert not cache.exists()


def test_a_known_speed_is_the_start_and_new_trainings_soon_count_more(cache: Path) -> None:
    cache.write_text(json.dumps({NAME: {"factor": 4.0, "trainings": 100, "rates": RATES}}))
    found = cost_model(of_a_network(), TrainingSettings())
    assert (found.factor, found.trainings, found.known_from) == (4.0, 0, 100)
    factors = []
    for config in configs(60):
        found.learn(config, guessed(config))
        factors.append(found.factor)
    assert 3.0 < factors[0] < 4.0, "a single training does not outweigh many"
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1.0, rel=0.5)


GOOD = {"factor": 2.0, "trainings": 7, "rates": RATES}
UNUSABLE: dict[str, str] = {
    "empty": "",
    "not JSON": "{",
    "binary": "\x00\x01",
    "a list": "[1, 2]",
    "null": "null",
    "lists in lists": "[" * 100_000,
    "an entry that is a list": json.dumps({NAME: [1]}),
    "an entry that is null": json.dumps({NAME: None}),
    "a factor of other rates": json.dumps({NAME: GOOD | {"rates": [1e-9, 1e-9, 1e-6, 1e-9]}}),
    "a factor of unknown rates": json.dumps({NAME: {"factor": 2.0, "trainings": 7}}),
    "no count": json.dumps({NAME: {"factor": 2.0, "rates": RATES}}),
    **{f"factor {value!r}": json.dumps({NAME: GOOD | {"factor": value}}) for value in (0, -1, math.nan, math.inf, "a")},
    "an endless factor": json.dumps({NAME: GOOD | {"factor": 10**400}}),
    **{f"count {value!r}": json.dumps({NAME: GOOD | {"trainings": value}}) for value in (-5, 0, math.nan, math.inf)},
}


def test_the_entry_that_the_unusable_ones_are_made_from_is_read(cache: Path) -> None:
    cache.write_text(json.dumps({NAME: GOOD}))
    assert known_speed(NAME, RATES) == (2.0, 7)


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_is_ignored_and_a_speed_can_be_kept_in_it(text: str, cache: Path) -> None:
    cache.write_text(text)
    assert known_speed(NAME, RATES) == (1.0, 0)
    assert cost_model(of_a_network(), TrainingSettings()).factor == 1.0
    keep_speed(of_a_network(), taught(1.0, 3))
    assert known_speed(NAME, RATES)[1] == 3


def test_a_file_that_is_not_text_is_ignored(cache: Path) -> None:
    cache.write_bytes(bytes(range(256)))
    assert known_speed(NAME, RATES) == (1.0, 0)
    keep_speed(of_a_network(), taught(1.0, 3))


def test_a_cache_that_cannot_be_written_or_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EVO_CACHE_DIR", str(tmp_path / "file" / "cache"))
    keep_speed(of_a_network(), taught(1.0, 3))
    assert known_speed(NAME, RATES) == (1.0, 0)
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_full_disk_is_no_error_and_the_old_speed_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_speed(of_a_network(), taught(1.0, 3))

    def fail(*arguments: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("evo.loop.cost.write_json", fail)
    keep_speed(of_a_network(), taught(1.0, 4))
    assert known_speed(NAME, RATES)[1] == 3
