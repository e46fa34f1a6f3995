"""A Gaussian process over genomes and steps: it predicts whole learning curves from the beginnings of some.

A curve is a sum of three basis functions of the logarithm of the steps, and a rough rest. Each coefficient is a
function of the genome, shared by all curves (so one curve says something about the shape of another), plus a deviation
of the curve's own:

    y_i(t) = Σ_j φ_j(z) (f_j(x_i) + δ_ij) + w(x_i, z) + w_i(z) + w_0(z) + noise,
    z = log(t / T) / log T,    φ(z) = (1, z, z²)

The coefficients of a genome depend on each other: curves that end high have another slope. The rests w are Wiener
processes that begin at the last step T, of the genome, of the curve and of all curves: the further a forecast reaches
beyond what was seen, the less certain it is. At T, z = 0 and only the first coefficient is left: of full trainings the
model is `GaussianProcess`, with the deviations as a part of its noise. Freeze-thaw Bayesian optimisation (Swersky,
Snoek and Adams, arXiv 1406.3896) has a process for each curve instead, which shares no shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

from evo.strategies.gaussian_process import (
    BOUND,
    JITTER,
    NOISE_CENTRE,
    NOISE_SPREAD,
    SQRT5,
    Vectors,
    length_prior,
    matern,
    members_of,
    most_probable,
    squared_distances,
)

Numbers = npt.NDArray[np.int64]

BASIS = 3
ENTRIES = BASIS * (BASIS + 1) // 2
DIAGONAL = np.array([0, 2, 5])
"""The places of the diagonal among the entries of a triangle, row by row."""
SHARED_CENTRES, SHARED_SPREADS = (0.0, 0.0, -0.35, 0.0, 0.0, -0.6), (0.5, 0.7, 0.6, 0.5, 0.5, 0.6)
OWN_CENTRES, OWN_SPREADS = (-1.5, 0.0, -0.8, 0.0, 0.0, -1.15), (0.6, 0.3, 0.6, 0.3, 0.3, 0.6)
"""Priors of the triangles whose squares are the covariances of the coefficients, shared and of each curve's own. They
are normal, of the logarithm on the diagonal. Values have mean 0 and deviation 1 or so."""
ROUGH_CENTRES, ROUGH_SPREADS = (math.log(0.02), math.log(0.02)), (1.5, 1.5)
"""Priors of the logarithms of the variances of the rests over all steps: of a genome, and of a curve."""
MEAN_ROUGHNESS = 1.0
MEAN_VARIANCES = np.array([0.0, 4.0, 4.0])
"""Of all curves together: their mean rises from somewhere to 0, and the data say how."""
SHARED, LENGTHS, OWN, ROUGH = slice(ENTRIES), slice(ENTRIES, -ENTRIES - 3), slice(-ENTRIES - 3, -3), slice(-3, -1)
"""The places of the hyperparameters; the last one is the noise."""


class CurveModel:
    """The posterior over warped fitness at any step.

    Args:
        vectors: The encoded genome of each point, (points, columns).
        steps: Where each point is, (points,), from 1 on.
        curves: The number of each point's curve, (points,), from 0 on.
        values: The warped fitness of each point, (points,).
        groups: For each column the number of its length scale, (columns,).
        most: The steps of a full training, T.
        start: Hyperparameters (logarithms) to begin the optimisation with; None for the priors' centres.
        fitted: False keeps the hyperparameters of `start`.
    """

    def __init__(
        self,
        vectors: Vectors,
        steps: Numbers,
        curves: Numbers,
        values: Vectors,
        groups: Sequence[int],
        most: int,
        start: Sequence[float] | None = None,
        *,
        fitted: bool = True,
    ):
        self._vectors, self._curves, self._values, self._most = vectors, curves, values, most
        self._basis = self._basis_at(steps)
        self._members = members_of(groups)
        lengths = len(self._members)
        centre, spread = length_prior(lengths)
        self._centre = np.array([*SHARED_CENTRES, *[centre] * lengths, *OWN_CENTRES, *ROUGH_CENTRES, NOISE_CENTRE])
        self._spread = np.array([*SHARED_SPREADS, *[spread] * lengths, *OWN_SPREADS, *ROUGH_SPREADS, NOISE_SPREAD])
        begin = self._centre if start is None or len(start) != len(self._centre) else np.array(start)
        self._theta = self._most_probable(begin) if fitted else begin
        self._condition()

    @property
    def hyperparameters(self) -> list[float]:
        """A triangle of what genomes share, squared length scales, a triangle of curves' own, roughness, and noise."""
        return [float(value) for value in self._theta]

    def predict(self, vectors: Vectors, steps: Numbers, curves: Numbers | None = None) -> tuple[Vectors, Vectors]:
        """Return mean and standard deviation of the curves without noise, (genomes, steps) each.

        Args:
            vectors: Encoded genomes, (genomes, columns).
            steps: Where to predict, (steps,).
            curves: The number of each genome's curve, (genomes,); None for new ones.
        """
        basis = self._basis_at(steps)
        correlation = self._correlation(squared_distances(vectors, self._vectors, self._members))
        shared, own, every = _parts(self._theta, basis, self._basis)
        covariance = correlation[:, None, :] * shared + every
        if curves is not None:
            covariance += (curves[:, None] == self._curves)[:, None, :] * own
        covariance = covariance.reshape(-1, len(self._values))
        mean = covariance @ self._weights
        half = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        prior = np.tile(np.diag(sum(_parts(self._theta, basis, basis))), len(vectors))
        variance = np.maximum(prior - np.einsum("ij,ij->j", half, half), 1e-12)
        shape = len(vectors), len(steps)
        return mean.reshape(shape), np.sqrt(variance).reshape(shape)

    def believe(self, vectors: Vectors, steps: Numbers, curves: Numbers) -> None:
        """Take predictions of pending points for their values, one step for each genome, (genomes,).

        The kriging believer (Ginsbourger, Le Riche and Carraro, 2010).
        """
        for vector, step, curve in zip(vectors, steps, curves, strict=True):
            mean, _ = self.predict(vector[None], np.array([step]), np.array([curve]))
            self._vectors = np.vstack([self._vectors, vector])
            self._basis = np.vstack([self._basis, self._basis_at(np.array([step]))])
            self._curves, self._values = np.append(self._curves, curve), np.append(self._values, mean[0, 0])
            self._condition()

    def _basis_at(self, steps: Numbers) -> Vectors:
        """Return φ at steps, (steps, 3)."""
        place = np.log(steps / self._most) / math.log(max(2, self._most))
        return np.stack([np.ones_like(place), place, place**2], axis=-1)

    def _correlation(self, distances: Vectors) -> Vectors:
        return matern(_radii(distances, self._theta))

    def _condition(self) -> None:
        """Condition on the points, under the hyperparameters."""
        shared, own, every = _parts(self._theta, self._basis, self._basis)
        covariance = self._correlation(squared_distances(self._vectors, self._vectors, self._members)) * shared
        covariance += (self._curves[:, None] == self._curves) * own + every
        covariance[np.diag_indices_from(covariance)] += math.exp(self._theta[-1]) + JITTER
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._weights: Vectors = cho_solve((self._factor, True), self._values, check_finite=False)

    def _most_probable(self, start: Vectors) -> Vectors:
        bounds = list(zip(self._centre - BOUND * self._spread, self._centre + BOUND * self._spread, strict=True))
        distances = squared_distances(self._vectors, self._vectors, self._members)
        same = (self._curves[:, None] == self._curves).astype(np.float64)
        return most_probable(lambda theta: self._negative_log_posterior(theta, distances, same), start, bounds)

    def _negative_log_posterior(self, theta: Vectors, distances: Vectors, same: Vectors) -> tuple[float, Vectors]:
        """Return minus the log of likelihood times prior, and its gradient (Rasmussen and Williams, eq. 5.8, 5.9)."""
        basis, radii, noise = self._basis, _radii(distances, theta), math.exp(theta[-1])
        correlation = matern(radii)
        shared, own, every = _parts(theta, basis, basis)
        covariance = correlation * shared + same * own + every
        covariance[np.diag_indices_from(covariance)] += noise + JITTER
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except LinAlgError:  # as good as impossible hyperparameters
            return 1e10, np.zeros_like(theta)
        weights = cho_solve((factor, True), self._values, check_finite=False)
        outer = cho_solve((factor, True), np.eye(len(weights)), check_finite=False) - np.outer(weights, weights)
        # ∂k/∂ log ℓ² of a group: its share of the squared radius times this.
        slope = outer * shared * ((5 / 6) * (1 + SQRT5 * radii) * np.exp(-SQRT5 * radii))
        by_length = 0.5 * np.einsum("ij,gij->g", slope, distances) * np.exp(-theta[LENGTHS])
        alike, rest = (outer * correlation, outer * same), _wiener(basis, basis)
        by_shared, by_own = (
            _by_entries(basis.T @ part @ basis, theta[places])
            for part, places in zip(alike, (SHARED, OWN), strict=True)
        )
        by_rough = 0.5 * np.exp(theta[ROUGH]) * [(part * rest).sum() for part in alike]
        gradient = np.array([*by_shared, *by_length, *by_own, *by_rough, 0.5 * noise * np.trace(outer)])
        value = 0.5 * float(self._values @ weights) + float(np.log(np.diag(factor)).sum())
        off = (theta - self._centre) / self._spread
        return value + 0.5 * float(off @ off), gradient + off / self._spread


