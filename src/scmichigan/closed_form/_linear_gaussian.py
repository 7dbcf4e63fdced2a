"""Linear-Gaussian generator of expression given latents, fitted in closed form.

Legend: n cells, c columns of the condition, g genes, d noise dimensions.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

_OVERSAMPLING = 10
_N_POWER_ITERATIONS = 6


class LinearGaussian(NamedTuple):
    """Generator of expression from the condition c and standard normal eps: ``x = weight @ c + bias + loadings @ eps``.

    Shapes ``(n_genes, n_condition)``, ``(n_genes,)`` and ``(n_genes, n_noise)``.
    """

    weight: np.ndarray
    bias: np.ndarray
    loadings: np.ndarray


def fit_linear_gaussian(
    x: np.ndarray | sp.spmatrix,
    condition: np.ndarray,
    *,
    condition_var: np.ndarray | None = None,
    n_noise: int = 118,
    seed: int = 0,
) -> LinearGaussian:
    r"""Fit a generator of expression from a condition: a linear regression, and principal directions of its residuals.

    With variances, each cell's condition is a sample from :math:`N(\mu_n, \mathrm{diag}(v_n))`, and the fit is the exact
    expectation over the samples: the weights are :math:`A = C_{x\mu} (C_{\mu\mu} + \mathrm{diag}(\bar v))^{-1}`, and the
    residuals' covariance is that of :math:`x - A \mu` plus :math:`A\, \mathrm{diag}(\bar v) A^T`.

    Parameters
    ----------
    x
        Expression, shape ``(n_cells, n_genes)``, dense or sparse.
    condition, condition_var
        Means and variances of the condition, shape ``(n_cells, n_condition)``; ``None`` for no variance.
    n_noise, seed
        Number of noise dimensions (zero where the data have fewer); random seed.

    References
    ----------
    Tipping and Bishop 1999, "Probabilistic principal component analysis", for principal directions as maximum-likelihood
    loadings; Halko, Martinsson and Tropp 2011, algorithm 4.4, for a decomposition by products with the residuals.
    """
    n, g = x.shape
    mean_x = np.asarray(x.mean(axis=0), dtype=np.float64).ravel()
    mean_c = condition.mean(axis=0, dtype=np.float64)
    c_nc = condition.astype(np.float64) - mean_c
    mean_var = np.zeros(c_nc.shape[1]) if condition_var is None else condition_var.mean(axis=0, dtype=np.float64)

    # Centred conditions sum to zero, so the mean of x drops out of the cross product and x stays sparse.
    cross_cg = np.asarray(x.T @ c_nc).T
    gram_cc = c_nc.T @ c_nc + n * np.diag(mean_var)
    # One-hot columns of a covariate sum to one, so the rank is deficient; lstsq takes the solution of minimum norm.
    weight_gc = np.linalg.lstsq(gram_cc, cross_cg, rcond=1e-10)[0].T
    bias_g = mean_x - weight_gc @ mean_c

    # Rows of the residual matrix: cells, then one for each condition column, which add the variance of the samples.
    extra_cg = np.sqrt(n * mean_var)[:, None] * weight_gc.T

    def residual_times(v: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(x @ v) - mean_x @ v - c_nc @ (weight_gc.T @ v), extra_cg @ v])

    def residual_transposed_times(u: np.ndarray) -> np.ndarray:
        cells, extra = u[:n], extra_cg.T @ u[n:]
        return np.asarray(x.T @ cells) - np.outer(mean_x, cells.sum(axis=0)) - weight_gc @ (c_nc.T @ cells) + extra

    n_directions = min(n_noise, n - 1, g)
    sketch = np.random.default_rng(seed).standard_normal((g, min(n_directions + _OVERSAMPLING, g)))
    for _ in range(_N_POWER_ITERATIONS):
        sketch, _ = np.linalg.qr(residual_transposed_times(residual_times(sketch)))
    _, singular, rotation = np.linalg.svd(residual_times(sketch), full_matrices=False)
    loadings_gd = np.zeros((g, n_noise))
    loadings_gd[:, :n_directions] = (sketch @ rotation.T * (singular / np.sqrt(n)))[:, :n_directions]
    return LinearGaussian(*(a.astype(np.float32) for a in (weight_gc, bias_g, loadings_gd)))
