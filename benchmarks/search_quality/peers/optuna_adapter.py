"""Optuna behind the protocol: TPE (default; multivariate and grouped), GPSampler, CMA-ES."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import protocol

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)

CONDITIONAL = ("tpe", "tpe-independent", "tpe-multivariate", "tpe-multivariate-parallel")
"""Variants that see conditions. GPSampler and CMA-ES model only parameters that every trial has; drawing the others at
random would hold them back, so they get the encoding of fixed length."""


def make_sampler(start: dict[str, Any]) -> optuna.samplers.BaseSampler:
    """Return the sampler of a variant."""
    variant, seed = start["variant"], start["seed"]
    if variant == "tpe":
        # As shipped: multivariate since Optuna 5, so the same as "tpe-multivariate" on a space without conditions.
        return optuna.samplers.TPESampler(seed=seed, warn_independent_sampling=False)
    if variant == "tpe-independent":
        # The default until Optuna 4.
        return optuna.samplers.TPESampler(seed=seed, multivariate=False)
    if variant in ("tpe-multivariate", "tpe-multivariate-parallel"):
        # With trainings in flight, as Optuna recommends: these count as bad, so that others are proposed.
        liar = {"constant_liar": True} if variant.endswith("-parallel") else {}
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, warn_independent_sampling=False, **liar
        )
    if variant == "gp":
        import torch

        torch.set_num_threads(1)
        # The sampler fits the noise unless it is told that there is none.
        return optuna.samplers.GPSampler(
            seed=seed,
            independent_sampler=optuna.samplers.TPESampler(seed=seed),
            deterministic_objective=start["deterministic"],
        )
    if variant == "cmaes":
        numeric = [entry["name"] for entry in start["parameters"] if entry["kind"] != "categorical"]
        return optuna.samplers.CmaEsSampler(
            x0={name: start["anchor"][name] for name in numeric},
            seed=seed,
            with_margin=True,
            # Categories are not for CMA-ES; TPE draws them better than chance.
            independent_sampler=optuna.samplers.TPESampler(seed=seed),
            warn_independent_sampling=False,
        )
    raise ValueError(f"unknown variant {variant!r}")


class OptunaSearch:
    """A study that is asked and told; its trials have the numbers of their configurations."""

    def __init__(self, start: dict[str, Any]):
        self.parameters = start["parameters"]
        self.conditional = start["variant"] in CONDITIONAL
        self.study = optuna.create_study(direction="maximize", sampler=make_sampler(start))
        self.trials: list[optuna.Trial] = []
        if (anchor := start["anchor"]) is not None:
            self._enqueue(anchor)

    def ask(self) -> protocol.Config:
        self.trials.append(self.study.ask())
        config: protocol.Config = {}
        for parameter in self.parameters:
            if not self.conditional or protocol.is_active(parameter, config):
                config[parameter["name"]] = suggest(self.trials[-1], parameter)
        return config

    def tell(self, value: float) -> None:
        self.tell_of(len(self.trials) - 1, value)

    def tell_of(self, number: int, value: float) -> None:
        self.study.tell(self.trials[number], value)

    def see(self, config: protocol.Config) -> None:
        self._enqueue(config)
        self.ask()

    def _enqueue(self, config: protocol.Config) -> None:
        self.study.enqueue_trial(protocol.active_only(self.parameters, config) if self.conditional else config)


def suggest(trial: optuna.Trial, parameter: dict[str, Any]) -> Any:
    """Return the trial's value of a parameter."""
    name, kind = parameter["name"], parameter["kind"]
    if kind == "categorical":
        return trial.suggest_categorical(name, parameter["choices"])
    if kind == "integer":
        return trial.suggest_int(name, parameter["low"], parameter["high"], log=parameter["log"])
    return trial.suggest_float(name, parameter["low"], parameter["high"], log=parameter["log"])


if __name__ == "__main__":
    protocol.serve(OptunaSearch, ["optuna"])
