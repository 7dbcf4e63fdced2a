"""FactorVAE and beta-VAE metrics. Legend: n cells, k latents, f factors, b votes or points."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scmichigan._checks import check_at_least

from ._factors import check_factors, checked_mean, codes_of, standardised
from ._metric import DISENTANGLEMENT, Latents, Metric

_MIN_SAMPLES = 20
_TRAINING_FRACTION = 0.8


def factor_vae_score(
    mean: np.ndarray,
    factors: pd.DataFrame,
    *,
    n_votes: int = 10_000,
    n_cells_per_vote: int = 40,
    n_quantiles: int = 4,
    seed: int = 0,
) -> float:
    """FactorVAE metric: whether the latent that varies least shows which factor is held fixed; 1 is best.

    For each vote, a factor and one of its values are chosen at random, as frequent as among the cells. Of cells with
    that value, the latent with the smallest variance, relative to its variance in all cells, is found. On four fifths
    of the votes, each latent learns the factor that was most often fixed when it varied least; the others are the test
    (Kim and Mnih 2018, section 4).

    Accuracy from about ``1 / n_factors``, which is chance, to 1: each factor has a latent of its own that no other
    factor changes. Copies of a latent do not lower it. Factors that go together in the cells keep it below 1. Fewer
    cells in a vote lower it, as variances of few cells are noisy: compare values at equal numbers.

    Parameters
    ----------
    mean, factors, n_quantiles
        As in :func:`mutual_information`, with the same errors, but two factors or more. Latents that are the same in
        all cells and values that a single cell has are left out.
    n_votes, seed
        Votes, for training and test. The standard error is at most ``1 / sqrt(0.8 * n_votes)``, 0.011. Random seed.
    n_cells_per_vote
        Cells of a vote, sampled without replacement; all cells with the value where there are fewer.
    """
    check_at_least(_MIN_SAMPLES, n_votes=n_votes)
    check_at_least(2, n_cells_per_vote=n_cells_per_vote)
    z_nk, groups_f = _prepared(mean, factors, n_quantiles)
    if z_nk.shape[1] == 0:
        return 1 / len(groups_f)
    rng = np.random.default_rng(seed)
    fixed_b = rng.integers(len(groups_f), size=n_votes)
    least_b = np.array([z_nk[groups_f[f].draw(n_cells_per_vote, rng)].var(axis=0).argmin() for f in fixed_b])
    n_training = int(_TRAINING_FRACTION * n_votes)
    votes_kf = np.zeros((z_nk.shape[1], len(groups_f)))
    np.add.at(votes_kf, (least_b[:n_training], fixed_b[:n_training]), 1)
    return float((votes_kf.argmax(axis=1)[least_b[n_training:]] == fixed_b[n_training:]).mean())


def beta_vae_score(
    mean: np.ndarray,
    factors: pd.DataFrame,
    *,
    n_points: int = 5000,
    n_pairs_per_point: int = 64,
    n_quantiles: int = 4,
    seed: int = 0,
) -> float:
    """beta-VAE metric: whether a linear classifier can say which factor pairs of cells have in common; 1 is best.

    For each point, a factor is chosen at random, and pairs of different cells with the same value of it. The point is
    the mean absolute difference of the latents over the pairs. A logistic regression learns the factor on four fifths
    of the points; the others are the test (Higgins et al. 2017, section 3).

    Accuracy from about ``1 / n_factors``, which is chance, to 1. 1 is easy to reach: it needs only different
    differences for each factor, not a latent for each, and is possible with one factor missing from the latents (Kim
    and Mnih 2018, section 4). :func:`factor_vae_score` is stricter.

    Parameters
    ----------
    mean, factors, n_quantiles, seed
        As in :func:`factor_vae_score`, with the same errors.
    n_points, n_pairs_per_point
        Points, for training and test, and pairs of cells that a point is the mean of. The standard error is at most
        ``1 / sqrt(0.8 * n_points)``, 0.016.
    """
    check_at_least(_MIN_SAMPLES, n_points=n_points)
    check_at_least(1, n_pairs_per_point=n_pairs_per_point)
    z_nk, groups_f = _prepared(mean, factors, n_quantiles)
    if z_nk.shape[1] == 0:
        return 1 / len(groups_f)
    rng = np.random.default_rng(seed)
    # Equal numbers of each factor, so that a guess is right in 1 / n_factors.
    fixed_b = rng.permutation(n_points) % len(groups_f)
    points_bk = np.empty((n_points, z_nk.shape[1]))
    for b, f in enumerate(fixed_b):
        first, second = groups_f[f].pairs(n_pairs_per_point, rng)
        points_bk[b] = np.abs(z_nk[first] - z_nk[second]).mean(axis=0)
    n_training = int(_TRAINING_FRACTION * n_points)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(points_bk[:n_training], fixed_b[:n_training])
    return float(classifier.score(points_bk[n_training:], fixed_b[n_training:]))


class _Groups(NamedTuple):
    """Cells in the order of a factor's value; where the group of each begins, and how many it has."""

    cells: np.ndarray
    start: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, codes_n: np.ndarray) -> "_Groups":
        cells = np.argsort(codes_n, kind="stable")[(codes_n < 0).sum() :]
        size_v = np.bincount(codes_n[cells])
        return cls(cells, np.repeat(np.cumsum(size_v) - size_v, size_v), np.repeat(size_v, size_v))

    def draw(self, n_cells: int, rng: np.random.Generator) -> np.ndarray:
        """Draw different cells with the value of a random cell."""
        at = rng.integers(len(self.cells))
        members = rng.choice(self.size[at], min(n_cells, self.size[at]), replace=False)
        return self.cells[self.start[at] + members]

    def pairs(self, n_pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw random cells, and for each a different one with the same value."""
        at = rng.integers(len(self.cells), size=n_pairs)
        start, size = self.start[at], self.size[at]
        return self.cells[at], self.cells[start + (at - start + rng.integers(1, size)) % size]


def _prepared(mean: np.ndarray, factors: pd.DataFrame, n_quantiles: int) -> tuple[np.ndarray, list[_Groups]]:
    mean_nk = checked_mean(mean)
    check_factors(factors, mean_nk, at_least=2)
    codes_nf = codes_of(factors, n_quantiles, min_cells=2)
    return standardised(mean_nk), [_Groups.of(codes_n) for codes_n in codes_nf.T]


def _row(name: str, metric: Callable[..., float], source: str) -> Metric:
    def compute(column: Latents) -> float:
        several = column.factors_nf.shape[1] > 1
        return metric(column.mean_nk, column.factors_nf, seed=column.seed) if several else np.nan

    return Metric(name, (DISENTANGLEMENT,), metric, compute, 0, 1, 1, source)


ROWS = (
    _row("FactorVAE metric", factor_vae_score, "Kim and Mnih 2018"),
    _row("beta-VAE metric", beta_vae_score, "Higgins et al. 2017"),
)
