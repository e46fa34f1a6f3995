"""DEHB behind the protocol, with the gene of training steps as its fidelity."""

from __future__ import annotations

import tempfile
from typing import Any

import protocol
from ConfigSpace import Configuration
from configuration_space import make_space
from dehb import DEHB
from loguru import logger

logger.remove()
ETA = 3


class DehbSearch:
    """DEHB that is asked and told; it minimises."""

    def __init__(self, start: dict[str, Any]):
        self.fidelity = start["fidelity"]
        if self.fidelity is None:
            raise ValueError("DEHB needs a fidelity: a space with a gene of training steps")
        [steps] = [entry for entry in start["parameters"] if entry["name"] == self.fidelity]
        parameters = [entry for entry in start["parameters"] if entry["name"] != self.fidelity]
        # Its vectors have a fixed length, whatever the conditions.
        space = make_space(parameters, start["seed"], conditional=False)
        self.optimiser = DEHB(
            cs=space,
            f=None,
            dimensions=len(parameters),
            min_fidelity=steps["low"],
            max_fidelity=steps["high"],
            eta=ETA,
            n_workers=1,
            seed=start["seed"],
            output_path=tempfile.mkdtemp(prefix="dehb-"),
            save_freq=None,
            log_level="ERROR",
        )
        self.job: dict[str, Any] = self.optimiser.ask()
        self.waiting = True
        # It has no call for a configuration to start with; put in place of its first draw, as it does at a restart.
        names = [entry["name"] for entry in parameters]
        anchor = Configuration(space, values={name: start["anchor"][name] for name in names})
        self.optimiser.config_repository.configs[self.job["config_id"]].config = self.optimiser.configspace_to_vector(
            anchor
        )
        self.job["config"] = anchor

    def ask(self) -> protocol.Config:
        if not self.waiting:
            self.job = self.optimiser.ask()
        self.waiting = False
        return dict(self.job["config"]) | {self.fidelity: round(self.job["fidelity"])}

    def tell(self, value: float) -> None:
        self.optimiser.tell(self.job, {"fitness": -value, "cost": float(self.job["fidelity"])})


if __name__ == "__main__":
    protocol.serve(DehbSearch, ["DEHB", "ConfigSpace"])
