"""Fixtures of the strategies' tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let screening make few children and fit roughly: the same paths in a tenth of the time."""
    for name, value in {"POOL": 16, "REFINED": 4, "REFINEMENTS": 1}.items():
        monkeypatch.setattr(f"evo.strategies.screening.{name}", value)
    monkeypatch.setattr("evo.strategies.gaussian_process.ITERATIONS", 5)
