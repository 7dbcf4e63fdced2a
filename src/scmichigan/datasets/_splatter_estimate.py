"""Estimates of the parameters of the Splat model from cells. Legend: n cells, g genes."""

import numpy as np
from scipy import sparse, stats
from scipy.optimize import least_squares, minimize
from scipy.special import expit, gammainc

from scmichigan._cells import Cells, in_layer, matrices

from ._dispersion import dispersion
from ._splatter_parameters import SplatterParameters

_MOST_FOR_NORMALITY = 5000
_WINSORISED = 0.1
_LEAST_CV2 = 1e-6


def estimate_splatter(cells: Cells, *, layer: str | None = None, seed: int = 0) -> SplatterParameters:
    r"""Estimate the parameters of :func:`splatter` from counts, as Splatter does.

    Cells without counts are left out. For the means, cells are scaled to the median total, and genes found in fewer than
    two cells are left out.

    - ``mean_shape``, ``mean_rate``: the gamma distribution with the smallest Cramér-von Mises distance from the genes'
      means, of which the lowest and the highest 10% are set to the quantiles there
    - ``lib_loc``, ``lib_scale``, ``lib_norm``: log-normal by maximum likelihood, or normal if the Shapiro-Wilk test of
      the totals has a p-value above 0.2
    - ``out_prob``, ``out_fac_loc``, ``out_fac_scale``: outliers are genes whose log mean is more than two (scaled) median
      absolute deviations above the median; their factors are their means divided by the median
    - ``bcv_common``, ``bcv_df``: 0.1 + 0.25 times the common dispersion of the negative binomial, and the prior degrees
      of freedom of the dispersions of single genes
    - ``dropout_mid``, ``dropout_shape``: least-squares fit of a logistic curve to the genes' fractions of zeros against
      their log means, if there is a fit; ``dropout_type`` stays ``"none"``, as the zeros of droplet data need no dropout

    Other parameters keep their defaults: one batch, one group, and the default path.

    Parameters
    ----------
    cells, layer
        Raw counts; the layer with them, X by default.
    seed
        Random seed. Of more than 5,000 cells, a random 5,000 are tested for normality.

    Returns
    -------
    Parameters for as many genes as are given, and as many cells as have counts.

    Raises
    ------
    KeyError, ValueError
        If there is no such layer; the values are no counts; no gene has enough counts for its dispersion; fewer than three
        cells have counts; or fewer than two genes are found in two cells.

    References
    ----------
    As of :func:`splatter`; for edgeR's dispersions McCarthy, Chen and Smyth 2012, and Chen, Lun and Smyth 2014.
    """
    (counts,) = matrices({"cells": in_layer(cells, layer, "cells")})
    counts = sparse.csr_array(counts).astype(float)
    counts.eliminate_zeros()
    if (counts.data < 0).any() or np.mod(counts.data, 1).any():
        raise ValueError("cells has negative values or fractions: give raw counts, in X or with layer=")
    counts = counts[counts.sum(axis=1) > 0]
    total_n = counts.sum(axis=1)
    n_found_g = np.bincount(counts.indices, minlength=counts.shape[1])
    found_g = n_found_g > 1
    if total_n.size < 3 or found_g.sum() < 2:
        raise ValueError(
            f"{total_n.size} cells have counts, and {found_g.sum()} genes are found in two or more: give at least "
            "3 such cells and 2 such genes"
        )
    mean_g = (np.median(total_n) / total_n @ counts)[found_g] / total_n.size
    zeros_g = 1 - n_found_g[found_g] / total_n.size
    common, prior_df = dispersion(counts)
    n_cells, n_genes = counts.shape
    found = {"bcv_common": 0.1 + 0.25 * common, "bcv_df": prior_df} | _means(mean_g) | _library(total_n, seed=seed)
    found |= _outliers(mean_g) | _dropout(mean_g, zeros_g)
    return SplatterParameters(n_genes=n_genes, batch_cells=n_cells, **found)


def _means(mean_g) -> dict[str, float]:
    x = np.sort(np.clip(mean_g, *np.quantile(mean_g, [_WINSORISED, 1 - _WINSORISED])))
    rank = (np.arange(x.size) + 0.5) / x.size

    def distance(log_parameters):
        shape, rate = np.exp(log_parameters)
        return np.sum((gammainc(shape, rate * x) - rank) ** 2)

    rate = x.mean() / max(x.var(), _LEAST_CV2 * x.mean() ** 2)  # start from the moments
    start, options = np.log([x.mean() * rate, rate]), {"xatol": 1e-6, "fatol": 1e-10}
    fit = minimize(distance, start, method="Nelder-Mead", options=options)
    shape, rate = np.exp(fit.x)
    return {"mean_shape": float(shape), "mean_rate": float(rate)}


def _library(total_n, *, seed) -> dict[str, float | bool]:
    rng = np.random.default_rng(seed)
    some_n = total_n if total_n.size <= _MOST_FOR_NORMALITY else rng.choice(total_n, _MOST_FOR_NORMALITY, replace=False)
    normal = np.ptp(some_n) > 0 and stats.shapiro(some_n).pvalue > 0.2
    x = total_n if normal else np.log(total_n)
    return {"lib_loc": float(x.mean()), "lib_scale": float(x.std()), "lib_norm": bool(normal)}


def _outliers(mean_g) -> dict[str, float]:
    log_mean_g = np.log(mean_g)
    bound = np.median(log_mean_g) + 2 * stats.median_abs_deviation(log_mean_g, scale="normal")
    outlier_g = log_mean_g > bound
    found = {"out_prob": float(outlier_g.mean())}
    if outlier_g.sum() > 1:
        log_factor = log_mean_g[outlier_g] - np.log(np.median(mean_g))
        found |= {"out_fac_loc": float(log_factor.mean()), "out_fac_scale": float(log_factor.std())}
    return found


def _dropout(mean_g, zeros_g) -> dict[str, float]:
    """Mid and shape, or nothing where the fractions of zeros determine neither."""
    log_mean_g = np.log(mean_g)
    if not np.ptp(zeros_g) > 0:
        return {}
    fit = least_squares(lambda at: expit(at[1] * (log_mean_g - at[0])) - zeros_g, x0=(0, -1), method="lm")
    return {"dropout_mid": float(fit.x[0]), "dropout_shape": float(fit.x[1])} if fit.success else {}
