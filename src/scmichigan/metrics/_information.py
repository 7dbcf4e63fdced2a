"""Mutual information. Legend: n cells, k latents, f factors, v values of a factor, t points of a grid."""

from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

from . import _factors
from ._metric import DISENTANGLEMENT, GENERATOR, Latents, Metric, once

_ESTIMATORS = ("auto", "aggregate posterior", "knn", "binned")
_N_NEIGHBOURS = 3
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
    estimator: Literal["auto", "aggregate posterior", "knn", "binned"] = "auto",
    n_cells: int = 12_000,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Mutual information of each latent with each factor: how much a latent says about, for example, the cell type.

    .. math:: I(z_k; v) = H(z_k) - \sum_v p(v) H(z_k | v)

    with the differential entropies of the latent in all cells, and in those with value v (Chen et al. 2018, section
    4.1).

    Parameters
    ----------
    mean, var
        Posterior means, and variances where there are any, shape ``(n_cells, n_latent)``.
    factors, n_quantiles
        One column a factor, one row a cell. Floating-point columns with more than ``n_quantiles`` values are cut at
        their quantiles (Yu and Welch 2021 take quartiles of the library size), all others are categories. Cells with a
        missing value are left out for that factor.
    normalize
        Divide by the factor's entropy H(v): 0 is no information, 1 is all of it.
    estimator
        ``"aggregate posterior"`` needs ``var``. It takes the densities of the aggregate posteriors
        :math:`q(z_k) = \frac{1}{N} \sum_n q(z_k | x_n)`, which are exact in the cells given, and integrates on a grid
        four times as fine as the narrowest posteriors. The others use the means alone: ``"knn"`` the distances to the
        third nearest neighbours (Ross 2014, equation 2), ``"binned"`` 20 bins of equal numbers of cells, which loses
        what is finer than a bin and gains about (bins - 1)(values - 1) / (2 cells) nats by chance. ``"auto"`` is the
        aggregate posterior where there are variances, and neighbours where there are none.
    n_cells, seed
        Cells to use; of more, a random sample (the paper's number). Random seed, also of the noise, far below single
        precision, that breaks ties between neighbours.

    Returns
    -------
    Latents x factors: in nats, from 0 to H(v), or from 0 to 1 where normalised; estimates outside are set to these. A
    latent that is the same in all cells has 0 in the means. ``attrs["estimator"]`` says which one was used.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, a variance is not positive, a factor has a single value or more than
        one for every two cells, or the estimator is unknown or lacks variances.
    """
    mean_nk = _factors.checked_mean(mean)
    _factors.check_factors(factors, mean_nk)
    var_nk = None if var is None else _factors.checked_var(var, mean_nk)
    estimator = _chosen(estimator, has_var=var is not None)
    cells = _factors.sample_cells(len(mean_nk), n_cells, seed)
    mean_nk, codes_nf = mean_nk[cells], _factors.codes_of(factors.iloc[cells], n_quantiles)
    if estimator == "aggregate posterior":
        latents = zip(mean_nk.T, np.sqrt(var_nk[cells]).T, strict=True)
        information_kf = np.array([_posterior_information(*latent, codes_nf) for latent in latents])
    else:
        of_means = _binned_information if estimator == "binned" else partial(_neighbour_information, seed=seed)
        held = [(mean_nk[codes_n >= 0], codes_n[codes_n >= 0]) for codes_n in codes_nf.T]
        information_kf = np.column_stack([of_means(*cells_held) for cells_held in held])
    entropy_f = np.array([_entropy(codes_n[codes_n >= 0]) for codes_n in codes_nf.T])
    information_kf = np.clip(information_kf, 0, entropy_f)
    table = _factors.latents_by_factors(information_kf / entropy_f if normalize else information_kf, factors)
    table.attrs["estimator"] = estimator
    return table


def mutual_information_gap(information: pd.DataFrame) -> float:
    """Mutual information gap (MIG): whether each factor is in one latent, and in no other; 1 is best.

    The mean over factors of the difference between the two largest values, from 0 to 1 (Chen et al. 2018, equation 6).
    0: two latents have the same information, or none has any.

    Parameters
    ----------
    information
        Normalised latents x factors, as :func:`mutual_information` returns it; two latents or more.
    """
    return _factors.mean_gap(information, "information")


def _chosen(estimator: str, *, has_var: bool) -> str:
    if estimator not in _ESTIMATORS:
        raise ValueError(f"estimator is {estimator!r}; give one of {', '.join(map(repr, _ESTIMATORS))}")
    if estimator == "aggregate posterior" and not has_var:
        raise ValueError("estimator 'aggregate posterior' needs posterior variances; give var, or take 'knn'")
    if estimator == "auto":
        return "aggregate posterior" if has_var else "knn"
    return estimator


def _entropy(codes_n: np.ndarray) -> float:
    p_v = np.bincount(codes_n) / len(codes_n)
    p_v = p_v[p_v > 0]
    return float(-(p_v * np.log(p_v)).sum())


def _binned_information(mean_nk: np.ndarray, codes_n: np.ndarray) -> np.ndarray:
    information_k = np.zeros(mean_nk.shape[1])
    for k in np.flatnonzero(_factors.varies(mean_nk)):
        information_k[k] = mutual_info_score(codes_n, _factors.quantile_bins(mean_nk[:, k], _N_BINS))
    return information_k


def _neighbour_information(mean_nk: np.ndarray, codes_n: np.ndarray, seed: int) -> np.ndarray:
    information_k = np.zeros(mean_nk.shape[1])
    # scikit-learn breaks ties by noise relative to the mean: centred first, noise stays small beside the latent.
    # A constant would be noise alone, which knows nothing but for chance.
    if (moving := _factors.varies(mean_nk)).any():
        options = {"discrete_features": False, "n_neighbors": _N_NEIGHBOURS, "random_state": seed}
        information_k[moving] = mutual_info_classif(_factors.standardised(mean_nk), codes_n, **options)
    return information_k


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
    return float((joint_vt[held] * np.log(joint_vt[held] / product_vt[held])).sum())


def _grid(mean_n: np.ndarray, scale_n: np.ndarray) -> np.ndarray:
    """Edges fine enough for the narrowest posteriors, and wide enough for all."""
    low, high = (mean_n - _REACH * scale_n).min(), (mean_n + _REACH * scale_n).max()
    n_intervals = np.clip(4 * (high - low) / np.quantile(scale_n, 0.01), _MIN_INTERVALS, _MAX_INTERVALS)
    return np.linspace(low, high, int(n_intervals) + 1)


@once
def information_of(column: Latents) -> pd.DataFrame:
    """Mutual information of a column, under the aggregate posterior where it has variances."""
    of_latent = partial(mutual_information, var=column.var_nk, n_cells=column.n_cells, seed=column.seed)
    return _factors.of_varied(of_latent, column.mean_nk, column.factors_nf)


def _row(kind: str, has_var: bool, source: str, *questions: str) -> Metric:
    # No two kinds share a row: their values do not compare.
    def compute(column: Latents) -> float | None:
        return mutual_information_gap(information_of(column)) if has_var == (column.var_nk is not None) else None

    return Metric(f"MIG, {kind}", questions, mutual_information_gap, compute, 0, 1, 1, source)


ROWS = (
    _row("aggregate posterior", True, "Chen et al. 2018", DISENTANGLEMENT),
    _row("nearest neighbours", False, "Ross 2014", DISENTANGLEMENT, GENERATOR),
)
