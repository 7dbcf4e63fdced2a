"""How well factors are predicted from latents, and from how many of them. Legend: n cells, k latents, f factors."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.svm import LinearSVC

from scmichigan._checks import check_at_least

from . import _factors
from ._metric import DISENTANGLEMENT, Latents, Metric, once

_EVERY_FIFTH = 5
_SVM_C = 0.01
_TINY = 1e-12
_MAX_DOUBLINGS = 50  # within double precision


@dataclass(frozen=True, eq=False)
class DCI:
    """Result of :func:`dci`: three scores from 0 to 1, which is best, and the importances that they come from.

    ``disentanglement`` is 1 where each latent matters for one factor only, ``completeness`` where each factor needs one
    latent only. ``informativeness`` is the accuracy on held-out cells, mean over factors; chance is the frequency of a
    factor's most common value. ``importance`` is latents x factors; columns sum to 1, or are 0 where nothing is of use.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: pd.DataFrame = field(repr=False)


def dci(
    mean: np.ndarray,
    factors: pd.DataFrame,
    *,
    n_trees: int = 100,
    n_quantiles: int = 4,
    n_cells: int = 4000,
    seed: int = 0,
) -> DCI:
    r"""Disentanglement, completeness and informativeness (DCI): how factors are predicted, and from how many latents.

    Gradient boosted trees predict each factor from all latents. With the importance :math:`R_{kf}` of latent k for
    factor f (decrease of impurity),

    .. math::

        D = \sum_k \rho_k \left(1 - H_F\!\left(\frac{R_{k\cdot}}{\sum_f R_{kf}}\right)\right), \quad
        C = \sum_f \gamma_f \left(1 - H_K\!\left(\frac{R_{\cdot f}}{\sum_k R_{kf}}\right)\right)

    where :math:`H_F` is the entropy to the base of the number of factors and :math:`H_K` that of latents, and
    :math:`\rho_k` and :math:`\gamma_f` are the fractions of all importances that a latent and a factor have (Eastwood
    and Williams 2018, section 2; trees and accuracy as in Locatello et al. 2019, appendix C).

    Parameters
    ----------
    mean, factors, n_quantiles, seed
        As in :func:`factor_vae_score`, with the same errors; two latents or more.
    n_trees
        Rounds of boosting; each grows a tree for each value of a factor (one tree if there are two). Fewer take less
        time in proportion, and raise disentanglement and completeness: compare values at equal numbers.
    n_cells
        Cells to use; of more, a random sample. A fifth of them, of each value, is held out. With 10 latents, and
        factors of 2, 2, 20 and 4 values, 4,000 cells take about 15 s on one core.
    """
    check_at_least(1, n_trees=n_trees)
    mean_nk, factors = _factors.checked_sample(mean, factors, n_cells, seed, n_factors=2)
    codes_nf = _factors.codes_of(factors, n_quantiles, min_cells=2)
    importance_fk, accuracy_f = [], []
    for codes_n in codes_nf.T:
        training, held_out = _split(codes_n, seed)
        trees = GradientBoostingClassifier(n_estimators=n_trees, random_state=seed)
        trees.fit(mean_nk[training], codes_n[training])
        importance_fk.append(trees.feature_importances_.clip(0))  # a split that gains nothing may round to below 0
        accuracy_f.append((trees.predict(mean_nk[held_out]) == codes_n[held_out]).mean())
    importance_kf = np.column_stack(importance_fk)
    return DCI(
        disentanglement=_concentration(importance_kf),
        completeness=_concentration(importance_kf.T),
        informativeness=float(np.mean(accuracy_f)),
        importance=_factors.latents_by_factors(importance_kf, factors),
    )


def sap(mean: np.ndarray, factors: pd.DataFrame, *, n_cells: int = 12_000, seed: int = 0) -> float:
    """Separated attribute predictability (SAP): whether each factor is predicted by one latent, and by no other.

    The mean over factors of the difference between the two largest scores, from about 0 upwards; higher is better. A
    latent's score is its squared correlation with a continuous factor. For one of categories it is the balanced
    accuracy on held-out cells of a linear support vector machine (one against the rest, C = 0.01, on the standardised
    latent). See Kumar et al. 2018, section 3, and Locatello et al. 2019, appendix C.

    Parameters
    ----------
    mean, factors, n_cells, seed
        As in :func:`mutual_information`, with the same errors, but two latents or more, and floating-point columns are
        continuous: give ordered numbers, such as time points, so. Values that a single cell has are left out.

    Notes
    -----
    A perfect latent has 1 for continuous factors. For v categories it has 1 - 1/v at most, as the second latent
    guesses, and that for up to four of them: lines hardly separate more on one axis (with 20, about 0.1). The column
    "best" of :func:`disentanglement` has the value for the factors given.
    """
    mean_nk, factors = _factors.checked_sample(mean, factors, n_cells, seed)
    columns = []
    for name in factors.columns:
        if pd.api.types.is_float_dtype(factors[name]):
            columns.append(_squared_correlation(mean_nk, _factors.numbers(factors[name])))
        else:
            columns.append(_separability(mean_nk, _factors.category_codes(factors[name], min_cells=2), seed))
    return _factors.mean_gap(_factors.latents_by_factors(np.column_stack(columns), factors), "scores")


