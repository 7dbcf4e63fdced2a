"""Rank correlation of latents and factors. Legend: n cells, k latents, f factors."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from . import _factors
from ._metric import DISENTANGLEMENT, GENERATOR, Latents, Metric, once


def spearman_correlation(mean: np.ndarray, factors: pd.DataFrame) -> pd.DataFrame:
    """Absolute Spearman correlation of each latent with each factor (Yu and Welch 2021).

    Latents x factors, from 0 (no monotonic relation, or a constant latent) to 1. A relation that rises and falls can
    have 0: see :func:`mutual_information`. Ties of a factor of few values keep even a perfect latent below 1 (0.87 for
    two values of equal numbers of cells).

    Parameters
    ----------
    mean
        Latents, shape ``(n_cells, n_latent)``: posterior means, or codes of a generator.
    factors
        As in :func:`mutual_information`, but numbers, booleans, ordered categoricals, or anything with two values.
        Another factor without an order is an error.
    """
    mean_nk = _factors.checked_mean(mean)
    _factors.check_factors(factors, mean_nk)
    columns = [_absolute_correlation(mean_nk, _ranked(factors[name])) for name in factors.columns]
    return _factors.latents_by_factors(np.column_stack(columns), factors)


def spearman_gap(correlation: pd.DataFrame) -> float:
    """Spearman gap: whether each factor correlates with one latent, and with no other; 1 is best (Yu and Welch 2021).

    The mean over factors of the difference between the two largest values, from 0 to 1. Ties of a factor of few values
    keep it lower (see :func:`spearman_correlation`). The paper finds that it favours linear methods, whose latents are
    monotonic in the factors: show :func:`mutual_information_gap` too.

    Parameters
    ----------
    correlation
        Latents x factors, as :func:`spearman_correlation` returns it; two latents or more.
    """
    return _factors.mean_gap(correlation, "correlation")


def has_order(factor: pd.Series) -> bool:
    """Whether the factor's values have ranks: numbers, an ordered categorical, or anything with two values."""
    factor = factor.infer_objects()
    return pd.api.types.is_numeric_dtype(factor) or _is_ordered(factor) or factor.nunique() <= 2


def _is_ordered(factor: pd.Series) -> bool:
    return isinstance(factor.dtype, pd.CategoricalDtype) and factor.cat.ordered


def _ranked(factor: pd.Series) -> np.ndarray:
    """Numbers whose order is that of the factor's values; NaN where missing."""
    factor = factor.infer_objects()
    if pd.api.types.is_numeric_dtype(factor):
        value_n = _factors.numbers(factor).to_numpy()
    else:
        codes_n = factor.cat.codes.to_numpy() if _is_ordered(factor) else pd.factorize(factor)[0]
        value_n = np.where(codes_n < 0, np.nan, codes_n)
    n_values = len(np.unique(value_n[~np.isnan(value_n)]))
    _factors.check_not_constant(factor.name, n_values)
    if not has_order(factor):
        raise ValueError(
            f"factor {factor.name!r} has {n_values} values without an order, and so no ranks; give numbers or an "
            "ordered categorical, or leave it out"
        )
    return value_n


def _absolute_correlation(mean_nk: np.ndarray, value_n: np.ndarray) -> np.ndarray:
    held = ~np.isnan(value_n)
    mean_nk, value_n = mean_nk[held], value_n[held]
    correlation_k = np.zeros(mean_nk.shape[1])
    for k in np.flatnonzero(_factors.varies(mean_nk)):
        correlation_k[k] = abs(spearmanr(mean_nk[:, k], value_n).statistic)
    return correlation_k


@once
def correlation_of(column: Latents) -> pd.DataFrame | None:
    """Spearman correlation of a column with its factors that have an order."""
    ordered_nf = column.factors_nf[column.ordered]
    return None if ordered_nf.empty else _factors.of_varied(spearman_correlation, column.mean_nk, ordered_nf)


_gap = lambda column: spearman_gap(correlation_of(column)) if column.ordered else np.nan
ROWS = (Metric("Spearman gap", (DISENTANGLEMENT, GENERATOR), spearman_gap, _gap, 0, 1, 1, "Yu and Welch 2021"),)
