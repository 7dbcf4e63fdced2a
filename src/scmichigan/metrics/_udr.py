"""Agreement of latents of different trainings. Legend: n cells, k latents of a model, l latents of another model."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from ._factors import checked_mean, checked_var, varies

_LEAST_NATS = 0.01


def udr_score(means: Sequence[np.ndarray], variances: Sequence[np.ndarray] | None = None) -> np.ndarray:
    r"""Unsupervised disentanglement ranking (UDR): whether different seeds give the same latents; 1 is best.

    Disentangled latents should be the same with each seed, but for order and sign. For two models with the absolute
    rank correlations :math:`R_{kl}` of their informative latents, K and L in number,

    .. math:: \frac{1}{K + L}
        \left[\sum_k \frac{\max_l R_{kl}^2}{\sum_l R_{kl}} + \sum_l \frac{\max_k R_{kl}^2}{\sum_k R_{kl}}\right]

    and the score of a model, from 0 (no latent is like one of another model, or none is informative) to 1, is the
    median of its pairs (Duan et al. 2020, with Spearman correlations). It knows no factors: latents that agree may mix
    or lack factors, as principal components do, which are the same with each seed.

    Parameters
    ----------
    means, variances
        Posterior means of two or more models, for the same cells, and their variances: shapes ``(n_cells, n_latent)``.
        A latent is informative if the KL divergence of its posteriors from the normal distribution with the mean and
        variance of all cells (in the paper: from the prior) is above 0.01 nats on average; without variances, if it
        varies.
    """
    if len(means) < 2:
        raise ValueError(
            f"means has {len(means)} model(s); give the latents of 2 or more, trained with different seeds"
        )
    if variances is not None and len(variances) != len(means):
        raise ValueError(f"variances has {len(variances)} models, means {len(means)}; give one for each, or none")
    ranks = list(map(_standard_ranks, means, [None] * len(means) if variances is None else variances))
    if len({len(rank_nk) for rank_nk in ranks}) > 1:
        raise ValueError(f"means have {[len(rank_nk) for rank_nk in ranks]} cells; give all models the same cells")
    pairs = np.full((len(ranks), len(ranks)), np.nan)
    for first in range(len(ranks)):
        for second in range(first):
            pairs[first, second] = pairs[second, first] = _pair(ranks[first], ranks[second])
    return np.nanmedian(pairs, axis=1)


def _standard_ranks(mean: np.ndarray, var: np.ndarray | None) -> np.ndarray:
    """Ranks of the informative latents, of mean 0 and length 1."""
    mean_nk = checked_mean(mean)
    informative = varies(mean_nk)
    if var is not None:
        var_nk = checked_var(var, mean_nk)
        of_all_k = mean_nk.var(axis=0) + var_nk.mean(axis=0)
        informative &= (np.log(of_all_k) - np.log(var_nk).mean(axis=0)) / 2 > _LEAST_NATS
    rank_nk = rankdata(mean_nk[:, informative], axis=0)
    rank_nk -= rank_nk.mean(axis=0)
    return rank_nk / np.linalg.norm(rank_nk, axis=0)


def _pair(rank_nk: np.ndarray, rank_nl: np.ndarray) -> float:
    r_kl = np.abs(rank_nk.T @ rank_nl)
    if r_kl.size == 0:
        return 0.0
    parts = [r_kl.max(axis=axis) ** 2 / np.maximum(r_kl.sum(axis=axis), np.finfo(float).tiny) for axis in (0, 1)]
    return float(np.concatenate(parts).mean())
