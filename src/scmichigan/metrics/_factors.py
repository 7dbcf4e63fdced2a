"""Latents and factors, checked and coded. Legend: n cells, k latents, f factors, v values of a factor."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from scmichigan._arrays import dense
from scmichigan._checks import check_at_least, counted


def checked_mean(mean: np.ndarray, *, at_least: int = 1) -> np.ndarray:
    """Posterior means as a finite double precision matrix of so many latents."""
    mean_nk = np.asarray(dense(mean), dtype=np.float64)
    if mean_nk.ndim != 2 or len(mean_nk) == 0 or mean_nk.shape[1] < at_least:
        raise ValueError(
            f"mean has shape {mean_nk.shape}; give cells x latents, at least 1 cell and {at_least} latent"
            f"{'s' * (at_least > 1)}"
        )
    if not np.isfinite(mean_nk).all():
        raise ValueError("mean is not finite everywhere; compute the latent again")
    return mean_nk


def checked_var(
    var: np.ndarray, mean_nk: np.ndarray, cure: str = "leave it out where a latent has no variance"
) -> np.ndarray:
    """Posterior variances, positive and of the shape of the means."""
    var_nk = np.asarray(dense(var), dtype=np.float64)
    if var_nk.shape != mean_nk.shape:
        raise ValueError(f"var has shape {var_nk.shape}, mean {mean_nk.shape}; they must be the same")
    if not (np.isfinite(var_nk).all() and (var_nk > 0).all()):
        raise ValueError(f"var must be finite and positive everywhere; {cure}")
    return var_nk


def check_factors(factors: pd.DataFrame, mean_nk: np.ndarray, *, at_least: int = 1) -> None:
    """Raise a ``ValueError`` unless there is one row a cell and one column for each of so many factors."""
    if not isinstance(factors, pd.DataFrame):
        raise ValueError(f"factors is a {type(factors).__name__}; give a DataFrame, such as adata.obs[['batch']]")
    if len(mean_nk) != len(factors):
        raise ValueError(f"mean has shape {mean_nk.shape}, factors have {len(factors)} rows; both need one row a cell")
    if factors.shape[1] < at_least:
        raise ValueError(f"factors has {factors.shape[1]} columns; give {at_least} or more")
    if not factors.columns.is_unique:
        repeated = factors.columns[factors.columns.duplicated()][0]
        raise ValueError(f"factors has the column {repeated!r} more than once; give each factor once")


def checked_sample(
    mean: np.ndarray, factors: pd.DataFrame, n_cells: int, seed: int, *, n_factors: int = 1
) -> tuple[np.ndarray, pd.DataFrame]:
    """Two or more latents and so many factors of random cells."""
    mean_nk = checked_mean(mean, at_least=2)
    check_factors(factors, mean_nk, at_least=n_factors)
    cells = sample_cells(len(mean_nk), n_cells, seed)
    return mean_nk[cells], factors.iloc[cells]


def sample_cells(n: int, n_cells: int, seed: int) -> np.ndarray:
    """Positions of ``n_cells`` random cells without replacement, of all of them where there are no more."""
    check_at_least(1, n_cells=n_cells)
    return np.arange(n) if n <= n_cells else np.sort(np.random.default_rng(seed).choice(n, n_cells, replace=False))


def varies(mean_nk: np.ndarray) -> np.ndarray:
    """Which latents are more than a constant in single precision, shape ``(n_latent,)``."""
    return np.ptp(mean_nk, axis=0) > np.finfo(np.float32).eps * np.abs(mean_nk).max(axis=0)


def standardised(mean_nk: np.ndarray) -> np.ndarray:
    """The latents that vary, centred and divided by their standard deviations."""
    mean_nk = mean_nk[:, varies(mean_nk)]
    return (mean_nk - mean_nk.mean(axis=0)) / mean_nk.std(axis=0)


def codes_of(factors: pd.DataFrame, n_quantiles: int, *, min_cells: int = 1) -> np.ndarray:
    """Integer value of each cell and factor; floats of more than ``n_quantiles`` values are cut at their quantiles."""
    check_at_least(2, n_quantiles=n_quantiles)
    columns = [factors[name] for name in factors.columns]
    cut = [_cut(factor, n_quantiles) if pd.api.types.is_float_dtype(factor) else factor for factor in columns]
    return np.column_stack([category_codes(factor, min_cells=min_cells) for factor in cut])


def category_codes(factor: pd.Series, *, min_cells: int = 1) -> np.ndarray:
    """Integer value of each cell; -1 where it is missing, or fewer than ``min_cells`` cells have it."""
    codes_n, values = pd.factorize(factor)
    cells_v = np.bincount(codes_n[codes_n >= 0], minlength=len(values))
    if 2 * len(values) > max(cells_v.sum(), 4):
        raise ValueError(
            f"factor {factor.name!r} has {len(values)} different values in {cells_v.sum()} cells, too many for "
            "categories; give numbers as floating point, or merge values"
        )
    kept_v = cells_v >= min_cells
    check_not_constant(factor.name, int(kept_v.sum()), min_cells)
    code_v = np.append(np.where(kept_v, np.cumsum(kept_v) - 1, -1), -1)  # the last is that of missing values
    return code_v[codes_n]


def _cut(factor: pd.Series, n_quantiles: int) -> pd.Series:
    values = numbers(factor)
    if values.nunique() <= n_quantiles:
        return values
    cut = pd.Series(np.nan, index=values.index, name=values.name)  # a new one, as values may be the user's own
    held = values.notna()
    cut[held] = quantile_bins(values[held].to_numpy(), n_quantiles)
    if cut.nunique() < 2:
        raise ValueError(
            f"the {n_quantiles} quantiles of factor {factor.name!r} coincide, as most cells have its largest value, "
            f"{values.max() + 0:g}; give categories, such as whether it is below that"
        )
    return cut


def quantile_bins(value_n: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin of each cell, in bins of equal numbers; unlike :func:`pandas.qcut`, ties at the least have their own bin."""
    return np.searchsorted(np.quantile(value_n, np.arange(1, n_bins) / n_bins), value_n)


