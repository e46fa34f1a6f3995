"""An objective is called as it was written, and whatever it returns or raises becomes an evaluation."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import evo
from evo.evaluation import Evaluation
from evo.evaluators import ObjectiveSetup, Task, takes_seed
from evo.evaluators.base import StopRequest
from evo.plain_text import is_plain

CONFIG = {"x": 2.0, "layers": (3, 4)}


def evaluate(objective: Callable[..., Any]) -> Evaluation:
    function, _ = ObjectiveSetup(objective).build(StopRequest())
    [evaluation] = function([Task(4, 101, 77, dict(CONFIG), phase="finalist")])
    return evaluation


def config_only(config: Any) -> float:
    return config["x"]  # type: ignore[no-any-return]


def with_seed(config: Any, seed: int) -> float:
    return seed


def with_keyword_seed(config: Any, *, seed: int) -> float:
    return seed


def with_default_seed(config: Any, seed: int = 1) -> float:
    return seed


def with_another_name(config: Any, draw: int) -> float:
    return draw


def with_other_defaults(config: Any, scale: float = 3.0) -> float:
    return scale


def with_positions_only(config: Any, seed: int, /) -> float:
    return seed


def with_a_default_at_a_position(config: Any, seed: int = 1, /) -> float:
    return seed


def with_other_names_at_positions(config: Any, draw: int, /) -> float:
    return draw


def with_more_positions(config: Any, *seed: int) -> float:
    return len(seed)


def with_more_names(config: Any, **seed: int) -> float:
    return len(seed)


class Instance:
    def __call__(self, config: Any, seed: int) -> float:
        return seed


@pytest.mark.parametrize(
    ("objective", "seeded", "fitness"),
    [
        (config_only, False, 2.0),
        (with_seed, True, 77.0),
        (with_keyword_seed, True, 77.0),
        (with_default_seed, True, 77.0),
        (with_another_name, True, 77.0),
        (with_other_defaults, False, 3.0),
        (Instance(), True, 77.0),
        (with_positions_only, True, 77.0),
        (with_a_default_at_a_position, True, 77.0),
        (with_other_names_at_positions, True, 77.0),
        (with_more_positions, False, 0.0),
        (with_more_names, False, 0.0),
        (partial(with_positions_only), True, 77.0),
        (partial(with_other_defaults, scale=4.0), False, 4.0),
    ],
)
def test_an_objective_is_called_as_it_was_written(objective: Callable[..., Any], seeded: bool, fitness: float) -> None:
    assert takes_seed(objective) is seeded
    evaluation = evaluate(objective)
    assert (evaluation.status, evaluation.fitness, evaluation.error) == ("complete", fitness, "")


def test_the_task_comes_back_with_the_result() -> None:
    evaluation = evaluate(config_only)
    assert (evaluation.individual, evaluation.replicate, evaluation.seed) == (4, 101, 77)
    assert evaluation.phase == "finalist"
    assert evaluation.started > 0
    assert evaluation.seconds >= 0


NUMBERS = [3, 0.5, np.float32(0.5), np.int64(3), np.array(0.5), np.array(3), np.longdouble(0.5)]
NUMBERS += [Fraction(1, 2), Decimal("0.1"), np.array(Fraction(1, 2), dtype=object)]
NUMBERS += [torch.tensor(0.5, requires_grad=True), torch.tensor(3), torch.tensor(0.1, dtype=torch.float64)]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.filterwarnings("error")
def test_every_real_number_is_a_fitness(value: Any) -> None:
    fitness = evaluate(lambda config: value).fitness
    assert fitness == float(value.detach() if isinstance(value, torch.Tensor) else value)
    assert type(fitness) is float


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0.9", "'0.9', expected a number"),
        (None, "None, expected a number"),
        (True, "True, expected a number"),
        (math.nan, "nan, expected a finite number"),
        (math.inf, "inf, expected a finite number"),
        (-math.inf, "-inf, expected a finite number"),
        (10**400, "OverflowError"),
        ([0.9], "[0.9], expected a number"),
        (np.array([0.9]), "array([0.9]) of the shape (1,), expected one number"),
        (torch.zeros(2, 1), "of the shape (2, 1), expected one number"),
        (torch.tensor(True), "tensor(True), expected a number"),
        (np.bool_(True), "expected a number"),
        (torch.tensor(math.nan), "nan, expected a finite number"),
        (torch.tensor(1j), "expected a number"),
        (np.ma.masked, "masked, expected a number"),
        (np.timedelta64(5, "s"), "expected a number"),
        (np.array("0.9"), "expected a number"),
        (Decimal("NaN"), "nan, expected a finite number"),
        (Decimal("1e400"), "inf, expected a finite number"),
        (Fraction(10**400), "OverflowError"),
        (1j, "1j, expected a number"),
    ],
)
def test_what_is_no_finite_number_has_failed_with_the_reason(value: Any, reason: str) -> None:
    evaluation = evaluate(lambda config: value)
    assert (evaluation.status, evaluation.fitness) == ("failed", None)
    assert reason in evaluation.error


def test_an_error_is_a_failed_evaluation_with_the_reason() -> None:
    def objective(config: Any) -> float:
        raise ZeroDivisionError("no data")

    evaluation = evaluate(objective)
    assert (evaluation.status, evaluation.error) == ("failed", "ZeroDivisionError: no data")


class Verbose:
    def __repr__(self) -> str:
        return "many\nlines\udcff"


def test_a_reason_is_one_line_that_can_be_written() -> None:
    def objective(config: Any) -> float:
        raise ZeroDivisionError("no\n\tdata\udcff")

    assert evaluate(objective).error == "ZeroDivisionError: no data?"
    assert evaluate(lambda config: Verbose()).error == "the objective returned many lines?, expected a number"


class Hostile:
    """Does to whoever asks for its text what `answer` does."""

    answer: Callable[[], Any] = staticmethod(lambda: 1 / 0)

    def __str__(self) -> str:
        return self.answer()  # type: ignore[no-any-return]

    __repr__ = __str__


class Text(str):
    """A text whose methods fail."""

    def __format__(self, spec: str) -> str:
        raise ValueError("no format")

    split = __getitem__ = __len__ = __format__  # type: ignore[assignment]


class Nameless(type):
    @property
    def __name__(cls) -> str:
        raise ValueError("no name")


class HostileNumber(Hostile, float):
    def __float__(self) -> float:
        raise OSError(self)


def leave() -> None:
    sys.exit("from within")


def without_end() -> Any:
    return without_end()


ANSWERS: dict[str, Callable[[], Any]] = {
    "an error": lambda: 1 / 0,
    "no text": lambda: None,
    "an exit": leave,
    "recursion": without_end,
    "a text whose methods fail": lambda: Text("hidden"),
    "surrogates": lambda: "a\udcff\x1b[31m\u202ab",
    "a text beyond all bounds": lambda: "long " * 10**6,
    "a text without a blank": lambda: "\n" * 10**6,
}


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda name: name.replace(" ", "-"))
def test_whatever_the_text_of_an_error_or_value_does_there_is_a_reason(answer: str) -> None:
    hostile, value, number = (
        Nameless("Z" * 10_000, bases, {"answer": staticmethod(ANSWERS[answer])})
        for bases in ((Hostile, Exception), (Hostile,), (HostileNumber,))
    )

    def raises(config: Any) -> float:
        raise hostile

    def raises_several(config: Any) -> float:
        raise ExceptionGroup("several", [hostile(), ValueError("one")])

    for objective in (raises, raises_several, lambda config: value(), lambda config: number()):
        evaluation = evaluate(objective)
        assert (evaluation.status, evaluation.fitness) == ("failed", None)
        assert 0 < len(evaluation.error) <= 500
        assert is_plain(evaluation.error)
        assert "\n" not in evaluation.error


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, asyncio.CancelledError, BaseException])
def test_an_objective_that_wants_to_leave_has_failed(kind: type[BaseException]) -> None:
    def objective(config: Any) -> float:
        raise kind("enough")

    evaluation = evaluate(objective)
    assert evaluation.status == "failed"
    assert evaluation.error.startswith(f"{kind.__name__}: enough")


def test_what_a_handler_of_a_signal_raises_ends_the_search() -> None:
    def handle(*_: object) -> None:
        raise SystemExit(3)

    def objective(config: Any) -> float:
        signal.raise_signal(signal.SIGUSR2)
        return 0.0

    before = signal.signal(signal.SIGUSR2, handle)
    try:
        with pytest.raises(SystemExit):
            evaluate(objective)
    finally:
        signal.signal(signal.SIGUSR2, before)


class NamedStrangely:
    def __init__(self, name: Any):
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute != "__qualname__":
            raise AttributeError(attribute)
        return self.name() if callable(self.name) else self.name

    def __call__(self, config: Any) -> float:
        return 1.0


@pytest.mark.parametrize("name", [3, None, "a\x1bb\udcff\u202a", "x" * 10_000, lambda: 1 / 0])
def test_every_objective_has_a_name_that_can_be_recorded(name: Any, tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0, 1)})
    evo.search(space, NamedStrangely(name), strategy="random", budget=1, finalists=0, output=tmp_path / "run")
    recorded = evo.load(tmp_path / "run").settings.objective
    assert recorded
    assert is_plain(recorded)


def test_a_lack_of_memory_is_a_state_of_its_own() -> None:
    def objective(config: Any) -> float:
        raise MemoryError

    assert evaluate(objective).status == "out_of_memory"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), BaseExceptionGroup("of tasks", [KeyboardInterrupt()])])
def test_an_interrupt_is_no_result(interrupt: BaseException) -> None:
    def objective(config: Any) -> float:
        raise interrupt

    with pytest.raises(type(interrupt)):
        evaluate(objective)


def test_an_objective_may_change_its_configuration() -> None:
    task = Task(0, 0, 0, {"x": 2.0})
    function, _ = ObjectiveSetup(lambda config: config.pop("x")).build(StopRequest())
    [evaluation] = function([task])
    assert evaluation.fitness == 2.0
    assert task.config == {"x": 2.0}


def exits(config: Any) -> float:
    sys.exit("from within")


@pytest.mark.parametrize("where", [{}, {"workers": 2}, {"timeout": 60.0}], ids=str)
def test_an_objective_that_exits_ends_neither_the_search_nor_its_worker(where: dict[str, Any]) -> None:
    with pytest.raises(evo.SearchError, match="individual 0: failed: SystemExit: from within"):
        evo.search(evo.SearchSpace({"x": evo.Float(0, 1)}), exits, strategy="random", budget=3, **where)


class GroupThatFails(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> tuple[Exception, ...]:
        raise RuntimeError("no")


class Untouchable(BaseException):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def nested(depth: int = 5000) -> BaseException:
    problem: Exception = ValueError("deep")
    for _ in range(depth):
        problem = ExceptionGroup("g", [problem])
    return problem


@pytest.mark.parametrize(
    "made", [lambda: GroupThatFails("g", [ValueError()]), Untouchable, nested], ids=["group", "untouchable", "nested"]
)
def test_the_code_of_an_exception_is_not_run(made: Callable[[], BaseException]) -> None:
    def raises(config: Any) -> float:
        raise made()

    evaluation = evaluate(raises)
    assert evaluation.status == "failed"
    assert evaluation.error


def test_an_objective_whose_signature_exits_takes_no_seed() -> None:
    class Exits:
        @property
        def __signature__(self) -> Any:
            raise SystemExit(4)

        def __call__(self, config: dict[str, Any]) -> float:
            return 1.0

    assert not takes_seed(Exits())
