"""An objective that reports, continues, and does not allow everything: of the kept run `format-4/reports`."""

from __future__ import annotations

import json
from typing import Any

import evo

STEPS = 16


def stepwise(config: dict[str, Any], seed: int, trial: evo.Trial) -> dict[str, float]:
    """Return a distance to a point that falls with the steps; configurations beyond a line are not allowed."""
    if (excess := config["x"] + config["y"] - 1.2) > 0:
        raise evo.Infeasible("beyond the line", violation=excess)
    state, step, value = trial.folder / "state.json", 0, 0.0
    if state.exists():
        step, value = json.loads(state.read_text())
        trial.report(step, value, size=config["x"])
    while step < trial.max_steps:
        step += 1
        value = ((config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2) * (0.2 + 0.5**step)
        state.write_text(json.dumps([step, value]))
        trial.report(step, value, size=config["x"])
    return {"fitness": value, "size": config["x"]}
