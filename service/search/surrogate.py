"""A small Gaussian process over params and epochs: what a trial is likely to reach at full length.

Trials that a rung stopped are as informative as those that went on, if the epoch at which they were measured is
an input of the model. So one model holds everything that a job has seen.

Source:
    Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, ch. 2 and 5 (the equations);
    Swersky, Snoek & Adams 2014, "Freeze-thaw", and Klein et al. 2017, "FABOLAS" (fidelity as an input).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = np.ndarray[Any, np.dtype[np.float64]]

_SQRT5 = 5**0.5
# Priors on the logarithms of length scales (unit: the width of a range) and noise, as in BoTorch's defaults in
# spirit: a parameter matters little until the data says so, and noise is small against the spread of values.
_SCALE_MEAN, _SCALE_STD = np.log(0.7), 0.8
_NOISE_MEAN, _NOISE_STD = np.log(1e-3), 1.0
_JITTER = 1e-6


class GaussianProcess:
    """Matern-5/2 with a length scale for each input, constant mean, and noise; targets of about unit variance.

    Args:
        num_inputs: Columns of X.
    """

    def __init__(self, num_inputs: int) -> None:
        self._theta = np.concatenate([np.full(num_inputs, _SCALE_MEAN), [0.0, _NOISE_MEAN]])
        self._x: Array = np.zeros((0, num_inputs))

    def fit(self, x: Array, y: Array, *, steps: int) -> None:
        """Fit length scales, signal and noise by maximum a posteriori, from where the last fit ended.

        Args:
            x: (N, D) inputs in [0, 1].
            y: (N,) targets.
            steps: Iterations of L-BFGS at most; 0 keeps the hyperparameters.
        """
        self._x, self._y = x, y
        self._mean = float(np.median(y))
        if steps:
            bounds = [(np.log(0.05), np.log(20.0))] * x.shape[1] + [(-3.0, 3.0), (np.log(1e-6), 0.0)]
            found = minimize(
                self._objective,
                self._theta,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": steps},
            )
            self._theta = found.x
        self._condition()

    def _condition(self) -> None:
        scales, signal, noise = self._unpack(self._theta)
        kernel, _ = _matern(self._x, self._x, scales)
        kernel *= signal
        kernel[np.diag_indices_from(kernel)] += noise + _JITTER
        self._factor = cho_factor(kernel, lower=True, check_finite=False)
        self._alpha = cho_solve(self._factor, self._y - self._mean, check_finite=False)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Predict mean and standard deviation (without noise) at (M, D) inputs."""
        scales, signal, _ = self._unpack(self._theta)
        cross, _ = _matern(x, self._x, scales)
        cross *= signal
        mean = self._mean + cross @ self._alpha
        solved = cho_solve(self._factor, cross.T, check_finite=False)
        variance = signal - np.einsum("ij,ji->i", cross, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def believe(self, x: Array) -> None:
        """Add a point whose value is taken to be the prediction, so that the next choice goes elsewhere."""
        mean, _ = self.predict(x[None])
        self._x = np.vstack([self._x, x])
        self._y = np.append(self._y, mean)
        self._condition()

    @staticmethod
    def _unpack(theta: Array) -> tuple[Array, float, float]:
        return np.exp(theta[:-2]), float(np.exp(theta[-2])), float(np.exp(theta[-1]))

    def _objective(self, theta: Array) -> tuple[float, Array]:
        """Negative log posterior and its gradient (Rasmussen & Williams, eqs. 5.8 and 5.9)."""
        scales, signal, noise = self._unpack(theta)
        shape, distance = _matern(self._x, self._x, scales)
        kernel = signal * shape
        kernel[np.diag_indices_from(kernel)] += noise + _JITTER
        residual = self._y - self._mean
        try:
            factor = cho_factor(kernel, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = cho_solve(factor, np.eye(len(residual)), check_finite=False)
        alpha = inverse @ residual
        value = 0.5 * float(residual @ alpha) + float(np.log(np.diag(factor[0])).sum())
        weight = 0.5 * (inverse - np.outer(alpha, alpha))
        # dk/d(log scale_d) = signal * 5/3 * (1 + sqrt5 r) exp(-sqrt5 r) * (x_d - x'_d)^2 / scale_d^2
        slope = weight * (signal * 5 / 3 * (1 + _SQRT5 * distance) * np.exp(-_SQRT5 * distance))
        gradient = np.empty_like(theta)
        rows = slope.sum(axis=1)
        for d in range(self._x.shape[1]):
            column = self._x[:, d] / scales[d]
            gradient[d] = 2 * float(rows @ column**2) - 2 * float(column @ slope @ column)
        gradient[-2] = float((weight * shape).sum()) * signal
        gradient[-1] = float(np.trace(weight)) * noise
        for part, mean, std in (
            (slice(0, -2), _SCALE_MEAN, _SCALE_STD),
            (slice(-1, None), _NOISE_MEAN, _NOISE_STD),
        ):
            value += 0.5 * float((((theta[part] - mean) / std) ** 2).sum())
            gradient[part] += (theta[part] - mean) / std**2
        return value, gradient


def _matern(left: Array, right: Array, scales: Array) -> tuple[Array, Array]:
    """Matern-5/2 correlation (N, M) and the scaled distance (N, M)."""
    a, b = left / scales, right / scales
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squared, 0.0))
    scaled = _SQRT5 * distance
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled), distance
