"""evo: evolve the hyperparameters and layers of neural networks.

Names are imported on first use, so that `import evo` loads neither torch nor pandas nor matplotlib.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

# In a checkout, models/ and search_spaces/ lie beside this package; in a wheel they lie inside it. Without this line a
# checkout that hides an installed wheel (Python puts the current folder first) would find no evo.models.
if (_checkout := Path(__file__).resolve().parent.parent).joinpath("models", "mlp.py").is_file():
    __path__.append(str(_checkout))

if TYPE_CHECKING:
    from evo.api import Stop, finish, load, make_strategy, resume, search, strategy_names
    from evo.errors import ConfigurationError, EvoError, RunError, SearchError
    from evo.evaluation import Evaluation
    from evo.individual import Individual
    from evo.loop.export import export
    from evo.record.run import Run
    from evo.space import SearchSpace
    from evo.space.file import load_space
    from evo.space.genes import Boolean, Categorical, Float, Integer, Layers
    from evo.training.saved_model import load_model
    from evo.trial import Infeasible, Pause, Trial

_HOMES = {
    name: module
    for module, names in {
        "evo.api": ("search", "resume", "finish", "load", "make_strategy", "strategy_names", "Stop"),
        "evo.errors": ("EvoError", "ConfigurationError", "RunError", "SearchError"),
        "evo.evaluation": ("Evaluation",),
        "evo.individual": ("Individual",),
        "evo.loop.export": ("export",),
        "evo.record.run": ("Run",),
        "evo.space": ("SearchSpace",),
        "evo.space.file": ("load_space",),
        "evo.space.genes": ("Float", "Integer", "Categorical", "Boolean", "Layers"),
        "evo.training.saved_model": ("load_model",),
        "evo.trial": ("Trial", "Pause", "Infeasible"),
    }.items()
    for name in names
}

__all__ = ["search", "resume", "finish", "load", "load_model", "make_strategy", "strategy_names"]
__all__ += ["export", "SearchSpace", "load_space", "Float", "Integer", "Categorical", "Boolean", "Layers"]
__all__ += [
    "Trial",
    "Pause",
    "Infeasible",
    "Individual",
    "Evaluation",
    "Run",
    "Stop",
    "EvoError",
    "ConfigurationError",
    "RunError",
    "SearchError",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'evo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
