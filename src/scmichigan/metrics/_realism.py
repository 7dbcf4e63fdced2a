"""Distances between real and generated cells. Legend: n cells, g genes, k principal components."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import svdvals
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances_chunked

from scmichigan._arrays import Matrix, dense, sample_rows
from scmichigan._cells import Cells
from scmichigan._checks import check_at_least

from ._basis import Basis, checked, fitted_pca
from ._metric import PREDICTION, REALISM, Comparison, Metric, or_nan

_WORKING_MEMORY_MIB = 64
_BANDWIDTH_CELLS = 1000


def e_distance(
    real: Cells,
    generated: Cells,
    *,
    basis: Basis | None = None,
    n_components: int = 50,
    n_cells: int = 2000,
    seed: int = 0,
) -> float:
    """Energy distance between real and generated cells; 0 is best (Székely and Rizzo 2013).

    .. math:: 2 E||X - Y|| - E||X - X'|| - E||Y - Y'||

    with Euclidean norms, as in scPerturb (Peidli et al. 2024). Squared norms would only see the difference of the
    means. In the unit of the cells, 0 or more; not the square root, unlike :func:`scipy.stats.energy_distance`.

    Parameters
    ----------
    real, generated
        Cells on the same scale, shape ``(n_cells, n_genes)`` with the same genes: array, sparse matrix or AnnData (its
        X). Predicted cells are generated ones too.
    basis
        Cells that principal components are fitted on, usually the training cells, or a fitted
        :class:`sklearn.decomposition.PCA`, which saves time over several calls. None takes distances in gene space.
        Compare values on the same basis only.
    n_components
        Principal components, lowered to the number of cells or genes of the basis. A fitted PCA has its own number.
    n_cells, seed
        Cells of each side at most; more are sampled without replacement. Random seed.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), or the PCA is not fitted or has other genes.

    Notes
    -----
    This is the V-statistic, which counts each cell's zero distance to itself. It is never negative, and for two samples
    of one population it is :math:`E||X - X'|| (1/n_x + 1/n_y)` on average, not 0. Compare values at the same numbers of
    cells, and with the value of two halves of the real cells (:func:`split_half`).
    """
    sides = _sampled(real, generated, basis, n_components=n_components, n_cells=n_cells, seed=seed)
    return _v_statistic(*sides, lambda distance: np.negative(distance, out=distance))


def mmd(
    real: Cells,
    generated: Cells,
    *,
    bandwidth: float | None = None,
    basis: Basis | None = None,
    n_components: int = 50,
    n_cells: int = 2000,
    seed: int = 0,
) -> float:
    r"""Squared maximum mean discrepancy between real and generated cells; 0 is best (Gretton et al. 2012, equation 5).

    .. math:: E k(X, X') + E k(Y, Y') - 2 E k(X, Y), \quad k(x, y) = \exp(-||x - y||^2 / 2 \sigma^2)

    From 0 to 2. It is the square, as in most publications, and the V-statistic: for two samples of one population it is
    :math:`(1 - E k(X, X')) (1/n_x + 1/n_y)` on average. Compare values as those of :func:`e_distance`.

    Parameters
    ----------
    real, generated, basis, n_components, n_cells, seed
        As in :func:`e_distance`, with the same errors.
    bandwidth
        :math:`\sigma`, positive. None takes the median Euclidean distance between two real cells (of 1,000 at most;
        section 8 of the paper), so that several predictions share one kernel. Much larger or smaller differences than
        it are hardly seen.
    """
    if bandwidth is not None and not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"bandwidth is {bandwidth}: give a positive number, or None for the median distance")
    x_nk, y_nk = _sampled(real, generated, basis, n_components=n_components, n_cells=n_cells, seed=seed)
    if bandwidth is None:
        bandwidth = _median_distance(y_nk, seed)
    return _v_statistic(x_nk, y_nk, lambda distance: np.exp(-0.5 * (distance / bandwidth) ** 2))


def frechet_distance(
    real: Cells, generated: Cells, *, basis: Basis | None = None, n_components: int = 50, seed: int = 0
) -> float:
    r"""Fréchet distance between Gaussians fitted to real and to generated cells; 0 is best (Heusel et al. 2017).

    .. math:: ||\mu_x - \mu_y||^2 + tr(\Sigma_x + \Sigma_y - 2 (\Sigma_x^{1/2} \Sigma_y \Sigma_x^{1/2})^{1/2})

    the squared 2-Wasserstein distance of the Gaussians with the cells' means and (unbiased) covariances (Dowson and
    Landau 1982), in the squared unit of the cells, 0 or more. It sees nothing beyond these two. Covariances of few
    cells for each dimension make it too large: give a basis, and compare values as those of :func:`e_distance`, whose
    arguments and errors it has, with 2 cells or more of each side.
    """
    real_ng, generated_ng, basis = checked({"real": real, "generated": generated}, basis)
    for name, matrix in {"real": real_ng, "generated": generated_ng}.items():
        if matrix.shape[0] < 2:
            raise ValueError(f"{name} has 1 cell: give 2 or more for a covariance")
    x_nk, y_nk = _projected((dense(generated_ng), dense(real_ng)), basis, n_components=n_components, seed=seed)
    # Roots R of the covariances R^T R, without forming these: the trace of the last term is then the sum of the
    # singular values of R_x R_y^T.
    roots = [np.linalg.qr((z_nk - z_nk.mean(axis=0)) / np.sqrt(len(z_nk) - 1), mode="r") for z_nk in (x_nk, y_nk)]
    means = np.sum((x_nk.mean(axis=0) - y_nk.mean(axis=0)) ** 2)
    traces = sum(np.sum(root**2) for root in roots)
    return float(max(0.0, means + traces - 2 * svdvals(roots[0] @ roots[1].T).sum()))


def _sampled(
    real: Cells, generated: Cells, basis: Basis | None, *, n_components: int, n_cells: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most ``n_cells`` generated (x) and real cells (y), checked and in the basis."""
    check_at_least(1, n_cells=n_cells)
    real_ng, generated_ng, basis = checked({"real": real, "generated": generated}, basis)
    rng = np.random.default_rng(seed)
    sides = tuple(sample_rows(matrix, n_cells, rng) for matrix in (generated_ng, real_ng))
    return _projected(sides, basis, n_components=n_components, seed=seed)