def _parts(theta: Vectors, first: Vectors, second: Vectors) -> tuple[Vectors, Vectors, Vectors]:
    """Return covariances between places on curves, given their bases: of a genome, of a curve, and of all curves."""
    shared, own = _triangle(theta[SHARED]), _triangle(theta[OWN])
    rough, rough_own = np.exp(theta[ROUGH])
    rest = _wiener(first, second)
    return (
        first @ shared @ shared.T @ second.T + rough * rest,
        first @ own @ own.T @ second.T + rough_own * rest,
        (first * MEAN_VARIANCES) @ second.T + MEAN_ROUGHNESS * rest,
    )


def _wiener(first: Vectors, second: Vectors) -> Vectors:
    """Return the covariance of a Wiener process that begins at the last step."""
    rest: Vectors = np.minimum.outer(np.abs(first[:, 1]), np.abs(second[:, 1]))
    return rest


def _triangle(entries: Vectors) -> Vectors:
    """Return a lower triangle from its entries, row by row, those of the diagonal as logarithms."""
    triangle = np.zeros((BASIS, BASIS))
    triangle[np.tril_indices(BASIS)] = entries
    diagonal = np.diag_indices(BASIS)
    triangle[diagonal] = np.exp(triangle[diagonal])
    return triangle


def _by_entries(by_square: Vectors, entries: Vectors) -> Vectors:
    """Return derivatives by the entries of a triangle from twice those by its square, which are symmetric."""
    triangle = _triangle(entries)
    derivatives: Vectors = (by_square @ triangle)[np.tril_indices(BASIS)]
    derivatives[DIAGONAL] *= np.diag(triangle)
    return derivatives


def _radii(distances: Vectors, theta: Vectors) -> Vectors:
    """Return distances in units of the length scales, (first, second)."""
    squared: Vectors = np.tensordot(np.exp(-theta[LENGTHS]), distances, axes=1)
    return np.sqrt(np.maximum(squared, 0.0))
