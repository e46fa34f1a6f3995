"""What a training is asked for and what it gives back. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evo.confusion import Confusion
from evo.evaluation import CurvePoint, Status


@dataclass(frozen=True)
class Job:
    """One training to do.

    Attributes:
        config: Gene values; what `TRAINING_GENES` names falls back on the settings.
        seed: Decides initialisation, batch order and dropout.
        until: The step to stop at, if that is before the last; None for the last.
        weights: Where to write the trained weights (safetensors); None to drop them.
        checkpoint: Where to save the state of a training that takes long. A state that is there is restored, and the
            result is that of a training that was never interrupted.
        last_state: Where to save the state at the end. A training that goes further restores it, and the result is
            that of one from the first step. Its seconds are not counted again.
        train_images: Of the training part, so many fixed images are measured at the end; None for all of them.
        confusion: Whether to count, at the end, which classes the network confuses.
    """

    config: Mapping[str, Any]
    seed: int
    until: int | None = None
    weights: Path | None = None
    checkpoint: Path | None = None
    last_state: Path | None = None
    train_images: int | None = None
    confusion: bool = False


@dataclass(frozen=True)
class Metrics:
    """Accuracy (fraction in [0, 1]) and mean cross-entropy on one part, in evaluation mode.

    Attributes:
        confusion: Which classes it takes for which; empty where that was not asked for.
        balanced_accuracy: The mean of the accuracies of the classes that the part has; None where it was not asked for.
    """

    accuracy: float
    loss: float
    confusion: Confusion = field(default=(), compare=False)
    balanced_accuracy: float | None = None

    def named(self, part: str) -> dict[str, float]:
        """Return what was measured on a held-out part, by the names of a `CurvePoint`."""
        values = {f"{part}_accuracy": self.accuracy, "loss": self.loss}
        return values | ({} if (balanced := self.balanced_accuracy) is None else {"balanced_accuracy": balanced})


@dataclass(frozen=True)
class TrainingResult:
    """What one training measured; `train` and `held_out` are None if it diverged.

    Attributes:
        status: "complete"; "partial" where it stopped before its last step; "diverged" when the loss was not finite.
        curve: One point every `Recipe.every` steps (`evaluate_every`; by default an epoch where epochs are given), and
            one at the end.
        train: On the training part, or on some of its images, at the end.
        held_out: On the part that fitness is measured on, at the end.
        parameters: Trainable parameters.
        steps: Steps done.
        seconds: Time that it took, parts before an interruption included.
        seconds_before: Of these, those of the parts before it was resumed.
        error: The reason, where it diverged; where it did not, what else the row should say.
    """

    status: Status
    curve: tuple[CurvePoint, ...]
    train: Metrics | None
    held_out: Metrics | None
    parameters: int
    steps: int
    seconds: float = field(default=0.0, compare=False)
    error: str = ""
    seconds_before: float = field(default=0.0, compare=False)
