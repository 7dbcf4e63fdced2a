"""Mutual information of latents and factors under the aggregate posterior.

Legend: n cells, k latents, f factors, v values of a factor, t points of a grid.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr
from sklearn.metrics import mutual_info_score

_N_BINS = 20
_MIN_INTERVALS, _MAX_INTERVALS = 512, 32_768
_REACH = 6.0
_BLOCK_VALUES = 4_000_000


def mutual_information(
    mean: np.ndarray,
    factors: pd.DataFrame,
    *,
    var: np.ndarray | None = None,
    n_quantiles: int = 4,
    normalize: bool = True,
) -> pd.DataFrame:
    r"""Mutual information of each latent with each factor.

    .. math:: I(z_k; v) = H(z_k) - \sum_v p(v) H(z_k | v)

    with the differential entropies of the aggregate posteriors :math:`q(z_k) = \frac{1}{N} \sum_n q(z_k | x_n)` of all
    cells, and of the cells with value v. The densities are exact in the cells given (mixtures of their posteriors); the
    integrals are taken on a grid four times as fine as the narrowest posteriors.

    Parameters
    ----------
    mean
        Posterior means, shape ``(n_cells, n_latent)``.
    factors
        One column a factor, one row a cell. Floating-point columns are cut at their quantiles, all others are taken as
        categories. Cells with a missing value are left out for that factor.
    var
        Posterior variances, shape ``(n_cells, n_latent)``. Without them, latents are cut into 20 bins of equal numbers
        of cells, and the information is that of the bins.
    n_quantiles
        Bins of floating-point factors (the paper takes quartiles of the library size).
    normalize
        Divide by the factor's entropy H(v): 0 is no information, 1 is all of it.

    Returns
    -------
    Latents x factors: in nats, or between 0 and 1 where normalised. ``attrs["estimator"]`` says which one was used,
    ``"aggregate posterior"`` or ``"binned"``.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, a variance is not positive, or a factor has a single value.

    References
    ----------
    Chen et al. 2018, section 4.1; Yu and Welch 2021, "Mutual information".
    """
    mean_nk, var_nk = _checked(mean, factors, var)
    codes_nf = np.column_stack([_codes(factors[name], n_quantiles) for name in factors.columns])
    rows = []
    for k in range(mean_nk.shape[1]):
        if var_nk is None:
            rows.append(
                [_binned_information(mean_nk[codes_n >= 0, k], codes_n[codes_n >= 0]) for codes_n in codes_nf.T]
            )
        else:
            rows.append(_posterior_information(mean_nk[:, k], np.sqrt(var_nk[:, k]), codes_nf))
    table = pd.DataFrame(rows, index=[f"latent {k + 1}" for k in range(len(rows))], columns=list(factors.columns))
    if normalize:
        table /= [_entropy(codes_n[codes_n >= 0]) for codes_n in codes_nf.T]
    table.attrs["estimator"] = "binned" if var_nk is None else "aggregate posterior"
    return table


def mutual_information_gap(information: pd.DataFrame) -> float:
    """Mean over factors of the gap between the two latents that know most of it.

    Parameters
    ----------
    information
        Latents x factors, normalised, as :func:`mutual_information` returns it.

    Returns
    -------
    From 0 (each factor is known to two latents alike, or to none) to 1, which is best: each factor is wholly known to
    one latent and unknown to the others.

    Raises
    ------
    ValueError
        If there are fewer than two latents or no factor.

    References
    ----------
    Chen et al. 2018, equation 6; Yu and Welch 2021, "Mutual information".
    """
    if information.shape[0] < 2 or information.shape[1] < 1:
        raise ValueError(
            f"information has {information.shape[0]} latents and {information.shape[1]} factors; a gap needs at least "
            "2 latents and 1 factor"
        )
    ordered = np.sort(information.to_numpy(), axis=0)
    return float((ordered[-1] - ordered[-2]).mean())


def _checked(mean: np.ndarray, factors: pd.DataFrame, var: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    mean_nk = np.asarray(mean, dtype=np.float64)
    if mean_nk.ndim != 2 or len(mean_nk) != len(factors):
        raise ValueError(f"mean has shape {mean_nk.shape}, factors have {len(factors)} rows; both need one row a cell")
    if not np.isfinite(mean_nk).all():
        raise ValueError("mean is not finite everywhere; compute the latent again")
    if var is None:
        return mean_nk, None
    var_nk = np.asarray(var, dtype=np.float64)
    if var_nk.shape != mean_nk.shape:
        raise ValueError(f"var has shape {var_nk.shape}, mean {mean_nk.shape}; they must be the same")
    if not (np.isfinite(var_nk).all() and (var_nk > 0).all()):
        raise ValueError("var must be finite and positive everywhere; leave it out where a latent has no variance")
    return mean_nk, var_nk


def _codes(factor: pd.Series, n_quantiles: int) -> np.ndarray:
    """Integer value of each cell; -1 where it is missing."""
    if pd.api.types.is_float_dtype(factor):
        factor = pd.qcut(factor, n_quantiles, duplicates="drop")
    codes, values = pd.factorize(factor)
    if len(values) < 2:
        raise ValueError(
            f"factor {factor.name!r} has {len(values)} different values; there is no information about a constant, "
            "leave it out"
        )
    return codes


def _entropy(codes_n: np.ndarray) -> float:
    p_v = np.bincount(codes_n) / len(codes_n)
    p_v = p_v[p_v > 0]
    return float(-(p_v * np.log(p_v)).sum())


def _binned_information(mean_n: np.ndarray, codes_n: np.ndarray) -> float:
    bins = pd.factorize(pd.qcut(mean_n, _N_BINS, duplicates="drop"))[0] if np.ptp(mean_n) > 0 else codes_n * 0
    return float(mutual_info_score(codes_n, bins))


def _posterior_information(mean_n: np.ndarray, scale_n: np.ndarray, codes_nf: np.ndarray) -> list[float]:
    """Information with each factor, from the probabilities of narrow intervals of the latent."""
    edges_t = _grid(mean_n, scale_n)
    members = [codes_n == np.arange(codes_n.max() + 1)[:, None] for codes_n in codes_nf.T]
    member_vn = np.concatenate(members).astype(np.float64)
    cdf_vt = np.zeros((len(member_vn), len(edges_t)))
    block = max(1, _BLOCK_VALUES // len(edges_t))
    for start in range(0, len(mean_n), block):
        cells = slice(start, start + block)
        cdf_vt += member_vn[:, cells] @ ndtr((edges_t - mean_n[cells, None]) / scale_n[cells, None])
    masses = np.split(np.diff(cdf_vt, axis=1), np.cumsum([len(m) for m in members])[:-1])
    return [_information_of_table(mass_vt) for mass_vt in masses]


def _information_of_table(mass_vt: np.ndarray) -> float:
    joint_vt = mass_vt / mass_vt.sum()
    product_vt = joint_vt.sum(axis=1, keepdims=True) * joint_vt.sum(axis=0)
    held = joint_vt > 0
    return max(0.0, float((joint_vt[held] * np.log(joint_vt[held] / product_vt[held])).sum()))


def _grid(mean_n: np.ndarray, scale_n: np.ndarray) -> np.ndarray:
    """Edges fine enough for the narrowest posteriors, and wide enough for all."""
    low, high = (mean_n - _REACH * scale_n).min(), (mean_n + _REACH * scale_n).max()
    n_intervals = np.clip(4 * (high - low) / np.quantile(scale_n, 0.01), _MIN_INTERVALS, _MAX_INTERVALS)
    return np.linspace(low, high, int(n_intervals) + 1)
