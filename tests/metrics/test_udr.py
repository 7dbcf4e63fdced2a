import numpy as np
import pytest
from scipy.stats import spearmanr

from scmichigan.metrics import udr_score

# Three latents whose ranks are uncorrelated by design: every combination once.
GRID = np.stack(np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0, 3.0], [-1.0, 0.0, 7.0], indexing="ij"), -1).reshape(-1, 3)


def test_the_same_latents_in_another_order_sign_and_scale_agree_fully():
    others = [GRID[:, [2, 0, 1]] * [-1, 5, 1], np.exp(GRID[:, [1, 2, 0]])]
    assert udr_score([GRID, *others]) == pytest.approx(np.ones(3))


def test_a_mixture_has_what_its_correlations_give():
    cells = np.random.default_rng(0).permuted(np.tile(np.arange(40.0)[:, None], 2), axis=0)
    mixed = cells @ [[1, 1], [1, -1]]
    r = np.abs(spearmanr(cells, mixed).statistic[:2, 2:])
    by_hand = [r[0].max() ** 2 / r[0].sum(), r[1].max() ** 2 / r[1].sum()]
    by_hand += [r[:, 0].max() ** 2 / r[:, 0].sum(), r[:, 1].max() ** 2 / r[:, 1].sum()]
    assert udr_score([cells, mixed]) == pytest.approx(np.full(2, np.mean(by_hand)))
    assert udr_score([cells, mixed])[0] < 0.6


def test_unrelated_latents_hardly_agree():
    rng = np.random.default_rng(1)
    scores = udr_score([rng.normal(size=(2000, 5)) for _ in range(3)])
    # Correlations are about 1 / sqrt(2000) = 0.022 each; the largest of five is below four of these, and the ratio below it.
    assert (scores < 4 * 0.0224).all()


def test_the_median_pair_counts():
    rng = np.random.default_rng(2)
    odd = rng.permutation(GRID)
    scores = udr_score([GRID, GRID[:, ::-1], -GRID, odd])
    # Each of the three has two perfect pairs and the odd one; the odd one has none.
    assert scores[:3] == pytest.approx(np.ones(3))
    assert scores[3] < 0.8


@pytest.mark.parametrize("unused", [1, 1.3, 0.8])  # a posterior that all cells share need not be the prior
def test_latents_that_carry_nothing_do_not_count(unused):
    rng = np.random.default_rng(3)
    noise = rng.normal(scale=1e-3, size=(27, 2))
    means = [np.column_stack([GRID, noise]), np.column_stack([noise[::-1], GRID])]
    variances = [np.r_[[0.1] * 3, [unused] * 2] * np.ones((27, 1)), np.r_[[unused] * 2, [0.1] * 3] * np.ones((27, 1))]
    assert udr_score(means, variances) == pytest.approx(np.ones(2))
    assert udr_score([GRID, np.column_stack([GRID, np.full(27, 0.3)])]) == pytest.approx(np.ones(2))
    prior = np.zeros_like(GRID), np.ones_like(GRID)
    assert udr_score([GRID, prior[0]], [np.full_like(GRID, 0.1), prior[1]]) == pytest.approx(np.zeros(2))


@pytest.mark.parametrize(
    ("means", "variances", "message"),
    [
        ([GRID], None, "means has 1 model"),
        ([GRID, GRID[:20]], None, r"means have \[27, 20\] cells"),
        ([GRID, GRID], [np.ones_like(GRID)], "variances has 1 models, means 2"),
        ([GRID, GRID * np.nan], None, "not finite"),
        ([GRID, GRID], [np.ones_like(GRID), np.zeros_like(GRID)], "positive"),
    ],
)
def test_bad_input_says_what_and_how(means, variances, message):
    with pytest.raises(ValueError, match=message):
        udr_score(means, variances)
