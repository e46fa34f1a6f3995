"""A training loop as users write them: a perceptron on scikit-learn's digits in plain torch, thirty epochs."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import evo

EPOCHS = 30
TRAINING_IMAGES = 1000

SPACE = evo.SearchSpace(
    {
        "layers": evo.Layers(depth=(1, 3), width=(8, 256), log=True),
        "learning_rate": evo.Float(1e-4, 1e-1, log=True),
        "batch_size": evo.Integer(16, 512, log=True),
        "dropout": evo.Float(0.0, 0.6),
        "weight_decay": evo.Float(1e-6, 1e-1, log=True),
    },
    name="digits-loop",
)


@cache
def digits() -> tuple[Any, Any, Any, Any]:
    """Return images and labels to train on, and to measure on, always the same."""
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    pixels, targets = torch.tensor(images[order] / 16, dtype=torch.float32), torch.tensor(labels[order])
    return pixels[:TRAINING_IMAGES], targets[:TRAINING_IMAGES], pixels[TRAINING_IMAGES:], targets[TRAINING_IMAGES:]


def network(config: dict[str, Any]) -> Any:
    """Return a perceptron."""
    from torch import nn

    widths = [64, *config["layers"]]
    layers: list[Any] = []
    for before, width in pairwise(widths):
        layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(config["dropout"])]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
    """Train; report the accuracy, in percent, after each epoch."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train_images, train_labels, images, labels = digits()
    model = network(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"])
    epoch, accuracy = 0, 0.0
    checkpoint = trial.folder / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        torch.set_rng_state(saved["random"])
        epoch, accuracy = saved["epoch"], saved["accuracy"]
        trial.report(epoch, accuracy)
    while epoch < trial.max_steps:
        model.train()
        order: Any = torch.randperm(len(train_images))
        for batch in order.split(config["batch_size"]):
            optimiser.zero_grad()
            loss: Any = cross_entropy(model(train_images[batch]), train_labels[batch])
            loss.backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            accuracy = 100 * (model(images).argmax(1) == labels).float().mean().item()
        epoch += 1
        if epoch >= trial.steps:  # a training that goes on needs no state before it pauses
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
            torch.save(state | {"accuracy": accuracy, "random": torch.get_rng_state()}, checkpoint)
        trial.report(epoch, accuracy)
    return accuracy
