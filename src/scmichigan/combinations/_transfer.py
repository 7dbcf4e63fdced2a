"""Real cells, moved to a mean that was predicted. Legend: n cells, g genes."""

from collections.abc import Callable, Sequence

import numpy as np

from ._arithmetic import Arithmetic, Groups

_ROUNDING = 1e-4  # of a count, which float32 cannot tell from a whole one


def transfer(
    arithmetic: Arithmetic,
    groups: Groups,
    rows: np.ndarray,
    start: np.ndarray,
    *,
    expression: Callable[[np.ndarray], np.ndarray],
    depth: np.ndarray,
    exact_means: bool,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Make cells of the target, each from two measured ones of about the same depth: its source, and a partner.

    ``rows`` and ``start`` are the row of each source cell and the number of its reference; ``expression`` gives the dense
    expression of rows without what covariates add; ``depth`` is the total of each measured cell. With ``exact_means`` the
    made cells have the predicted mean themselves, and not on average over samples. The result is their expression, shape
    ``(n_cells, n_genes)``, and the rows of the partners.
    """
    values, partners = np.empty((len(rows), len(arithmetic.targets[0])), dtype=np.float32), rows.copy()
    for i, (source, target_g) in enumerate(zip(arithmetic.positions, arithmetic.targets, strict=True)):
        pools, proportions = arithmetic.partners(i)
        cells = rng.permutation(np.flatnonzero(start == i))
        parts = np.split(cells, np.cumsum(in_proportion(len(cells), proportions))[:-1])
        for pool, part in zip(pools, parts, strict=True):
            candidates = groups[arithmetic.combinations[pool]]
            partners[part] = pair_by_depth(depth[rows[part]], candidates, depth[candidates], rng)
            x, means = map(expression, (rows[part], partners[part])), arithmetic.means[[source, pool]]
            values[part] = take_nearer(*x, means=means, target_g=target_g)
        if exact_means:  # and not those of the sampled partners
            values[cells] += target_g - values[cells].mean(axis=0)
    return values, partners


def in_proportion(n_cells: int, proportions: np.ndarray) -> np.ndarray:
    """Whole numbers of cells that add up to ``n_cells``, in these proportions (largest remainders)."""
    wanted = n_cells * np.asarray(proportions, dtype=np.float64) / np.sum(proportions)
    numbers = np.floor(wanted).astype(int)
    numbers[np.argsort(numbers - wanted, kind="stable")[: n_cells - numbers.sum()]] += 1
    return numbers


def sample_evenly(rows: np.ndarray, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Sample cells, each of them as often as any other or once more, in their order."""
    repeats, rest = divmod(n_cells, len(rows))
    return np.sort(np.concatenate([np.repeat(rows, repeats), rng.choice(rows, rest, replace=False)]))


def pair_by_depth(
    depth_n: np.ndarray, candidates: np.ndarray, candidate_depth: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A candidate for each cell: the deepest for the deepest, and so on."""
    sampled = sample_evenly(np.arange(len(candidates)), len(depth_n), rng)
    pairs = np.empty(len(depth_n), dtype=candidates.dtype)
    pairs[np.argsort(depth_n, kind="stable")] = candidates[sampled[np.argsort(candidate_depth[sampled], kind="stable")]]
    return pairs


def take_nearer(
    source_ng: np.ndarray, partner_ng: np.ndarray, *, means: Sequence[np.ndarray], target_g: np.ndarray
) -> np.ndarray:
    """Take each gene from the population whose mean has to be moved less, and move it to the target's mean."""
    from_source_g, from_partner_g = (target_g - mean_g for mean_g in means)
    nearer_g = np.abs(from_partner_g) < np.abs(from_source_g)
    return np.where(nearer_g, partner_ng + from_partner_g, source_ng + from_source_g)


def rectify_keeping_means(x: np.ndarray) -> np.ndarray:
    """Remove negative values without moving the mean of any column.

    Setting negative values to zero alone would raise every mean; here each column is also lowered by the one offset
    that makes up for it: ``max(x - offset, 0)``. Columns with a negative mean become zero.
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
    """Counts whose expected log-normalised value, ``log1p(scale * counts)``, is the given one.

    Each value lies between those of two successive counts; one of the two is sampled, with the probabilities that
    keep the value on average. ``scale``, shape ``(n_cells, 1)``, is what one count is in each cell.
    """
    below = np.floor(np.expm1(x.astype(np.float64)) / scale + _ROUNDING)
    low, high = np.log1p(scale * below), np.log1p(scale * (below + 1))
    return below + (rng.random(x.shape) < (x - low) / (high - low))