def _projected(sides: tuple[np.ndarray, ...], basis: Matrix | PCA | None, **fit: int) -> tuple[np.ndarray, np.ndarray]:
    if basis is not None:
        pca = fitted_pca(basis, **fit)
        sides = tuple(pca.transform(side) for side in sides)
    x_nk, y_nk = (np.asarray(side, dtype=np.float64) for side in sides)
    centre_k = x_nk.mean(axis=0)  # cells far from the origin would lose digits
    return x_nk - centre_k, y_nk - centre_k


def _v_statistic(x_nk: np.ndarray, y_nk: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean kernel within both sides, less twice that between them; a function of distances, which it may overwrite."""

    def mean(a_nk: np.ndarray, b_nk: np.ndarray | None = None) -> float:
        row_means = pairwise_distances_chunked(
            a_nk, b_nk, reduce_func=lambda chunk, start: kernel(chunk).mean(axis=1), working_memory=_WORKING_MEMORY_MIB
        )
        return float(np.concatenate(list(row_means)).mean())

    return max(0.0, mean(x_nk) + mean(y_nk) - 2 * mean(x_nk, y_nk))


def _median_distance(y_nk: np.ndarray, seed: int) -> float:
    cells_nk = sample_rows(y_nk, _BANDWIDTH_CELLS, np.random.default_rng(seed))
    median = float(np.median(pdist(cells_nk))) if len(cells_nk) > 1 else 0.0
    if median == 0:
        raise ValueError(f"the median distance between the {len(cells_nk)} cells of real is 0: give a bandwidth")
    return median


def _of_sample(metric: Callable[..., float]) -> Callable[[Comparison], float]:
    def compute(column: Comparison) -> float:
        sample = {"n_cells": column.cost.n_cells, "seed": column.cost.seed}
        return or_nan(metric, column.reference_ng, column.cells_ng, basis=column.pca, **sample)

    return compute


_of_all = lambda column: frechet_distance(column.reference_ng, column.cells_ng, basis=column.pca)
_BOTH = (REALISM, PREDICTION)
ROWS = (
    Metric("E-distance", _BOTH, e_distance, _of_sample(e_distance), 0, np.inf, 0, "Székely and Rizzo 2013"),
    Metric("MMD", _BOTH, mmd, _of_sample(mmd), 0, 2, 0, "Gretton et al. 2012"),
    Metric("Fréchet distance", (REALISM,), frechet_distance, _of_all, 0, np.inf, 0, "Heusel et al. 2017"),
)
