import numpy as np
import pytest

from scmichigan.combinations._transfer import (
    in_proportion,
    pair_by_depth,
    rectify_keeping_means,
    round_on_log_scale,
    sample_evenly,
    take_nearer,
)


def test_numbers_in_these_proportions():
    np.testing.assert_array_equal(in_proportion(10, [1, 1]), [5, 5])
    np.testing.assert_array_equal(in_proportion(7, [0.5, 0, 0.25]), [5, 0, 2])
    np.testing.assert_array_equal(in_proportion(1, [1, 1, 1]), [1, 0, 0])
    np.testing.assert_array_equal(in_proportion(9, [20, 30, 40]), [2, 3, 4])


@pytest.mark.parametrize("n_cells", [0, 3, 5, 14])
def test_no_cell_comes_back_before_all_have_come(n_cells):
    rows = np.array([2, 3, 5, 7, 11])
    sampled = sample_evenly(rows, n_cells, np.random.default_rng(0))
    counts = np.array([(sampled == row).sum() for row in rows])
    assert counts.sum() == len(sampled) == n_cells
    assert np.ptp(counts) <= 1


def test_pairs_are_of_the_same_rank():
    rng = np.random.default_rng(0)
    depth, candidates = rng.random(30), rng.permutation(100)[:30]
    candidate_depth = rng.random(30)
    pairs = pair_by_depth(depth, candidates, candidate_depth, rng)
    assert sorted(pairs) == sorted(candidates)
    of_pair = dict(zip(candidates, candidate_depth, strict=True))
    np.testing.assert_array_equal(np.argsort(depth), np.argsort([of_pair[pair] for pair in pairs]))
    few = pair_by_depth(depth[:4], candidates, candidate_depth, rng)
    assert len(set(few)) == 4
    assert list(np.argsort(depth[:4])) == list(np.argsort([of_pair[pair] for pair in few]))


def test_the_nearer_gene_is_taken_and_moved():
    source, partner = np.array([[1.0, 5, 3], [3, 7, 3]]), np.array([[10.0, 8, 4], [12, 12, 6]])
    moved = take_nearer(source, partner, means=(source.mean(0), partner.mean(0)), target_g=np.array([3.0, 9, 4]))
    # means 2, 6, 3 and 11, 10, 5: the last gene is as near in both, and stays with the source
    np.testing.assert_array_equal(moved, [[2, 7, 4], [4, 11, 4]])


def test_rectification_removes_negative_values_and_keeps_means():
    rng = np.random.default_rng(0)
    x = rng.normal(loc=[-2.0, -0.1, 0.1, 1.0, 8.0], size=(500, 5))
    rectified = rectify_keeping_means(x)
    assert rectified.min() >= 0
    np.testing.assert_allclose(rectified.mean(0), np.maximum(x.mean(0), 0), atol=1e-6)
    np.testing.assert_allclose(rectified[:, 4], x[:, 4], atol=1e-6)
    # One offset for all cells of a gene: differences between cells that stay positive are untouched.
    kept = (rectified[:, 2] > 0) & (x[:, 2] > 0)
    assert np.ptp((x - rectified)[kept, 2]) < 1e-12


def test_rectification_of_expression_that_is_nowhere_negative_changes_nothing():
    x = np.random.default_rng(1).random((20, 4), dtype=np.float32)
    np.testing.assert_allclose(rectify_keeping_means(x), x, atol=1e-6)


def test_counts_keep_each_value_on_the_log_scale():
    rng = np.random.default_rng(0)
    n = 100_000
    for scale, value in ((5.0, 0.0), (5.0, 0.4), (0.5, 3.3), (2.0, 8.0)):
        counts = round_on_log_scale(np.full((n, 1), value, np.float32), np.full((n, 1), scale), rng)
        assert np.array_equal(counts, np.round(counts))
        assert counts.min() >= 0
        assert np.ptp(counts) <= 1
        logged = np.log1p(scale * counts)
        # One of two values: the standard error is at most half their distance over the root of n.
        assert abs(logged.mean() - value) <= 5 * np.ptp(logged) / 2 / np.sqrt(n) + 1e-6


def test_values_of_whole_counts_give_these_counts_back():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (200, 30)) * rng.choice([1, 100], (200, 30))
    scale = rng.uniform(0.3, 30, (200, 1))
    x = np.log1p(scale * counts).astype(np.float32)
    # float32 keeps 24 bits, and at values near 10 a count of 1,000 moves by 1e-3 of one: chance decides as rarely.
    changed = round_on_log_scale(x, scale, rng) != counts
    assert changed.mean() < 5e-3
