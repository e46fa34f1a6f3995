"""Every exception of evo can be sent to another process and copied: type, text and everything else stay the same."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evo
import evo.errors
from evo.errors import ConfigurationError, StorageError
from evo.loop.deadline import Stop
from evo.space.file import space_from_dict
from evo.space.genes.base import GeneError
from evo.space.problems import SpaceError
from evo.trial import Infeasible

PACKAGE = Path(evo.__file__).parent


def exceptions_of(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for sub in kind.__subclasses__():
        yield from exceptions_of(sub)
        if sub.__module__.partition(".")[0] == "evo":
            yield sub


def caught(make: Any) -> BaseException:
    with pytest.raises(ConfigurationError) as error:
        make()
    return error.value


GENE_ERROR = caught(lambda: evo.Float("a", high=0.0, hihg=1))
MADE: dict[type[BaseException], BaseException] = {
    Stop: Stop("the time budget is used up", 75),
    SpaceError: SpaceError("mine", ["genes.x: missing", "model: unknown"]),
    GeneError: GENE_ERROR,
    Infeasible: Infeasible("too large", violation=2.0),
}
OTHERS = [
    *(StorageError("full"), StorageError(28, "No space left on device", "run/journal"), RuntimeError("not ours")),
    caught(lambda: space_from_dict({"genes": {"x": {"type": "float", "low": 1}}}, name="mine")),
]


def every_exception() -> list[type[BaseException]]:
    for module in pkgutil.walk_packages([str(PACKAGE)], "evo."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted(set(exceptions_of(BaseException)), key=lambda kind: kind.__name__)


def check_survives(error: BaseException) -> None:
    error.noted = "by someone"  # type: ignore[attr-defined]
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(same) is type(error)
        assert (str(same), same.args) == (str(error), error.args)
        assert vars(same).keys() == vars(error).keys()
        assert all(str(vars(same)[name]) == str(value) for name, value in vars(error).items())


def test_every_exception_survives_pickle_and_copy() -> None:
    kinds = every_exception()
    assert {Stop, SpaceError, GeneError, StorageError} <= set(kinds)
    for kind in kinds:
        own = "__init__" in vars(kind)
        assert not own or kind in MADE, f"{kind.__name__} takes arguments of its own: make one in MADE"
        check_survives(MADE[kind] if own else kind("what happened"))


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_so_do_those_with_other_arguments(error: BaseException) -> None:
    check_survives(error)
    if isinstance(error, OSError):
        same = pickle.loads(pickle.dumps(error))
        assert (same.errno, same.strerror, same.filename) == (error.errno, error.strerror, error.filename)


def test_a_stop_keeps_its_exit_code_and_a_space_error_its_problems() -> None:
    assert pickle.loads(pickle.dumps(MADE[Stop])).exit_code == 75
    assert pickle.loads(pickle.dumps(MADE[SpaceError])).problems == ["genes.x: missing", "model: unknown"]
    assert pickle.loads(pickle.dumps(GENE_ERROR)).problems("genes.x")[0].startswith("genes.x.low: must be")
