"""A Gaussian process over genomes and steps: it predicts whole learning curves from the beginnings of some.

A curve is a sum of three basis functions of the logarithm of the steps. Each coefficient is a function of the genome,
shared by all curves (so one curve says something about the shape of another), plus a deviation of the curve's own:

    y_i(t) = Σ_j φ_j(z) (f_j(x_i) + δ_ij) + noise,    z = log(t / T) / log T,    φ(z) = (1, z, z²)

At the last step T, z = 0 and only the first function is left: of full trainings alone it is `GaussianProcess`, with the
deviations as a part of its noise. Freeze-thaw Bayesian optimisation (Swersky, Snoek and Adams, arXiv 1406.3896) has a
process for each curve instead, which shares no shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from evo.strategies.gaussian_process import (
    BOUND,
    ITERATIONS,
    JITTER,
    NOISE_CENTRE,
    NOISE_SPREAD,
    SQRT5,
    Vectors,
    length_prior,
    matern,
    members_of,
    squared_distances,
)

Numbers = npt.NDArray[np.int64]

BASIS = 3
SHARED_CENTRES, SHARED_SPREADS = (0.0, math.log(0.5), math.log(0.3)), (1.0, 1.2, 1.2)
OWN_CENTRES, OWN_SPREADS = (math.log(0.05), math.log(0.2), math.log(0.1)), (1.2, 1.2, 1.2)
"""Priors of the logarithms of the coefficients' variances: normal. Values have mean 0 and deviation 1 or so."""
MEAN_VARIANCES = np.array([0.0, 4.0, 4.0])
"""Of the coefficients' means: that of all curves rises from somewhere to 0, and the data say how."""
UNKNOWN = -1
"""The number of a curve of which nothing is known."""


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
        self._centre = np.array([*SHARED_CENTRES, *[centre] * lengths, *OWN_CENTRES, NOISE_CENTRE])
        self._spread = np.array([*SHARED_SPREADS, *[spread] * lengths, *OWN_SPREADS, NOISE_SPREAD])
        begin = self._centre if start is None or len(start) != len(self._centre) else np.array(start)
        self._theta = self._most_probable(begin) if fitted else begin
        self._condition()

    @property
    def hyperparameters(self) -> list[float]:
        """Logarithms, as variances: three shared ones, length scales, three of the curves' own, noise."""
        return [float(value) for value in self._theta]

    def predict(self, vectors: Vectors, steps: Numbers, curves: Numbers | None = None) -> tuple[Vectors, Vectors]:
        """Return mean and standard deviation of the curves without noise, (genomes, steps) each.

        Args:
            vectors: Encoded genomes, (genomes, columns).
            steps: Where to predict, (steps,).
            curves: The number of each genome's curve, (genomes,); `UNKNOWN`, the default, for a new one.
        """
        shared, own, _ = self._variances()
        basis = self._basis_at(steps)
        correlation = self._correlation(squared_distances(vectors, self._vectors, self._members))
        covariance = correlation[:, None, :] * ((basis * shared) @ self._basis.T)
        covariance += (basis * MEAN_VARIANCES) @ self._basis.T
        if curves is not None:
            covariance += (curves[:, None] == self._curves)[:, None, :] * ((basis * own) @ self._basis.T)
        covariance = covariance.reshape(-1, len(self._values))
        mean = covariance @ self._weights
        half = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        prior = np.tile((basis * basis) @ (shared + own + MEAN_VARIANCES), len(vectors))
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

    def _variances(self) -> tuple[Vectors, Vectors, float]:
        variances = np.exp(self._theta)
        return variances[:BASIS], variances[-BASIS - 1 : -1], float(variances[-1])

    def _correlation(self, distances: Vectors) -> Vectors:
        return matern(_radii(distances, self._theta))

    def _condition(self) -> None:
        """Condition on the points, under the hyperparameters."""
        shared, own, noise = self._variances()
        basis = self._basis
        covariance = self._correlation(squared_distances(self._vectors, self._vectors, self._members))
        covariance *= (basis * shared) @ basis.T
        covariance += (self._curves[:, None] == self._curves) * ((basis * own) @ basis.T)
        covariance += (basis * MEAN_VARIANCES) @ basis.T
        covariance[np.diag_indices_from(covariance)] += noise + JITTER
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._weights: Vectors = cho_solve((self._factor, True), self._values, check_finite=False)

    def _most_probable(self, start: Vectors) -> Vectors:
        bounds = list(zip(self._centre - BOUND * self._spread, self._centre + BOUND * self._spread, strict=True))
        products = np.stack([np.outer(column, column) for column in self._basis.T])
        parts = (
            squared_distances(self._vectors, self._vectors, self._members),
            products,
            (self._curves[:, None] == self._curves).astype(np.float64),
            np.tensordot(MEAN_VARIANCES, products, axes=1),
        )
        found = minimize(
            self._negative_log_posterior,
            np.clip(start, *np.transpose(bounds)),
            args=parts,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": ITERATIONS},
        )
        theta: Vectors = found.x
        return theta

    def _negative_log_posterior(
        self, theta: Vectors, distances: Vectors, products: Vectors, same: Vectors, mean: Vectors
    ) -> tuple[float, Vectors]:
        """Return minus the log of likelihood times prior, and its gradient (Rasmussen and Williams, eq. 5.8, 5.9)."""
        variances = np.exp(theta)
        shared, own, noise = variances[:BASIS], variances[-BASIS - 1 : -1], variances[-1]
        radii = _radii(distances, theta)
        correlation, curves = matern(radii), np.tensordot(shared, products, axes=1)
        covariance = correlation * curves + same * np.tensordot(own, products, axes=1) + mean
        covariance[np.diag_indices_from(covariance)] += noise + JITTER
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except LinAlgError:  # as good as impossible hyperparameters
            return 1e10, np.zeros_like(theta)
        weights = cho_solve((factor, True), self._values, check_finite=False)
        outer = cho_solve((factor, True), np.eye(len(weights)), check_finite=False) - np.outer(weights, weights)
        # ∂k/∂ log ℓ² of a group: its share of the squared radius times this.
        slope = outer * curves * ((5 / 6) * (1 + SQRT5 * radii) * np.exp(-SQRT5 * radii))
        by_length = np.einsum("ij,gij->g", slope, distances) * np.exp(-theta[BASIS : -BASIS - 1])
        by_shared = shared * np.einsum("ij,kij->k", outer * correlation, products)
        by_own = own * np.einsum("ij,kij->k", outer * same, products)
        gradient = 0.5 * np.array([*by_shared, *by_length, *by_own, noise * np.trace(outer)])
        value = 0.5 * float(self._values @ weights) + float(np.log(np.diag(factor)).sum())
        off = (theta - self._centre) / self._spread
        return value + 0.5 * float(off @ off), gradient + off / self._spread


def _radii(distances: Vectors, theta: Vectors) -> Vectors:
    """Return distances in units of the length scales, (first, second)."""
    squared: Vectors = np.tensordot(np.exp(-theta[BASIS : -BASIS - 1]), distances, axes=1)
    return np.sqrt(np.maximum(squared, 0.0))
