"""How the networks of a space are trained: the section [training], and the recipe of one training made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from evo import names
from evo.individual import EPOCHS, STEPS
from evo.models import GeneRule
from evo.space.settings import PositiveCount, PositiveNumber, one_of

EVALUATE_EVERY = 100
"""Steps between two points of a learning curve by default; a training in epochs has a point after each."""
CROP_PADDING = 2
ALWAYS_SHOWN = ("preprocess", "optimiser")
"""Settings that a reader wants to see, also where they are what they are by default."""
MOST_STEPS, MOST_EPOCHS = 2**53, 10**6
WARMUP = {"one_cycle": 0.25}
"""The warm-up of a schedule by default, a fraction of the steps; 0 for the others."""
COOLDOWN = 0.25

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class TrainingSettings(BaseModel):
    """What all trainings of a space share; where a gene of the same name is active, its value is used instead.

    The defaults are what evo did before a key existed, so that runs keep their meaning. None means "not given".

    Attributes:
        preprocess: "standardise" (per channel, by the training part) or the report's "subtract_mean_image".
        optimiser: "adam" with torch's defaults, "sgd", or "muon" (adam for what is not a matrix).
        evaluate_every: Steps between two points of the learning curve; also the grid of a `steps` gene. By default 100,
            or the steps of an epoch where `epochs` says how long.
        learning_rate: Of the optimiser; the schedule's highest.
        batch_size: Images per step.
        steps: Optimiser steps.
        epochs: Instead of `steps`: how often each training image is taken, on average.
        weight_decay: Decoupled for adam and muon, added to the gradient for sgd.
        momentum: Of sgd, after Nesterov; 0 for plain gradient descent. Of muon, whose default is 0.95.
        schedule: The learning rate as a function of the step: see `evo.training.schedules`.
        warmup: Fraction of the steps in which the rate rises linearly to its highest: 0.25 for one_cycle, else 0.
        cooldown: Fraction of the steps in which it falls linearly to 0 with "trapezoid"; 0.25.
        augment: "none", "flip" (mirrors each image with probability one half), or "flip_crop" (also moves it).
        crop_padding: Most pixels that flip_crop moves an image in each direction; edges are reflected. 2.
        cutout: Side in pixels of a square that is hidden in each training image; 0 for none.
        label_smoothing: Fraction of the target probability that is shared equally among all classes.
        test_flip: When measuring, average the outputs for an image and its mirror image.
        image_size: Side in pixels that the images of an image folder are resized to.
        training_mode: Also measure as the 2019 report did, without leaving training mode: the last minibatch, and the
            held-out part, either "whole" as one batch or in "batches" of the batch size.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    preprocess: Annotated[str, one_of(names.PREPROCESSING)] = "standardise"
    optimiser: Annotated[str, one_of(names.OPTIMISERS)] = "adam"
    evaluate_every: PositiveCount | None = None
    learning_rate: PositiveNumber | None = None
    batch_size: PositiveCount | None = None
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None
    epochs: Annotated[float, Field(gt=0, le=MOST_EPOCHS)] | None = None
    weight_decay: NotNegative = 0.0
    momentum: BelowOne | None = None
    schedule: Annotated[str, one_of(names.SCHEDULES)] = "constant"
    warmup: Fraction | None = None
    cooldown: Fraction | None = None
    augment: Annotated[str, one_of(names.AUGMENTATIONS)] = "none"
    crop_padding: PositiveCount | None = None
    cutout: Annotated[int, Field(ge=0)] = 0
    label_smoothing: BelowOne = 0.0
    test_flip: bool = False
    image_size: PositiveCount = 32
    training_mode: Annotated[str, one_of(names.TRAINING_MODES)] | None = None
    _ignored: frozenset[str] = PrivateAttr(default=frozenset())

    def ignoring(self, genes: Iterable[str]) -> TrainingSettings:
        """Return the same settings for trainings that do not read genes of these names: see `RECIPE_GENES`."""
        settings = self.model_copy()
        settings._ignored = frozenset(genes)
        return settings

    def with_default(self, **values: Any) -> TrainingSettings:
        """Return the same settings with values filled in by evo: `exclude_unset` leaves them out."""
        settings = self.model_copy(update=values)
        settings.model_fields_set.difference_update(values)
        return settings

    def read(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the genes of a configuration that a training may read: all, but in runs older than the recipe."""
        return {name: value for name, value in config.items() if name not in self._ignored}

    def given(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a training is given: these settings, and the genes that it may read in their place."""
        return {**self.model_dump(exclude_none=True), **self.read(config)}

    @property
    def curve_hooks(self) -> list[names.CurveHook]:
        """What else is measured at each point of a learning curve."""
        return [hook for key, hook in names.CURVE_HOOKS.items() if getattr(self, key) is not None]

    def prefix_exact(self, config: Mapping[str, Any]) -> bool:
        """Return whether a shorter training of a configuration is a prefix of a longer one, to the last bit.

        It is not if the learning rate depends on the number of steps, or if a hook measures more at the last points.
        """
        return self.read(config).get("schedule", self.schedule) in names.PREFIX_EXACT and not self.curve_hooks

    def length(self, config: Mapping[str, Any], images: int) -> Length:
        """Return how long a configuration is trained.

        Args:
            config: Gene values by name.
            images: Of the training part.

        Raises:
            KeyError: Neither the genes nor the settings say how long, or in what batches.
        """
        read, given = self.read(config), self.given(config)
        batch_size = min(int(given["batch_size"]), images)
        epoch = images // batch_size
        in_epochs = EPOCHS in read or (EPOCHS in given and STEPS not in read)
        return Length(
            batch_size=batch_size,
            steps=max(1, round(float(given[EPOCHS]) * epoch)) if in_epochs else int(given[STEPS]),
            every=int(given.get("evaluate_every", epoch if in_epochs else EVALUATE_EVERY)),
        )

    def recipe(self, config: Mapping[str, Any], images: int) -> Recipe:
        """Return how a configuration is trained; see `length`.

        Raises:
            KeyError: Neither the genes nor the settings say how long, at what rate, or in what batches.
        """
        given = self.given(config)
        schedule, optimiser = str(given["schedule"]), str(given["optimiser"])
        return Recipe(
            **self.length(config, images)._asdict(),
            learning_rate=float(given["learning_rate"]),
            optimiser=optimiser,
            weight_decay=float(given["weight_decay"]),
            momentum=float(given.get("momentum", 0.95 if optimiser == "muon" else 0.0)),
            schedule=schedule,
            warmup=float(given.get("warmup", WARMUP.get(schedule, 0.0))),
            cooldown=float(given.get("cooldown", COOLDOWN)),
            augment=str(given["augment"]),
            crop_padding=int(given.get("crop_padding", CROP_PADDING)),
            cutout=int(given["cutout"]),
            label_smoothing=float(given["label_smoothing"]),
        )


class Length(NamedTuple):
    """How long a training is.

    Attributes:
        batch_size: Images per step; at most those of the training part.
        steps: Of the whole training.
        every: Steps between two points of the learning curve.
    """

    batch_size: int
    steps: int
    every: int


@dataclass(frozen=True)
class Recipe:
    """How one configuration is trained: genes and settings together, with every default filled in.

    Attributes:
        batch_size, steps, every: See `Length`.
        learning_rate, optimiser, …: See `TrainingSettings`.
    """

    batch_size: int
    steps: int
    every: int
    learning_rate: float
    optimiser: str
    weight_decay: float
    momentum: float
    schedule: str
    warmup: float
    cooldown: float
    augment: str
    crop_padding: int
    cutout: int
    label_smoothing: float


SGD_AND_MUON = ("sgd", "muon")
TRAINING_GENES: dict[str, GeneRule] = {
    "learning_rate": GeneRule(("float", "categorical"), low=0.0),
    "batch_size": GeneRule(("integer", "categorical"), low=1),
    STEPS: GeneRule(("integer", "categorical"), low=1),
    EPOCHS: GeneRule(("float", "integer", "categorical"), low=1e-3, high=MOST_EPOCHS),
    "weight_decay": GeneRule(("float", "categorical"), low=0.0),
    "optimiser": GeneRule(("categorical",), known=names.OPTIMISERS),
    "momentum": GeneRule(("float", "categorical"), low=0.0, below=1.0, reads=(("optimiser", SGD_AND_MUON),)),
    "schedule": GeneRule(("categorical",), known=names.SCHEDULES),
    "warmup": GeneRule(
        ("float", "categorical"), low=0.0, high=1.0, reads=(("schedule", ("cosine", "one_cycle", "trapezoid")),)
    ),
    "cooldown": GeneRule(("float", "categorical"), low=0.0, high=1.0, reads=(("schedule", ("trapezoid",)),)),
    "augment": GeneRule(("categorical",), known=names.AUGMENTATIONS),
    "crop_padding": GeneRule(("integer", "categorical"), low=1, reads=(("augment", ("flip_crop",)),)),
    "cutout": GeneRule(("integer", "categorical"), low=0),
    "label_smoothing": GeneRule(("float", "categorical"), low=0.0, below=1.0),
}
"""The settings of a training that may be genes instead, whatever the model."""
RECIPE_GENES = frozenset(TRAINING_GENES) - {"learning_rate", "batch_size", STEPS, "weight_decay"}
"""Those that no training read before [training] had a `schedule`.

In a run from then, a gene of such a name is the model's own, or a switch.
"""
