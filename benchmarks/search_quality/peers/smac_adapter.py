"""SMAC3 behind the protocol: its facade for hyperparameters (random forest) and the one for functions (GP)."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import protocol
from ConfigSpace import Configuration
from configuration_space import make_space
from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue

warnings.filterwarnings("ignore")
FACADES = {"hpo": HyperparameterOptimizationFacade, "blackbox": BlackBoxFacade}


class SmacSearch:
    """A facade that is asked and told; it minimises a cost."""

    def __init__(self, start: dict[str, Any]):
        self.parameters = start["parameters"]
        space = make_space(self.parameters, start["seed"], conditional=True)
        # One evaluation a configuration, as for every other method: otherwise SMAC repeats its incumbents.
        scenario = Scenario(
            space,
            deterministic=True,
            n_trials=start["budget"],
            seed=start["seed"],
            output_directory=Path(tempfile.mkdtemp(prefix="smac-")),
        )
        facade = FACADES[start["variant"].removesuffix("-retrained")]
        # As shipped, the facade for hyperparameters fits its forest to every eighth result, which saves much time.
        retrained = start["variant"].endswith("-retrained")
        selector = facade.get_config_selector(scenario, **({"retrain_after": 1} if retrained else {}))
        self.facade = facade(
            scenario,
            lambda config, seed=0: 0.0,
            config_selector=selector,
            overwrite=True,
            logging_level=logging.ERROR,
        )
        self.anchor: TrialInfo | None = TrialInfo(
            Configuration(space, values=protocol.active_only(self.parameters, start["anchor"])), seed=0
        )
        self.trial: TrialInfo | None = None

    def ask(self) -> protocol.Config:
        if self.anchor is not None:
            self.trial, self.anchor = self.anchor, None
        else:
            self.trial = self.facade.ask()
        return dict(self.trial.config)

    def tell(self, value: float) -> None:
        assert self.trial is not None
        self.facade.tell(self.trial, TrialValue(cost=-value, time=0.0), save=False)


if __name__ == "__main__":
    protocol.serve(SmacSearch, ["smac", "ConfigSpace"])
