"""How a network of a run was trained, in words, and its learning rate as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from evo.individual import GeneValue
from evo.loop.cost import training_images
from evo.record.run import Run
from evo.reports import style
from evo.reports.page import Block, Facts
from evo.reports.search_data import SearchData
from evo.space.training_settings import Recipe
from evo.training.schedules import rate_factor

POINTS = 400
"""Most steps whose rate is drawn, beside those where the curve bends."""
LINES = 8
PIXELS = {"standardise": "standardised, each channel", "subtract_mean_image": "less the mean image"}


def recipe_of(run: Run, config: Mapping[str, GeneValue]) -> Recipe | None:
    """Return how a configuration of a run is trained; None where evo trains no network, or the data are not known."""
    images = _training_images(run)
    return run.space.training.recipe(config, images) if run.settings.model is not None and images else None


def recipe_blocks(run: Run, config: Mapping[str, GeneValue]) -> list[Block]:
    """Return the recipe of a configuration for a page."""
    recipe = recipe_of(run, config)
    return [] if recipe is None else [Facts(recipe_facts(run, recipe))]


def recipe_facts(run: Run, recipe: Recipe) -> dict[str, str]:
    """Return a recipe in words, by what it says."""
    training = run.space.training
    epochs = recipe.steps / (_training_images(run) // recipe.batch_size)
    weight_decay = f", weight decay {style.short_number(recipe.weight_decay)}" if recipe.weight_decay else ""
    facts = {
        "length": f"{recipe.steps:,} steps of {recipe.batch_size:,} images, {_epochs(epochs)}",
        "optimiser": f"{_optimiser(recipe)}{weight_decay}",
        "learning rate": _rate(recipe),
        "augmentation": _augmentation(recipe),
        "label smoothing": f"{recipe.label_smoothing:g}" if recipe.label_smoothing else "none",
        "pixels": PIXELS.get(training.preprocess, training.preprocess),
        "measured": "the mean over an image and its mirror image" if training.test_flip else "",
    }
    return {name: text for name, text in facts.items() if text}


def learning_rate_figure(data: SearchData) -> Figure | None:
    """The learning rate of the winner's training at every step: its schedule times its highest rate."""
    return None if data.best is None else rates_figure(data.run, [(data.best, data.run.config_of(data.best))])


def rates_figure(run: Run, configs: Sequence[tuple[int, Mapping[str, GeneValue]]]) -> Figure | None:
    """Return the learning rates of some configurations, by individual, against steps; None where none is known."""
    known = [(number, recipe) for number, config in configs if (recipe := recipe_of(run, config)) is not None]
    if not known:
        return None
    figure, [axes] = style.new_figure(2.6)
    for place, (number, recipe) in enumerate(known[:LINES]):
        steps, rates = rates_of(recipe)
        look = style.look_of(place) | {"marker": "o" if len(steps) == 1 else ""}
        axes.plot(steps, rates, **look, linewidth=2, label=f"#{number}")
    highest = max(recipe.learning_rate for _, recipe in known[:LINES])
    style.count_axis(axes, "optimiser steps", ylabel="learning rate", ylim=(0, 1.08 * highest), xlim=(0, None))
    axes.yaxis.set_major_formatter(lambda value, _: style.short_number(value))
    if len(known) > 1:
        axes.legend()
    return figure


def rates_of(recipe: Recipe) -> tuple[list[int], list[float]]:
    """Return the learning rate at steps from the first to the last, close enough for a curve."""
    last = recipe.steps - 1
    bends = [recipe.warmup * recipe.steps, (1 - recipe.cooldown) * recipe.steps]
    near = [round(bend) + move for bend in bends for move in (-1, 0, 1)]
    spread = np.linspace(0, last, POINTS).round().astype(int).tolist()
    steps = sorted({step for step in [*spread, *near] if 0 <= step <= last})
    shape = (recipe.steps, recipe.warmup, recipe.cooldown)
    return steps, [recipe.learning_rate * rate_factor(recipe.schedule, step, *shape) for step in steps]


def _training_images(run: Run) -> int:
    """Return how many images a training of the run takes its batches from; 0 where that is not known."""
    return training_images(run.settings) if (run.settings.dataset or {}).get("train_count") else 0


def _epochs(epochs: float) -> str:
    text = f"{epochs:.3g}" if epochs < 100 else f"{epochs:,.0f}"
    return f"{text} epoch{'' if text == '1' else 's'}"


def optimiser_name(optimiser: str, weight_decay: float) -> str:
    """Return what an optimiser is called."""
    return {"adam": "AdamW" if weight_decay else "Adam", "sgd": "SGD", "muon": "Muon"}.get(optimiser, optimiser)


def _optimiser(recipe: Recipe) -> str:
    name = optimiser_name(recipe.optimiser, recipe.weight_decay)
    momentum = f"Nesterov momentum {recipe.momentum:g}" if recipe.momentum else "no momentum"
    return name if recipe.optimiser == "adam" else f"{name}, {momentum}"


def _rate(recipe: Recipe) -> str:
    rate = style.scientific(recipe.learning_rate)
    if recipe.schedule == "constant":
        return f"{rate} at every step (constant)"
    rise = f"rises for {_percent(recipe.warmup)} of the steps, then " if recipe.warmup else ""
    fall = {
        "cosine": "falls to 0 along half a cosine",
        "one_cycle": "falls to 0 along a line",
        "trapezoid": f"stays, and falls to 0 in the last {_percent(recipe.cooldown)}",
    }.get(recipe.schedule, recipe.schedule)
    return f"at most {rate}: {rise}{fall} ({recipe.schedule})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _augmentation(recipe: Recipe) -> str:
    parts = {
        "flip": ["mirrored at random"],
        "flip_crop": ["mirrored at random", f"moved by up to {recipe.crop_padding} pixels"],
    }.get(recipe.augment, [])
    parts += [f"a square of {recipe.cutout} pixels a side hidden"] if recipe.cutout else []
    return ", ".join(parts) or "none"
