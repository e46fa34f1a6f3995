"""A Gaussian process that predicts fitness from few evaluations: scikit-learn's, with priors and robust values.

Rasmussen and Williams (2006), chapters 2 and 5: a Matérn-5/2 kernel with one length scale a column, and noise. With ten
evaluations and ten columns maximum likelihood overfits, so the hyperparameters are the most probable ones under priors.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]

LENGTH_SPREAD, AMPLITUDE_SPREAD = 1.0, 1.0
NOISE_CENTRE, NOISE_SPREAD = math.log(1e-2), 1.5
"""Priors of the logarithms: normal. The length scales' has its centre at half the root of the number of columns."""
ITERATIONS = 40


class Warp:
    """Turns fitness into values that a Gaussian process can model, and back; keeps the order.

    Much of a random sample is far below the best: what lies further below the median than the best above it is drawn
    together logarithmically. Then mean 0 and deviation 1.
    """

    def __init__(self, fitness: Sequence[float]):
        values = np.asarray(fitness, dtype=np.float64)
        self._median = float(np.median(values))
        self._scale = float(values.max() - self._median) or float(values.std()) or 1.0
        bent = self._bend(values)
        self._mean, self._deviation = float(bent.mean()), float(bent.std()) or 1.0

    def _bend(self, fitness: Vectors) -> Vectors:
        places = (fitness - self._median) / self._scale
        return np.where(places < -1, -1 - np.log(np.maximum(1.0, -places)), places)

    def forward(self, fitness: Sequence[float]) -> Vectors:
        """Return what the model sees of fitnesses."""
        return (self._bend(np.asarray(fitness, dtype=np.float64)) - self._mean) / self._deviation

    def back(self, value: float) -> float:
        """Return the fitness of a value."""
        place = value * self._deviation + self._mean
        place = -math.exp(min(50.0, -1 - place)) if place < -1 else place
        return place * self._scale + self._median


class GaussianProcess:
    """The posterior over warped fitness.

    Args:
        vectors: Encoded genomes, (n, columns).
        values: Their warped fitness, (n,).
        start: Hyperparameters (logarithms) to begin the optimisation with; None for the priors' centres.
        optimise: Whether to look for better ones.
    """

    def __init__(
        self, vectors: Vectors, values: Vectors, start: Sequence[float] | None = None, *, optimise: bool = True
    ):
        self._vectors, self._values = vectors, values
        self._centre = prior_centre(vectors.shape[1])
        begin = self._centre if start is None or len(start) != len(self._centre) else np.array(start)
        self._fit(begin, optimise)

    @property
    def hyperparameters(self) -> list[float]:
        """Logarithms of amplitude, length scales and noise."""
        return [float(value) for value in self._regressor.kernel_.theta]

    def _fit(self, theta: Vectors, optimise: bool) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        columns = self._vectors.shape[1]
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.ones(columns), (1e-2, 1e3), nu=2.5)
        kernel = (kernel + WhiteKernel(1e-2, (1e-6, 1.0))).clone_with_theta(theta)
        self._regressor = GaussianProcessRegressor(
            kernel, alpha=1e-8, optimizer=self._most_probable if optimise else None, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of length scales near their bounds, which mean columns without effect
            self._regressor.fit(self._vectors, self._values)

    def believe(self, vectors: Vectors) -> None:
        """Take predictions of pending genomes for their results (the kriging believer: Ginsbourger et al., 2010)."""
        mean, _ = self.predict(vectors)
        self._vectors = np.vstack([self._vectors, vectors])
        self._values = np.concatenate([self._values, mean])
        self._fit(np.array(self.hyperparameters), optimise=False)

    def predict(self, vectors: Vectors) -> tuple[Vectors, Vectors]:
        """Return mean and standard deviation of the warped fitness without noise, (n,) each."""
        mean, deviation = self._regressor.predict(vectors, return_std=True)
        noise = math.exp(self.hyperparameters[-1])
        return mean, np.sqrt(np.maximum(deviation**2 - noise, 1e-12))

    def _most_probable(self, objective: Callable[..., Any], start: Vectors, bounds: Vectors) -> tuple[Vectors, float]:
        from scipy.optimize import minimize

        spread = np.full(len(start), LENGTH_SPREAD)
        spread[0], spread[-1] = AMPLITUDE_SPREAD, NOISE_SPREAD

        def negative_posterior(theta: Vectors) -> tuple[float, Vectors]:
            value, gradient = objective(theta, eval_gradient=True)
            off = (theta - self._centre) / spread
            return value + 0.5 * float(off @ off), gradient + off / spread

        found = minimize(
            negative_posterior, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS}
        )
        return found.x, float(found.fun)


def prior_centre(columns: int) -> Vectors:
    """Return the logarithms of the most probable hyperparameters before any evaluation."""
    length = math.log(0.5 * math.sqrt(columns))
    return np.array([0.0, *[length] * columns, NOISE_CENTRE])
