"""A small Gaussian process over params and epochs: what a trial is likely to reach at full length.

Trials that a rung stopped are as informative as those that went on, if the epoch at which they were measured is
an input of the model. So one model holds everything that a job has seen.

A range is seldom on the scale on which its values matter: a weight decay between 0 and 0.1 decides below 0.001.
So each input is warped by a curve that is fitted with the rest, and the search takes steps on the warped scale.

Source:
    Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, ch. 2 and 5 (the equations);
    Swersky, Snoek & Adams 2014, "Freeze-thaw", and Klein et al. 2017, "FABOLAS" (fidelity as an input);
    Snoek, Swersky, Zemel & Adams 2014, "Input warping"; Kumaraswamy 1980 (the curve).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = np.ndarray[Any, np.dtype[np.float64]]

_SQRT5 = 5**0.5
# Priors on the logarithms of length scales (unit: the width of a range), noise and the warp's two exponents, as in
# BoTorch's defaults in spirit: a parameter matters little until the data says so, noise is small against the
# spread of values, and a range is on the scale on which its values matter.
_SCALE_MEAN, _SCALE_STD = np.log(0.7), 0.8
_NOISE_MEAN, _NOISE_STD = np.log(1e-3), 1.0
_WARP_STD = 0.75
_BOUNDS = {
    "scale": (np.log(0.05), np.log(20.0)),
    "signal": (-3.0, 3.0),
    "noise": (np.log(1e-6), 0.0),
    "warp": (-1.6, 1.6),
}
_JITTER = 1e-6
_EDGE = 1e-6  # a warp's slope may be infinite at 0 and 1


class GaussianProcess:
    """Matern-5/2 with a warp and a length scale for each input, constant mean, and noise.

    Targets have about unit variance.

    Args:
        num_inputs: Columns of X (D).
    """

    def __init__(self, num_inputs: int) -> None:
        d = num_inputs
        self._scales = slice(0, d)
        self._signal, self._noise = d, d + 1
        self._first, self._second = slice(d + 2, 2 * d + 2), slice(2 * d + 2, 3 * d + 2)  # the warp's exponents
        self._theta = np.zeros(3 * d + 2)  # logarithms
        self._theta[self._scales] = _SCALE_MEAN
        self._theta[self._noise] = _NOISE_MEAN
        self._bounds = [_BOUNDS["scale"]] * d + [_BOUNDS["signal"], _BOUNDS["noise"]] + [_BOUNDS["warp"]] * 2 * d
        self._x: Array = np.zeros((0, d))
        self._warped, self._y, self._alpha = self._x, np.zeros(0), np.zeros(0)
        self._inverse: Array = np.zeros((0, 0))  # of the kernel's lower Cholesky factor

    def fit(self, x: Array, y: Array, *, steps: int) -> None:
        """Fit the hyperparameters by maximum a posteriori, from where the last fit ended.

        Args:
            x: (N, D) inputs in [0, 1].
            y: (N,) targets.
            steps: Iterations of L-BFGS at most; 0 keeps the hyperparameters.
        """
        self._x, self._y = x, y
        self._mean = float(np.median(y))
        if steps:
            found = minimize(
                self._objective,
                self._theta,
                jac=True,
                method="L-BFGS-B",
                bounds=self._bounds,
                options={"maxiter": steps},
            )
            self._theta = found.x
        self._condition()

    def condition(self, x: Array, y: Array) -> None:
        """Exchange the data, and leave hyperparameters and mean as they were fitted."""
        self._x, self._y = x, y
        self._condition()

    def believe(self, x: Array) -> None:
        """Add a point whose value is taken to be the prediction, so that the next choice goes elsewhere.

        The factor's inverse gets one row more, which costs N^2 in place of N^3.

        Args:
            x: (D,) the point.
        """
        theta = np.exp(self._theta)
        mean, _ = self.predict(x[None])
        warped = self.warp(x[None])
        cross, *_ = _matern(warped, self._warped, theta[self._scales])
        half = self._inverse @ (theta[self._signal] * cross[0])
        pivot = np.sqrt(max(theta[self._signal] + theta[self._noise] + _JITTER - half @ half, _JITTER))
        grown = np.zeros((len(self._y) + 1, len(self._y) + 1))
        grown[:-1, :-1] = self._inverse
        grown[-1, :-1], grown[-1, -1] = (half @ self._inverse) / -pivot, 1 / pivot
        self._x, self._warped = np.vstack([self._x, x]), np.vstack([self._warped, warped])
        self._y, self._inverse = np.append(self._y, mean), grown
        self._alpha = grown.T @ (grown @ (self._y - self._mean))

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Predict mean and standard deviation (without noise) at (M, D) inputs."""
        theta = np.exp(self._theta)
        cross, *_ = _matern(self.warp(x), self._warped, theta[self._scales])
        cross *= theta[self._signal]
        mean = self._mean + cross @ self._alpha
        variance = theta[self._signal] - ((cross @ self._inverse.T) ** 2).sum(axis=1)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def warp(self, x: Array) -> Array:
        """Put inputs on the fitted scales: (M, D) -> (M, D), from [0, 1] to [0, 1]."""
        return self._warp(x, np.exp(self._theta))

    def unwarp(self, warped: Array, columns: Any) -> Array:
        """Take the warp of some inputs back.

        Args:
            warped: (M, K) values on their fitted scales.
            columns: (K,) which inputs they are.
        """
        theta = np.exp(self._theta)
        a, b = theta[self._first][columns], theta[self._second][columns]
        unwarped: Array = (1 - (1 - warped) ** (1 / b)) ** (1 / a)
        return unwarped

    def _warp(self, x: Array, theta: Array) -> Array:
        inside = np.clip(x, _EDGE, 1 - _EDGE)
        warped: Array = 1 - (1 - inside ** theta[self._first]) ** theta[self._second]
        return warped

    def _condition(self) -> None:
        theta = np.exp(self._theta)
        self._warped = self.warp(self._x)
        kernel, *_ = _matern(self._warped, self._warped, theta[self._scales])
        kernel *= theta[self._signal]
        kernel[np.diag_indices_from(kernel)] += theta[self._noise] + _JITTER
        factor = cho_factor(kernel, lower=True, check_finite=False)
        self._alpha = cho_solve(factor, self._y - self._mean, check_finite=False)
        # A product with the inverse of the factor takes a third of the time of solving for each prediction.
        self._inverse = solve_triangular(factor[0], np.eye(len(kernel)), lower=True, check_finite=False)

    def _objective(self, log_theta: Array) -> tuple[float, Array]:
        """Negative log posterior and its gradient (Rasmussen & Williams, eqs. 5.8 and 5.9)."""
        theta = np.exp(log_theta)
        scales, signal, noise = theta[self._scales], theta[self._signal], theta[self._noise]
        warped = self._warp(self._x, theta)
        shape, scaled, decay = _matern(warped, warped, scales)
        kernel = signal * shape
        kernel[np.diag_indices_from(kernel)] += noise + _JITTER
        residual = self._y - self._mean
        try:
            factor = cho_factor(kernel, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = _inverse(factor[0])
        alpha = inverse @ residual
        value = 0.5 * float(residual @ alpha) + float(np.log(np.diag(factor[0])).sum())
        weight = 0.5 * (inverse - np.outer(alpha, alpha))
        # With z = warped / scale and r the distance: dk/d(log scale_d) = slope * (z_d - z'_d)^2, and
        # dk/dz_d = -slope * (z_d - z'_d), where slope = signal * 5/3 * (1 + sqrt5 r) exp(-sqrt5 r).
        slope = weight * (signal * 5 / 3) * (1 + scaled) * decay
        z = warped / scales
        pull = slope.sum(axis=1)[:, None] * z - slope @ z
        gradient = np.empty_like(theta)
        gradient[self._scales] = 2 * (z * pull).sum(axis=0)
        gradient[self._signal] = float((weight * shape).sum()) * signal
        gradient[self._noise] = float(np.trace(weight)) * noise
        gradient[self._first], gradient[self._second] = self._warp_gradient(-2 * pull / scales, theta)
        for part, mean, std in (
            (self._scales, _SCALE_MEAN, _SCALE_STD),
            (slice(self._noise, self._noise + 1), _NOISE_MEAN, _NOISE_STD),
            (slice(self._first.start, None), 0.0, _WARP_STD),
        ):
            value += 0.5 * float((((log_theta[part] - mean) / std) ** 2).sum())
            gradient[part] += (log_theta[part] - mean) / std**2
        return value, gradient

    def _warp_gradient(self, by_warped: Array, theta: Array) -> tuple[Array, Array]:
        """Carry the gradient by warped inputs (N, D) over to the logarithms of both exponents, (D,) each."""
        a, b = theta[self._first], theta[self._second]
        inside = np.clip(self._x, _EDGE, 1 - _EDGE)
        power = inside**a
        rest = 1 - power
        by_a = b * rest ** (b - 1) * power * np.log(inside)
        by_b = -(rest**b) * np.log(rest)
        return a * (by_warped * by_a).sum(axis=0), b * (by_warped * by_b).sum(axis=0)


def _inverse(factor: Array) -> Array:
    """Invert a matrix from its lower Cholesky factor, in a third of the time of solving for each column."""
    inverse: Array = dpotri(factor, lower=1)[0]  # the lower triangle
    lower = np.tril(inverse, -1)
    return lower + lower.T + np.diag(np.diag(inverse))


def _matern(left: Array, right: Array, scales: Array) -> tuple[Array, Array, Array]:
    """Matern-5/2 correlation, sqrt(5) times the scaled distance r, and exp(-sqrt(5) r), (N, M) each."""
    a, b = left / scales, right / scales
    # In place where it can be: what fits into the cache need not be fetched anew, which takes half of the time.
    scaled: Array = (a**2).sum(1)[:, None] + (b**2).sum(1)[None]
    scaled -= 2 * a @ b.T
    np.sqrt(np.maximum(scaled, 0.0, out=scaled), out=scaled)
    scaled *= _SQRT5
    decay: Array = np.negative(scaled)
    np.exp(decay, out=decay)
    shape: Array = scaled * scaled
    shape /= 3
    shape += 1 + scaled
    shape *= decay
    return shape, scaled, decay