def numbers(factor: pd.Series) -> pd.Series:
    """A numeric column in double precision, NaN where missing."""
    values = pd.Series(factor.to_numpy(dtype=np.float64, na_value=np.nan), name=factor.name)
    if np.isinf(values).any():
        raise ValueError(f"factor {factor.name!r} has infinite values; set them to missing")
    return values


def check_not_constant(name: object, n_values: int, min_cells: int = 1) -> None:
    """Raise a ``ValueError`` that names the factor unless it has two values or more."""
    if n_values < 2:
        held = "" if min_cells == 1 else f" that at least {min_cells} cells have"
        raise ValueError(
            f"factor {name!r} has {counted(n_values, 'different value')}{held}; there is no information about a constant, "
            "leave it out"
        )


def latents_by_factors(values_kf: np.ndarray, factors: pd.DataFrame) -> pd.DataFrame:
    """Label a table with a row for each latent and a column for each factor."""
    return pd.DataFrame(values_kf, index=[f"latent {k + 1}" for k in range(len(values_kf))], columns=factors.columns)


def of_varied(relation: Callable[..., pd.DataFrame], mean_nk: np.ndarray, factors_nf: pd.DataFrame) -> pd.DataFrame:
    """Relation of latents and factors; 0 for a factor that is the same in all cells."""
    varied = factors_nf.loc[:, factors_nf.nunique() > 1]
    if varied.empty:
        return latents_by_factors(np.zeros((mean_nk.shape[1], factors_nf.shape[1])), factors_nf)
    return relation(mean_nk, varied).reindex(columns=factors_nf.columns, fill_value=0.0)


def mean_gap(table: pd.DataFrame, name: str) -> float:
    """Mean over factors of the difference between the two largest values."""
    if table.shape[0] < 2 or table.shape[1] < 1:
        raise ValueError(
            f"{name} has {table.shape[0]} latents and {table.shape[1]} factors; a gap needs at least 2 latents and 1 "
            "factor"
        )
    ordered_kf = np.sort(np.asarray(table, dtype=np.float64), axis=0)
    return float((ordered_kf[-1] - ordered_kf[-2]).mean())
