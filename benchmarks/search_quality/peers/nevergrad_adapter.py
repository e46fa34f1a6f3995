"""Nevergrad's NGOpt behind the protocol: the true budget, log scales, one worker."""

from __future__ import annotations

import warnings
from typing import Any

import nevergrad as ng
import protocol

warnings.filterwarnings("ignore")


def make_parameter(parameter: dict[str, Any], initial: Any) -> ng.p.Parameter:
    """Return Nevergrad's counterpart of a parameter, beginning at the anchor's value."""
    if parameter["kind"] == "categorical":
        return ng.p.Choice(parameter["choices"])
    low, high = parameter["low"], parameter["high"]
    if low == high:
        return ng.p.Constant(low)
    scalar = (
        ng.p.Log(init=initial, lower=low, upper=high)
        if parameter["log"]
        else ng.p.Scalar(init=initial, lower=low, upper=high)
    )
    return scalar.set_integer_casting() if parameter["kind"] == "integer" else scalar


class NevergradSearch:
    """An optimiser that is asked and told; it minimises."""

    def __init__(self, start: dict[str, Any]):
        anchor = start["anchor"]
        parametrization = ng.p.Dict(
            **{entry["name"]: make_parameter(entry, anchor[entry["name"]]) for entry in start["parameters"]}
        )
        parametrization.random_state.seed(start["seed"])
        self.optimiser = ng.optimizers.NGOpt(parametrization=parametrization, budget=start["budget"], num_workers=1)
        self.optimiser.suggest(anchor)
        self.candidate: Any = None

    def ask(self) -> protocol.Config:
        self.candidate = self.optimiser.ask()
        return dict(self.candidate.value)

    def tell(self, value: float) -> None:
        self.optimiser.tell(self.candidate, -value)


if __name__ == "__main__":
    protocol.serve(NevergradSearch, ["nevergrad"])
