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
from scipy.linalg.blas import dsymm, dsyr, dtrmm, dtrmv
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs, dtrtri
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
_BLOCK = 125  # rows that are predicted at a time: their kernel stays in the cache
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
        cross = _matern(warped, self._warped, theta[self._scales])
        half = dtrmv(self._inverse, theta[self._signal] * cross[0], lower=1)
        pivot = np.sqrt(max(theta[self._signal] + theta[self._noise] + _JITTER - half @ half, _JITTER))
        grown = np.zeros((len(self._y) + 1, len(self._y) + 1), order="F")
        grown[:-1, :-1] = self._inverse
        grown[-1, :-1], grown[-1, -1] = dtrmv(self._inverse, half, lower=1, trans=1) / -pivot, 1 / pivot
        self._x, self._warped = np.vstack([self._x, x]), np.vstack([self._warped, warped])
        self._y, self._inverse = np.append(self._y, mean), grown
        self._alpha = dtrmv(grown, dtrmv(grown, self._y - self._mean, lower=1), lower=1, trans=1)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Predict mean and standard deviation (without noise) at (M, D) inputs."""
        blocks = [self._predict(x[first : first + _BLOCK]) for first in range(0, len(x), _BLOCK)]
        return np.concatenate([mean for mean, _ in blocks]), np.concatenate([std for _, std in blocks])

    def _predict(self, x: Array) -> tuple[Array, Array]:
        theta = np.exp(self._theta)
        cross = _matern(self.warp(x), self._warped, theta[self._scales])
        cross *= theta[self._signal]
        mean = self._mean + cross @ self._alpha
        half = dtrmm(1.0, self._inverse, cross.T, lower=1, overwrite_b=1).T
        variance = theta[self._signal] - np.einsum("ij,ij->i", half, half)
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
        kernel = _matern(self._warped, self._warped, theta[self._scales])
        kernel *= theta[self._signal]
        factor = self._factor(kernel, theta)
        if factor is None:
            raise np.linalg.LinAlgError(f"the kernel of {len(self._y)} points is not positive definite")
        # A product with the inverse of the factor takes a third of the time of solving for each prediction.
        self._inverse, _ = dtrtri(factor, lower=1, overwrite_c=1)
        half = dtrmv(self._inverse, self._y - self._mean, lower=1)
        self._alpha = dtrmv(self._inverse, half, lower=1, trans=1)

    def _factor(self, kernel: Array, theta: Array) -> Array | None:
        """Give the lower Cholesky factor of kernel and noise, in the kernel's memory; None if there is none."""
        kernel[np.diag_indices_from(kernel)] += theta[self._noise] + _JITTER
        factor, failed = dpotrf(kernel.T, lower=1, clean=1, overwrite_a=1)
        return None if failed else factor

    def _objective(self, log_theta: Array) -> tuple[float, Array]:
        """Negative log posterior and its gradient (Rasmussen & Williams, eqs. 5.8 and 5.9)."""
        theta = np.exp(log_theta)
        scales, signal, noise = theta[self._scales], theta[self._signal], theta[self._noise]
        warped = self._warp(self._x, theta)
        scaled, decay = _distances(warped, warped, scales)
        kernel = _shape(scaled, decay)
        kernel *= signal
        factor = self._factor(kernel, theta)
        if factor is None:
            return 1e10, np.zeros_like(theta)
        residual = self._y - self._mean
        alpha, _ = dpotrs(factor, residual, lower=1)
        value = 0.5 * float(residual @ alpha) + float(np.log(np.diag(factor)).sum())
        # The lower triangle alone of (inverse - alpha alpha'): twice the weight of each entry of the kernel.
        weight = dsyr(-1.0, alpha, a=dpotri(factor, lower=1, overwrite_c=1)[0], lower=1, overwrite_a=1)
        trace = 0.5 * float(np.trace(weight))
        # With z = warped / scale and r the distance: dk/d(log scale_d) = slope * (z_d - z'_d)^2, and
        # dk/dz_d = -slope * (z_d - z'_d), where slope = signal * 5/3 * (1 + sqrt5 r) exp(-sqrt5 r).
        slope = scaled.T  # laid out as the weight is, which takes half of the time
        slope += 1
        slope *= decay.T
        slope *= weight
        z = warped / scales
        slope_z = dsymm(signal * 5 / 6, slope, np.column_stack([z, np.ones(len(z))]), lower=1)
        pull = slope_z[:, -1:] * z - slope_z[:, :-1]
        gradient = np.empty_like(theta)
        gradient[self._scales] = 2 * (z * pull).sum(axis=0)
        # trace(weight kernel) is known, as the kernel with its noise is what was inverted.
        gradient[self._signal] = 0.5 * (len(z) - float(residual @ alpha)) - (noise + _JITTER) * trace
        gradient[self._noise] = trace * noise
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


def _matern(left: Array, right: Array, scales: Array) -> Array:
    """Matern-5/2 correlation, (N, M)."""
    return _shape(*_distances(left, right, scales))


def _distances(left: Array, right: Array, scales: Array) -> tuple[Array, Array]:
    """Give sqrt(5) times the scaled distances r, and exp(-sqrt(5) r), (N, M) each."""
    a, b = left * (_SQRT5 / scales), right * (_SQRT5 / scales)
    # In place where it can be: what fits into the cache need not be fetched anew, which takes half of the time.
    scaled: Array = (-2 * a) @ b.T
    scaled += (a**2).sum(1)[:, None]
    scaled += (b**2).sum(1)
    np.sqrt(np.maximum(scaled, 0.0, out=scaled), out=scaled)
    decay: Array = np.negative(scaled)
    return scaled, np.exp(decay, out=decay)


def _shape(scaled: Array, decay: Array) -> Array:
    """Give (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r)."""
    shape: Array = scaled * (1 / 3)
    shape += 1
    shape *= scaled
    shape += 1
    shape *= decay
    return shape
