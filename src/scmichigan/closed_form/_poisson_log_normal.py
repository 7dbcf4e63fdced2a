"""Poisson-log-normal generator of counts given latents, fitted without a network.

Legend: n cells, c columns of the condition, g genes, d noise dimensions, m centres, f columns of the basis. Sizes may have
one column for all genes.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from scmichigan._arrays import dense, in_chunks

_N_CELLS_AT_MOST = 6000
_BANDWIDTH = 0.7
_RIDGE = 1.0
_N_ITERATIONS = 100
_BLOCK_CELLS = 1024
_N_COMMUNALITY_ROUNDS = 3
_SMALLEST_RATIO = 0.1
_LEAST_RATE = 1e-8
_LARGEST_LOG_MEAN = 20.0


class KernelCentres(NamedTuple):
    """Centres of the basis: nearness to a centre is ``exp(-|scale * c - centre|^2 / (2 bandwidth^2))``, normalised."""

    scale: np.ndarray
    centres: np.ndarray
    bandwidth: float


class PoissonLogNormal(NamedTuple):
    """Generator of counts from the condition c: Poisson, ``log(rate / size) = weight @ basis(c) + bias + loadings @ eps``.

    Shapes ``(n_genes, n_condition + n_centres)``, ``(n_genes,)`` and ``(n_genes, n_noise)``; eps is standard normal. Half
    the variance of the log rates is subtracted from the bias, which keeps means.
    """

    kernel: KernelCentres
    weight: np.ndarray
    bias: np.ndarray
    loadings: np.ndarray


def fit_poisson_log_normal(
    counts: np.ndarray | sp.spmatrix,
    size: np.ndarray,
    condition: np.ndarray,
    *,
    condition_var: np.ndarray | None = None,
    n_noise: int = 118,
    n_centres: int = 100,
    seed: int = 0,
) -> PoissonLogNormal:
    r"""Fit a generator of counts from a condition: a Poisson regression, and the covariance of the log rates around it.

    1. A ridge Poisson regression :math:`c_{ng} \sim \mathrm{Poisson}(m_{ng})`,
       :math:`\log m_{ng} = \log s_n + b_g + A_g \cdot \phi(c_n)`. The basis is the condition and its nearness to
       centres found by k-means, in which each latent is weighted by the fraction of its variance that is between cells.
    2. Rates that vary around m as log-normals have
       :math:`E[(c_g - m_g)(c_h - m_h)] = m_g m_h (e^{S_{gh}} - 1)` for two genes, and in one gene also the Poisson variance
       m. Solved for S and averaged over cells, an entry has a standard error of about
       :math:`(n \bar m_g \bar m_h)^{-1/2}`, which is large for rare genes.
    3. Therefore the leading eigenvectors are those of :math:`\sqrt{\bar m_g} S_{gh} \sqrt{\bar m_h}`, whose entries have
       equal errors. Only eigenvalues above :math:`2 \sqrt{g / n}` are kept, the largest that errors alone would give.
       The diagonal is iterated as in principal factor analysis, and no gene gets more variance than it has.

    Parameters
    ----------
    counts, size
        Raw counts, shape ``(n_cells, n_genes)``, of which at most 6,000 random cells are used; size factor of each cell,
        shape ``(n_cells,)``, or ``(n_cells, n_genes)`` where genes and proteins differ in depth. Expected counts are
        ``size * rate``.
    condition, condition_var, n_noise, seed
        As in :func:`fit_linear_gaussian`, but each cell's condition is sampled once.
    n_centres
        Number of centres of the basis; 0 for rates that are log-linear in the condition.

    References
    ----------
    Aitchison and Ho 1989, "The multivariate Poisson-log normal distribution", for the moments; Harman 1976, "Modern
    factor analysis", chapter 9, for the principal factors; Wigner 1958, for the edge.
    """
    rng = np.random.default_rng(seed)
    size = np.asarray(size).reshape(len(condition), -1)
    counts = counts.tocsr() if sp.issparse(counts) else np.asarray(counts)
    condition_var = np.zeros_like(condition) if condition_var is None else condition_var
    if len(condition) > _N_CELLS_AT_MOST:
        rows = np.sort(rng.choice(len(condition), _N_CELLS_AT_MOST, replace=False))
        counts, size, condition, condition_var = counts[rows], size[rows], condition[rows], condition_var[rows]
    kernel = _centres(condition, condition_var, n_centres, seed)
    sampled_nc = condition + np.sqrt(condition_var) * rng.standard_normal(condition.shape)
    basis_nf = _basis(sampled_nc, kernel)
    counts_ng = dense(counts).astype(np.float32)
    weight_gf, bias_g = _poisson_regression(counts_ng, size, basis_nf, condition.shape[1])
    covariance_gg, mean_g = _log_rate_covariance(counts_ng, size, basis_nf, weight_gf, bias_g)
    loadings_gd = _loadings(covariance_gg, mean_g, len(size), n_noise, rng)
    bias_g = bias_g - (loadings_gd**2).sum(axis=1) / 2
    return PoissonLogNormal(kernel, *(a.astype(np.float32) for a in (weight_gf, bias_g, loadings_gd)))


def _centres(mean_nc, var_nc, n_centres, seed) -> KernelCentres:
    """Centres among the cells, by distances to which the latents' noise contributes little."""
    between_c, within_c = mean_nc.var(axis=0), var_nc.mean(axis=0)
    total_c = np.maximum(between_c + within_c, np.finfo(np.float32).tiny)
    scale_c = ((between_c / total_c) ** 2 / np.sqrt(total_c)).astype(np.float32)
    # Cells nearer than a thousandth of the latent's variation count as one point.
    points_nc = np.unique((mean_nc * scale_c).round(3), axis=0)
    n_distinct = min(n_centres, len(points_nc))
    if n_distinct < 2:
        return KernelCentres(scale_c, np.zeros((n_centres, len(scale_c)), np.float32), 1.0)
    centres = KMeans(n_distinct, n_init=1, random_state=seed).fit(points_nc).cluster_centers_
    squared = ((centres[:, None] - centres) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    bandwidth = _BANDWIDTH * np.sqrt(np.median(squared.min(axis=1)))
    # With fewer different cells than centres, some centres are repeated, and share their weight.
    centres = np.resize(centres, (n_centres, len(scale_c)))
    return KernelCentres(scale_c, centres.astype(np.float32), float(bandwidth))


def _basis(condition_nc, kernel) -> np.ndarray:
    if not len(kernel.centres):
        return condition_nc.astype(np.float32)
    squared_nm = (((condition_nc * kernel.scale)[:, None] - kernel.centres) ** 2).sum(axis=2)
    logits_nm = -squared_nm / (2 * kernel.bandwidth**2)
    weights_nm = np.exp(logits_nm - logits_nm.max(axis=1, keepdims=True))
    weights_nm /= weights_nm.sum(axis=1, keepdims=True)
    return np.concatenate([condition_nc, weights_nm], axis=1).astype(np.float32)


def _poisson_regression(counts_ng, size_ng, basis_nf, n_condition) -> tuple[np.ndarray, np.ndarray]:
    centre_f, scale_f = basis_nf.mean(axis=0, dtype=np.float64), np.ones(basis_nf.shape[1])
    # The result does not depend on the unit of a latent; nearness to centres is not rescaled.
    scale_f[:n_condition] = StandardScaler().fit(basis_nf[:, :n_condition]).scale_
    basis, counts = torch.from_numpy(((basis_nf - centre_f) / scale_f).astype(np.float32)), torch.from_numpy(counts_ng)
    log_size = torch.from_numpy(np.log(size_ng).astype(np.float32))
    log_mean_rate = torch.log(counts.sum(0) / torch.from_numpy(size_ng.sum(axis=0)).float() + _LEAST_RATE)
    bias = log_mean_rate.clone().requires_grad_()
    weight = torch.zeros(basis.shape[1], counts.shape[1], requires_grad=True)
    # One convex problem for all genes; the line search chooses the step size.
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_N_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        log_rate = bias + basis @ weight
        log_mean = log_rate + log_size
        # Above the bound the exponential continues as its tangent, so that no step of the line search overflows.
        bounded = log_mean.clamp_max(_LARGEST_LOG_MEAN)
        expected = torch.exp(bounded) * (1 + log_mean - bounded)
        loss = (expected.sum() - (counts * log_rate).sum() + 0.5 * _RIDGE * weight.square().sum()) / len(counts)
        loss.backward()
        return loss

    optimizer.step(closure)
    # Whatever the weights, the best bias is known: the one that keeps each gene's mean.
    with torch.no_grad():
        bias = log_mean_rate - torch.logsumexp(basis @ weight + torch.log_softmax(log_size, dim=0), dim=0)
    weight_gf = weight.detach().numpy().T / scale_f
    return weight_gf, bias.numpy() - weight_gf @ centre_f


def _log_rate_covariance(counts_ng, size_ng, basis_nf, weight_gf, bias_g) -> tuple[np.ndarray, np.ndarray]:
    """Covariance of the log rates by moments, and each gene's mean."""
    mean_g = np.zeros(len(bias_g))
    residual_gg, product_gg = np.zeros((mean_g.size, mean_g.size)), np.zeros((mean_g.size, mean_g.size))
    for cells in in_chunks(len(size_ng), _BLOCK_CELLS):
        m_ng = np.exp(basis_nf[cells] @ weight_gf.T + bias_g) * size_ng[cells]
        r_ng = counts_ng[cells] - m_ng
        residual_gg += r_ng.T @ r_ng
        product_gg += m_ng.T @ m_ng
        mean_g += m_ng.sum(axis=0)
    residual_gg[np.diag_indices(mean_g.size)] -= mean_g
    # Where counts by chance vary less than Poisson counts, the logarithm would have no lower bound.
    ratio_gg = 1 + residual_gg / np.maximum(product_gg, _LEAST_RATE)
    return np.log(np.maximum(ratio_gg, _SMALLEST_RATIO)), mean_g / len(size_ng)


def _loadings(covariance_gg, mean_g, n_cells, n_noise, rng) -> np.ndarray:
    n_genes = len(mean_g)
    n_directions = min(n_noise, n_genes - 1)
    loadings_gd = np.zeros((n_genes, n_noise))
    if n_directions < 1:
        return loadings_gd
    precision_g = np.sqrt(np.maximum(mean_g, _LEAST_RATE))
    weighted_gg = covariance_gg * np.outer(precision_g, precision_g)
    variance_g = np.maximum(np.diag(weighted_gg), 0)
    communality_g = np.minimum(variance_g, np.quantile(variance_g, 0.9))
    edge = 2 * np.sqrt(n_genes / n_cells)
    start_g = rng.standard_normal(n_genes)
    for _ in range(_N_COMMUNALITY_ROUNDS):
        np.fill_diagonal(weighted_gg, communality_g)
        values, vectors = eigsh(weighted_gg, n_directions, which="LA", v0=start_g)
        kept = values > edge
        factors_gd = vectors[:, kept] * np.sqrt(values[kept])
        communality_g = np.minimum((factors_gd**2).sum(axis=1), variance_g)
    explained_g = (factors_gd**2).sum(axis=1)
    shrink_g = np.sqrt(communality_g / np.maximum(explained_g, np.finfo(np.float64).tiny))
    loadings_gd[:, : factors_gd.shape[1]] = factors_gd * (shrink_g / precision_g)[:, None]
    return loadings_gd
