"""Search a training of Lightning with a callback that reports, pauses and continues.

It needs `pip install lightning`.

    python lightning_callback.py results/lightning
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import evo

SPACE = evo.SearchSpace(
    {
        "width": evo.Integer(8, 128, log=True),
        "learning_rate": evo.Float(1e-4, 1e-1, log=True),
        "batch_size": evo.Integer(16, 256, log=True),
    },
    name="digits",
)
EPOCHS = 18


class Network(lightning.LightningModule):
    """A perceptron with one hidden layer."""

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        self.learning_rate = config["learning_rate"]
        width = config["width"]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.layers(images), labels)

    def validation_step(self, batch: Any, number: int) -> None:
        """Log the accuracy of a batch."""
        images, labels = batch
        self.log("accuracy", (self.layers(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class Report(lightning.Callback):
    """Saves and reports after each epoch, and ends the training when it is to pause."""

    def __init__(self, trial: evo.Trial):
        self.trial = trial

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save first, then report."""
        if trainer.sanity_checking:
            return
        new = self.trial.folder / "new.ckpt"
        trainer.save_checkpoint(new)
        new.replace(self.trial.folder / "last.ckpt")
        try:
            self.trial.report(trainer.current_epoch + 1, float(trainer.callback_metrics["accuracy"]))
        except evo.Pause:
            trainer.should_stop = True


def loader(images: torch.Tensor, labels: torch.Tensor, size: int, shuffle: torch.Generator | None) -> DataLoader[Any]:
    """Return the batches of a part of the data."""
    return DataLoader(TensorDataset(images, labels), size, shuffle=shuffle is not None, generator=shuffle)


class Batches(lightning.LightningDataModule):
    """The digits; the order of each epoch depends on the seed and the epoch only."""

    def __init__(self, config: dict[str, Any], seed: int):
        super().__init__()
        digits = load_digits()
        self.images = torch.tensor(digits.images, dtype=torch.float32) / 16
        self.labels = torch.tensor(digits.target)
        self.size, self.seed = config["batch_size"], seed

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled batches of an epoch."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        shuffle = torch.Generator().manual_seed(self.seed * 1000 + epoch)
        return loader(self.images[:1200], self.labels[:1200], self.size, shuffle)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the batches to measure on."""
        return loader(self.images[1200:], self.labels[1200:], 600, None)


def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> None:
    """Train; what counts is the last report."""
    torch.set_num_threads(1)
    lightning.seed_everything(seed % 2**32, verbose=False)
    last = trial.folder / "last.ckpt"
    if last.exists():
        saved = torch.load(last, weights_only=False)  # a file that this script has written itself
        trial.report(saved["epoch"] + 1, float(saved["accuracy"]))
    trainer = lightning.Trainer(
        max_epochs=trial.max_steps,
        callbacks=[Report(trial)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(Network(config), Batches(config, seed), ckpt_path=last if last.exists() else None, weights_only=False)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/lightning")
    if folder.exists():
        run = evo.resume(folder, objective)
    else:
        run = evo.search(SPACE, objective, max_steps=EPOCHS, strategy="halving", budget=15, seed=1, output=folder)
    print(run.best)