def _best_sap(column: Latents) -> float:
    """SAP of the factors as their own latents: categories at equal distances or doubling ones, whichever is better."""
    gaps = []
    for _, factor in column.factors_nf.items():
        if pd.api.types.is_float_dtype(factor):
            gaps.append(1.0)
            continue
        codes_n = _factors.category_codes(factor, min_cells=2)
        places_nk = np.column_stack([codes_n, np.exp2(np.minimum(codes_n, _MAX_DOUBLINGS)), np.zeros(len(codes_n))])
        *perfect, guess = _separability(places_nk, codes_n, column.seed)
        gaps.append(max(perfect) - guess)
    return float(np.mean(gaps))


def _concentration(weight_rc: np.ndarray) -> float:
    """Mean over rows, by their sums, of 1 minus the entropy of the columns' shares: 0 (equal, or none) to 1 (one)."""
    total_r = weight_rc.sum(axis=1)
    if total_r.sum() == 0:
        return 0.0
    score_r = 1 - entropy(weight_rc + _TINY, base=weight_rc.shape[1], axis=1)
    return float(np.average(score_r, weights=total_r).clip(0, 1))


def _split(codes_n: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of four fifths and of one fifth of the cells with each value, also of values that few cells have."""
    order = np.lexsort((np.random.default_rng(seed).random(len(codes_n)), codes_n))[(codes_n < 0).sum() :]
    held_out = np.arange(len(order)) % _EVERY_FIFTH == 0
    return order[~held_out], order[held_out]


def _squared_correlation(mean_nk: np.ndarray, factor: pd.Series) -> np.ndarray:
    _factors.check_not_constant(factor.name, factor.nunique())
    held = factor.notna().to_numpy()
    mean_nk, value_n = mean_nk[held], factor.to_numpy()[held]
    moving = _factors.varies(mean_nk)
    score_k = np.zeros(mean_nk.shape[1])
    if moving.any():
        score_k[moving] = np.corrcoef(mean_nk[:, moving], value_n, rowvar=False)[-1, :-1] ** 2
    return score_k


def _separability(mean_nk: np.ndarray, codes_n: np.ndarray, seed: int) -> np.ndarray:
    training, held_out = _split(codes_n, seed)
    score_k = np.full(mean_nk.shape[1], 1 / len(np.unique(codes_n[held_out])))
    for k, z_n in zip(np.flatnonzero(_factors.varies(mean_nk)), _factors.standardised(mean_nk).T, strict=True):
        machine = LinearSVC(C=_SVM_C, class_weight="balanced", dual=False)
        machine.fit(z_n[training, None], codes_n[training])
        right = machine.predict(z_n[held_out, None]) == codes_n[held_out]
        score_k[k] = pd.Series(right).groupby(codes_n[held_out]).mean().mean()
    return score_k


@once
def _of_trees(column: Latents) -> DCI | None:
    several = column.factors_nf.shape[1] > 1
    return dci(column.mean_nk, column.factors_nf, n_cells=column.n_cells, seed=column.seed) if several else None


def _dci_row(value: str) -> Metric:
    compute = lambda column: getattr(_of_trees(column), value, np.nan)
    return Metric(f"DCI {value}", (DISENTANGLEMENT,), dci, compute, 0, 1, 1, "Eastwood and Williams 2018")


_sap = lambda column: sap(column.mean_nk, column.factors_nf, n_cells=column.n_cells, seed=column.seed)
ROWS = (
    _dci_row("disentanglement"),
    _dci_row("completeness"),
    _dci_row("informativeness"),
    Metric("SAP", (DISENTANGLEMENT,), sap, _sap, 0, 1, _best_sap, "Kumar et al. 2018"),
)
