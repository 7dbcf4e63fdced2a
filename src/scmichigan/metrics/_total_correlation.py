"""Dependence of latents. Legend: n cells, i cells that a latent is sampled from, k latents."""

import numpy as np
from scipy.special import logsumexp

from ._factors import checked_mean, checked_var, sample_cells, standardised, varies
from ._metric import DISENTANGLEMENT, Latents, Metric, or_nan

_BLOCK_VALUES = 1_000_000


def total_correlation(mean: np.ndarray, var: np.ndarray | None = None, *, n_cells: int = 2000, seed: int = 0) -> float:
    r"""Total correlation of the latents: how much they depend on each other, in nats; 0 is best.

    .. math:: TC = E_{q(z)}\left[\log q(z) - \sum_k \log q(z_k)\right]

    with :math:`q(z) = \frac{1}{N} \sum_n q(z | x_n)` over all cells given, a mixture of independent Gaussians, whose
    densities are exact; the expectation is over one sample from each of ``n_cells`` cells (Chen et al. 2018, equation
    2), whose error can make it a little negative. Without variances, that of a Gaussian with the covariance of the
    means, :math:`-\frac{1}{2} \log \det R` with their correlation matrix R (Locatello et al. 2019, section 5.1): 0 or
    more, and infinite where latents are linear functions of others.

    Parameters
    ----------
    mean, var
        As in :func:`mutual_information`, with the same errors. Two or more latents must vary; others, with the same
        posterior in all cells, are independent of them. Without variances there must be more cells than latents.
    n_cells, seed
        Cells that latents are sampled from, at random where there are more. Densities are those of all cells: time is
        in proportion to ``n_cells`` times cells times latents, 2 s for 2,000, 4,000 and 10 on one core. Random seed.

    Notes
    -----
    The value is unbiased for the mixture of these very cells, but too large for a population of cells: in few cells
    with narrow posteriors, the mixture is a set of spikes, with up to ``(n_latent - 1) * log(n_cells)`` of dependence.
    For independent latents of variance 1 with posterior variances of 0.1 in 4,000 cells, it is 0.06 with 4 latents and
    3.3 with 10. Compare latents at equal numbers of cells, and with their own value after each has been shuffled over
    the cells, which removes the dependence and leaves the bias.
    """
    mean_nk = checked_mean(mean)
    var_nk = None if var is None else checked_var(var, mean_nk)
    n_moving = np.count_nonzero(varies(mean_nk) | (False if var is None else varies(var_nk)))
    if n_moving < 2:
        raise ValueError(
            f"{n_moving} of {mean_nk.shape[1]} latents vary: give 2 or more that do, a latent alone depends on no other"
        )
    if var is None:
        return _gaussian_total_correlation(mean_nk)
    scale_nk = np.sqrt(var_nk)
    cells = sample_cells(len(mean_nk), n_cells, seed)
    z_ik = np.random.default_rng(seed).normal(mean_nk[cells], scale_nk[cells])
    blocks = np.array_split(z_ik, np.ceil(len(z_ik) * len(mean_nk) / _BLOCK_VALUES).astype(int))
    return float(np.concatenate([_log_ratio(block_ik, mean_nk, scale_nk) for block_ik in blocks]).mean())


def _log_ratio(z_ik: np.ndarray, mean_nk: np.ndarray, scale_nk: np.ndarray) -> np.ndarray:
    """Joint over product of the marginal log densities; their constants, a power of 2 pi each, cancel."""
    log_n = np.log(len(mean_nk))
    log_joint_in = np.zeros((len(z_ik), len(mean_nk)))
    log_product_i = np.zeros(len(z_ik))
    for z_i, mean_n, scale_n in zip(z_ik.T, mean_nk.T, scale_nk.T, strict=True):
        log_density_in = -0.5 * ((z_i[:, None] - mean_n) / scale_n) ** 2 - np.log(scale_n)
        log_joint_in += log_density_in
        log_product_i += logsumexp(log_density_in, axis=1) - log_n
    return logsumexp(log_joint_in, axis=1) - log_n - log_product_i


def _gaussian_total_correlation(mean_nk: np.ndarray) -> float:
    z_nk = standardised(mean_nk)
    n, k = z_nk.shape
    if n <= k:
        raise ValueError(f"mean has {n} cells for {k} latents; a correlation matrix needs more cells than latents")
    singular_k = np.linalg.svd(z_nk / np.sqrt(n), compute_uv=False)
    if singular_k[-1] <= np.finfo(np.float32).eps * singular_k[0]:
        return np.inf
    return max(0.0, -float(np.log(singular_k).sum()))


def _row(kind: str, has_var: bool, source: str) -> Metric:
    def compute(column: Latents) -> float | None:
        mean_nk, var_nk = column.independence_of or (column.mean_nk, column.var_nk)
        is_asked = has_var == (var_nk is not None)
        return or_nan(total_correlation, mean_nk, var_nk, seed=column.seed) if is_asked else None

    return Metric(f"total correlation, {kind}", (DISENTANGLEMENT,), total_correlation, compute, 0, np.inf, 0, source)


ROWS = (_row("aggregate posterior", True, "Chen et al. 2018"), _row("Gaussian", False, "Locatello et al. 2019"))
