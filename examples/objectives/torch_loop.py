"""Search a training loop of your own: a small CNN on scikit-learn's digits, in plain torch.

Run it, stop it with Ctrl-C or kill it, and run it again: it continues where it was.

    python torch_loop.py results/torch-loop
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import evo

SPACE = evo.SearchSpace(
    {
        "width": evo.Integer(4, 32, log=True),
        "learning_rate": evo.Float(1e-4, 1e-1, log=True),
        "batch_size": evo.Integer(16, 256, log=True),
        "dropout": evo.Float(0.0, 0.6),
    },
    name="digits",
)
EPOCHS = 30


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images and labels to train on, and to measure on."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    return images[:1200], labels[:1200], images[1200:], labels[1200:]


def network(config: dict[str, Any]) -> nn.Module:
    """Return a network of two convolutions."""
    width = config["width"]
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(config["dropout"]), nn.Linear(8 * width, 10)),
    )


def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
    """Train a network, report its accuracy after each epoch, and return the last one."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train_images, train_labels, images, labels = data()
    model = network(config)
    optimiser = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    epoch, accuracy, loss = 0, 0.0, 0.0

    checkpoint = trial.folder / "checkpoint.pt"
    if checkpoint.exists():  # this training was paused, or its process was killed
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        torch.set_rng_state(saved["random"])
        epoch, accuracy, loss = saved["epoch"], saved["accuracy"], saved["loss"]
        trial.report(epoch, accuracy, loss=loss)  # ignored, unless the kill came between saving and reporting

    while epoch < trial.max_steps:
        model.train()
        for batch in torch.randperm(len(train_images)).split(config["batch_size"]):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(train_images[batch]), train_labels[batch]).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            outputs = model(images)
        loss = nn.functional.cross_entropy(outputs, labels).item()
        accuracy = (outputs.argmax(1) == labels).float().mean().item()
        epoch += 1

        values = {"epoch": epoch, "accuracy": accuracy, "loss": loss, "random": torch.get_rng_state()}
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), **values}
        torch.save(state, trial.folder / "new.pt")  # save first …
        (trial.folder / "new.pt").replace(checkpoint)
        trial.report(epoch, accuracy, loss=loss)  # … then report: this may raise evo.Pause
    return accuracy


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/torch-loop")
    if folder.exists():
        run = evo.resume(folder, objective)
    else:
        run = evo.search(SPACE, objective, max_steps=EPOCHS, pruner="median", budget=40, seed=1, output=folder)
    print(run.best)
