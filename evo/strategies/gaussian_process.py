"""A Gaussian process that predicts fitness from few evaluations: one length scale a gene, priors, robust values.

Rasmussen and Williams (2006), chapters 2 and 5: a Matérn-5/2 kernel, and noise. With ten evaluations of ten genes
maximum likelihood overfits, so the hyperparameters are the most probable ones under priors. scikit-learn's process has
neither priors nor one length scale for the several columns of a choice or a layer list, and took over twice as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Vectors = npt.NDArray[np.float64]

SQRT5 = math.sqrt(5)
JITTER = 1e-8
LENGTH_FACTOR, LENGTH_SPREAD = 0.5, 2.0
AMPLITUDE_SPREAD = 1.0
NOISE_CENTRE, NOISE_SPREAD = math.log(1e-2), 1.5
"""Priors of the logarithms of variances and squared length scales: normal. A length scale's centre is half the root of
the number of genes: in more dimensions everything is further apart (Hvarfner, Hellsten and Nardi, ICML 2024)."""
BOUND = 4.0
"""Spreads from its centre that a hyperparameter may go."""
ITERATIONS = 40
LARGEST = 1e150


class Warp:
    """Turns fitness into values that a Gaussian process can model, and back; keeps the order.

    Much of a random sample is far below the best: what lies further below the median than the best above it is drawn
    together logarithmically. Then mean 0 and deviation 1.
    """

    def __init__(self, fitness: Sequence[float]):
        values = _bounded(fitness)
        self._median = float(np.median(values))
        self._scale = float(values.max() - self._median) or float(values.std()) or 1.0
        bent = self._bend(values)
        self._mean, self._deviation = float(bent.mean()), float(bent.std()) or 1.0

    def _bend(self, fitness: Vectors) -> Vectors:
        places = (fitness - self._median) / self._scale
        return np.where(places < -1, -1 - np.log(np.maximum(1.0, -places)), places)

    def forward(self, fitness: Sequence[float]) -> Vectors:
        """Return what the model sees of fitnesses."""
        return (self._bend(_bounded(fitness)) - self._mean) / self._deviation

    def back(self, value: float) -> float:
        """Return the fitness of a value."""
        place = value * self._deviation + self._mean
        place = -math.exp(min(50.0, -1 - place)) if place < -1 else place
        return place * self._scale + self._median


def _bounded(fitness: Sequence[float]) -> Vectors:
    """Return fitnesses whose differences and squares are still numbers."""
    return np.clip(np.asarray(fitness, dtype=np.float64), -LARGEST, LARGEST)


class GaussianProcess:
    """The posterior over warped fitness.

    Args:
        vectors: Encoded genomes, (n, columns).
        values: Their warped fitness, (n,).
        groups: For each column the number of its length scale, (columns,).
        start: Hyperparameters (logarithms) to begin the optimisation with; None for the priors' centres.
        slope: By how much the prior mean rises with each column, (columns,); None for a constant mean.
        noise: The variance of the noise; None for the most probable one.
    """

    def __init__(
        self,
        vectors: Vectors,
        values: Vectors,
        groups: Sequence[int],
        start: Sequence[float] | None = None,
        slope: Vectors | None = None,
        noise: float | None = None,
    ):
        self._slope: Vectors = np.zeros(vectors.shape[1]) if slope is None else slope
        self._vectors, self._values = vectors, values - vectors @ self._slope
        self._members = members_of(groups)
        self._centre, self._spread = _priors(len(self._members))
        self._noise = None if noise is None else math.log(noise)
        begin = self._centre if start is None or len(start) != len(self._centre) else np.array(start)
        self._theta = self._most_probable(begin)
        self._condition()

    @property
    def hyperparameters(self) -> list[float]:
        """Logarithms of amplitude, length scales and noise, all as variances."""
        return [float(value) for value in self._theta]

    def believe(self, vectors: Vectors) -> None:
        """Take predictions of pending genomes for their results (the kriging believer: Ginsbourger et al., 2010)."""
        mean, _ = self.predict(vectors)
        self._vectors = np.vstack([self._vectors, vectors])
        self._values = np.concatenate([self._values, mean - vectors @ self._slope])
        self._condition()

    def predict(self, vectors: Vectors) -> tuple[Vectors, Vectors]:
        """Return mean and standard deviation of the warped fitness without noise, (n,) each."""
        amplitude = math.exp(self._theta[0])
        covariance = amplitude * matern(_scaled(squared_distances(vectors, self._vectors, self._members), self._theta))
        mean: Vectors = covariance @ self._weights + vectors @ self._slope
        half = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        variance = amplitude - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def _condition(self) -> None:
        """Condition on the vectors and values, under the hyperparameters."""
        covariance = math.exp(self._theta[0]) * matern(
            _scaled(squared_distances(self._vectors, self._vectors, self._members), self._theta)
        )
        covariance[np.diag_indices_from(covariance)] += math.exp(self._theta[-1]) + JITTER
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), self._values, check_finite=False)

    def _most_probable(self, start: Vectors) -> Vectors:
        distances = squared_distances(self._vectors, self._vectors, self._members)
        bounds = list(zip(self._centre - BOUND * self._spread, self._centre + BOUND * self._spread, strict=True))
        if self._noise is not None:
            bounds[-1] = (self._noise, self._noise)
        return most_probable(lambda theta: self._negative_log_posterior(theta, distances), start, bounds)

    def _negative_log_posterior(self, theta: Vectors, distances: Vectors) -> tuple[float, Vectors]:
        """Return minus the log of likelihood times prior, and its gradient (Rasmussen and Williams, eq. 5.8, 5.9)."""
        amplitude, noise = math.exp(theta[0]), math.exp(theta[-1])
        radii = _scaled(distances, theta)
        kernel = amplitude * matern(radii)
        covariance = kernel.copy()
        covariance[np.diag_indices_from(covariance)] += noise + JITTER
        factor = cholesky(covariance, lower=True, check_finite=False)
        weights = cho_solve((factor, True), self._values, check_finite=False)
        inverse = cho_solve((factor, True), np.eye(len(weights)), check_finite=False)
        outer = inverse - np.outer(weights, weights)
        # ∂k/∂ log ℓ² of a group: its share of the squared radius times this.
        slope = outer * (amplitude * (5 / 6) * (1 + SQRT5 * radii) * np.exp(-SQRT5 * radii))
        by_length = np.einsum("ij,gij->g", slope, distances) * np.exp(-theta[1:-1])
        gradient = 0.5 * np.array([(outer * kernel).sum(), *by_length, noise * np.trace(outer)])
        value = 0.5 * float(self._values @ weights) + float(np.log(np.diag(factor)).sum())
        off = (theta - self._centre) / self._spread
        return value + 0.5 * float(off @ off), gradient + off / self._spread


def most_probable(
    negative_log_posterior: Callable[[Vectors], tuple[float, Vectors]],
    start: Vectors,
    bounds: Sequence[tuple[float, float]],
) -> Vectors:
    """Return the hyperparameters with the least of a function, which gives its gradient, too."""
    found = minimize(
        negative_log_posterior,
        np.clip(start, *np.transpose(bounds)),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": ITERATIONS},
    )
    theta: Vectors = found.x
    return theta


def members_of(groups: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """Return the columns of each group."""
    return [np.flatnonzero(np.asarray(groups) == group) for group in range(max(groups) + 1)]


def squared_distances(first: Vectors, second: Vectors, members: Sequence[npt.NDArray[np.int64]]) -> Vectors:
    """Return the squared distances by group of columns, (groups, first, second)."""
    return np.stack([cdist(first[:, group], second[:, group], "sqeuclidean") for group in members])


def length_prior(groups: int) -> tuple[float, float]:
    """Return centre and spread of the logarithm of a squared length scale."""
    return 2 * math.log(LENGTH_FACTOR * math.sqrt(groups)), LENGTH_SPREAD


def _scaled(distances: Vectors, theta: Vectors) -> Vectors:
    """Return distances in units of the length scales, (first, second)."""
    squared: Vectors = np.tensordot(np.exp(-theta[1:-1]), distances, axes=1)
    return np.sqrt(np.maximum(squared, 0.0))


def matern(radii: Vectors) -> Vectors:
    """Return the Matérn-5/2 correlation (Rasmussen and Williams, eq. 4.17)."""
    correlation: Vectors = (1 + SQRT5 * radii + (5 / 3) * radii**2) * np.exp(-SQRT5 * radii)
    return correlation


def _priors(groups: int) -> tuple[Vectors, Vectors]:
    """Return centre and spread of the hyperparameters' logarithms."""
    length, spread = length_prior(groups)
    centre = np.array([0.0, *[length] * groups, NOISE_CENTRE])
    return centre, np.array([AMPLITUDE_SPREAD, *[spread] * groups, NOISE_SPREAD])
