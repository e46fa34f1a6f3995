"""Optuna behind the protocol: TPE (default; multivariate and grouped), GPSampler, CMA-ES."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import protocol

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)

CONDITIONAL = ("tpe", "tpe-independent", "tpe-multivariate")
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
    if variant == "tpe-multivariate":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, warn_independent_sampling=False)
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
    """A study that is asked and told."""

    def __init__(self, start: dict[str, Any]):
        self.parameters = start["parameters"]
        self.conditional = start["variant"] in CONDITIONAL
        self.study = optuna.create_study(direction="maximize", sampler=make_sampler(start))
        anchor = start["anchor"]
        self.study.enqueue_trial(protocol.active_only(self.parameters, anchor) if self.conditional else anchor)
        self.trial: optuna.Trial | None = None

    def ask(self) -> protocol.Config:
        self.trial = self.study.ask()
        config: protocol.Config = {}
        for parameter in self.parameters:
            if not self.conditional or protocol.is_active(parameter, config):
                config[parameter["name"]] = suggest(self.trial, parameter)
        return config

    def tell(self, value: float) -> None:
        assert self.trial is not None
        self.study.tell(self.trial, value)


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
