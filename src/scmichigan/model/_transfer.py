"""Real cells, moved to a mean that was predicted.

Legend: n cells, g genes.
"""

from __future__ import annotations

import numpy as np

_ROUNDING = 1e-4  # of a count, which float32 cannot tell from a whole one


def in_proportion(n_cells: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers of cells that add up to ``n_cells``, in proportion to the shares (largest remainders)."""
    wanted = n_cells * np.asarray(shares, dtype=np.float64) / np.sum(shares)
    numbers = np.floor(wanted).astype(int)
    numbers[np.argsort(numbers - wanted, kind="stable")[: n_cells - numbers.sum()]] += 1
    return numbers


def draw_evenly(rows: np.ndarray, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Draw cells of which none comes back before all have come, in their order."""
    repeats, rest = divmod(n_cells, len(rows))
    return np.sort(np.concatenate([np.repeat(rows, repeats), rng.choice(rows, rest, replace=False)]))


def pair_by_depth(
    depth_n: np.ndarray, candidates: np.ndarray, candidate_depth: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A candidate for each cell: the deepest for the deepest, and so on."""
    drawn = draw_evenly(np.arange(len(candidates)), len(depth_n), rng)
    pairs = np.empty(len(depth_n), dtype=candidates.dtype)
    pairs[np.argsort(depth_n, kind="stable")] = candidates[drawn[np.argsort(candidate_depth[drawn], kind="stable")]]
    return pairs


def take_nearer(
    source_ng: np.ndarray, partner_ng: np.ndarray, *, means: tuple[np.ndarray, np.ndarray], target_g: np.ndarray
) -> np.ndarray:
    """Take each gene from the population whose mean has to be moved less, and move it to the target's mean.

    Parameters
    ----------
    source_ng, partner_ng
        Two cells for each one to make.
    means
        Mean of all cells of either population.
    target_g
        Mean to move to.
    """
    from_source_g, from_partner_g = (target_g - mean_g for mean_g in means)
    nearer_g = np.abs(from_partner_g) < np.abs(from_source_g)
    return np.where(nearer_g, partner_ng + from_partner_g, source_ng + from_source_g)


def rectify_keeping_means(x: np.ndarray) -> np.ndarray:
    """Remove negative values without moving the mean of any column.

    Setting negative values to zero alone would raise every mean; here each column is also lowered by the one offset
    that makes up for it: ``max(x - offset, 0)``. Columns with a negative mean become zero.

    Parameters
    ----------
    x
        Cells x genes.

    Returns
    -------
    Same shape and dtype, nowhere negative.
    """
    wanted = np.maximum(x.mean(axis=0, dtype=np.float64), 0)
    low, high = np.zeros_like(wanted), np.maximum(x.max(axis=0).astype(np.float64), 0)
    # Bisection: the mean of max(x - offset, 0) falls with the offset; 30 halvings are beyond float32.
    for _ in range(30):
        offset = (low + high) / 2
        too_high = np.maximum(x - offset.astype(x.dtype), 0).mean(axis=0, dtype=np.float64) > wanted
        low, high = np.where(too_high, offset, low), np.where(too_high, high, offset)
    return np.maximum(x - high.astype(x.dtype), 0)


def round_on_log_scale(x: np.ndarray, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Counts whose expected log-normalised value is the given one.

    Each value lies between those of two successive counts; one of the two is drawn, with the probabilities that keep
    the value on average.

    Parameters
    ----------
    x
        Values of ``log1p(scale * counts)``, not negative, shape ``(n_cells, n_genes)``.
    scale
        What one count is in each cell, shape ``(n_cells, 1)``.
    rng
        Of the draws.

    Returns
    -------
    Whole numbers of the same shape, float64.
    """
    below = np.floor(np.expm1(x.astype(np.float64)) / scale + _ROUNDING)
    low, high = np.log1p(scale * below), np.log1p(scale * (below + 1))
    return below + (rng.random(x.shape) < (x - low) / (high - low))
