"""Search a model of scikit-learn that learns in parts (`partial_fit`): a linear classifier of digits.

python scikit_learn.py results/scikit-learn
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

import evo

SPACE = evo.SearchSpace(
    {
        "alpha": evo.Float(1e-6, 1e-1, log=True),
        "penalty": evo.Categorical(["l2", "l1", "elasticnet"]),
        "l1_ratio": evo.Float(0.05, 0.95, when={"penalty": "elasticnet"}),
        "eta0": evo.Float(1e-4, 1e0, log=True),
        "average": evo.Boolean(),
    },
    name="linear",
)
PASSES = 27


def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> dict[str, float]:
    """Pass over the data again and again, and report the accuracy after each pass."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    train, held_out = order[:1200], order[1200:]

    saved_file = trial.folder / "model.joblib"
    if saved_file.exists():
        done, model, values = joblib.load(saved_file)  # a file that this script has written itself
        trial.report(done, **values)
    else:
        done, values = 0, {}
        model = SGDClassifier(loss="log_loss", learning_rate="constant", random_state=seed % 2**32, **config)

    while done < trial.max_steps:
        done += 1
        shuffled = np.random.default_rng((seed, done)).permutation(train)
        model.partial_fit(images[shuffled] / 16, labels[shuffled], classes=np.arange(10))
        probabilities = model.predict_proba(images[held_out] / 16)
        accuracy = float((probabilities.argmax(1) == labels[held_out]).mean())
        values = {"value": accuracy, "loss": float(log_loss(labels[held_out], probabilities))}
        joblib.dump((done, model, values), trial.folder / "new.joblib")
        (trial.folder / "new.joblib").replace(saved_file)
        trial.report(done, **values)
    return {"fitness": values["value"], "loss": values["loss"]}


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/scikit-learn")
    if folder.exists():
        run = evo.resume(folder, objective)
    else:
        run = evo.search(SPACE, objective, max_steps=PASSES, strategy="halving", budget=40, seed=1, output=folder)
    print(run.best)
