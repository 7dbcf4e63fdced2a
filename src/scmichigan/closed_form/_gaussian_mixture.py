"""Gaussian mixtures of log-normalised expression.

Legend: n cells, g genes, d dimensions of the mixture, c components of the mixture.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import scipy.sparse as sp
from rich.progress import track
from scipy.linalg import solve_triangular
from sklearn.mixture import GaussianMixture

from scmichigan._arrays import check_cells_differ, dense, fit_pca, in_chunks, variance_g

_MAX_ITERATIONS = 1000
# Fraction of the mean variance that every variance is raised by: without it, a component on a single cell, or on cells
# that all lack a gene, would have a likelihood without bound.
_VARIANCE_FLOOR = 1e-3


def fit_gaussian_mixture(
    x: np.ndarray | sp.csr_matrix,
    n_components: Sequence[int],
    covariance_types: Sequence[str],
    *,
    n_pcs: int | None = 50,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Fit Gaussian mixtures by expectation maximisation, and choose one by the Bayesian information criterion (BIC).

    The criterion is that of Schwarz 1978, "Estimating the dimension of a model".

    Parameters
    ----------
    x
        Log-normalised expression, shape ``(n_cells, n_genes)``.
    n_components, covariance_types
        Numbers of components and types of covariance (``"full"``, ``"diag"``) to choose from.
    n_pcs
        Number of principal components that mixtures are fitted to; ``None`` fits them to the genes.
    seed, enable_progress_bar
        Random seed; whether to show the progress.

    Returns
    -------
    Arrays of the mixture with the lowest BIC, and the BIC of each number (rows) and type (columns).

    Raises
    ------
    ValueError
        If all cells are the same.
    """
    check_cells_differ(x)
    projection = {} if n_pcs is None else _fit_projection(x, n_pcs, seed)
    z_nd = _project(x, projection)
    floor = _VARIANCE_FLOOR * z_nd.var(axis=0).mean()
    index, columns = pd.Index(n_components, name="n_components"), pd.Index(covariance_types, name="covariance_type")
    bic = pd.DataFrame(index=index, columns=columns, dtype=float)
    candidates = list(product(n_components, covariance_types))
    for size, kind in track(candidates, "Gaussian mixtures", disable=not enable_progress_bar):
        settings = {"reg_covar": floor, "max_iter": _MAX_ITERATIONS, "random_state": seed}
        mixture = GaussianMixture(size, covariance_type=kind, **settings).fit(z_nd)
        bic.loc[size, kind] = mixture.bic(z_nd)
        if bic.loc[size, kind] == bic.min(axis=None):
            best = {name: getattr(mixture, f"{name}_") for name in ("weights", "means", "precisions_cholesky")}
    return projection | best, bic


def mixture_responsibilities(x: np.ndarray | sp.csr_matrix, fitted: Mapping[str, np.ndarray]) -> np.ndarray:
    """Probability of each component of a fitted mixture given the cell, shape ``(n_cells, n_components)``."""
    precisions = fitted["precisions_cholesky"].astype(np.float64)
    mixture = GaussianMixture(len(precisions), covariance_type="full" if precisions.ndim == 3 else "diag")
    mixture.weights_, mixture.means_ = fitted["weights"], fitted["means"]
    mixture.precisions_cholesky_ = precisions
    return np.concatenate([mixture.predict_proba(_project(x[rows], fitted)) for rows in in_chunks(x.shape[0])])


def sample_mixture(fitted: Mapping[str, np.ndarray], component_n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A cell from each of the given components of a fitted mixture, shape ``(n_samples, n_genes)``.

    With principal components, the variance that they leave out is added as noise, independent between genes.
    """
    z_nd = rng.standard_normal((len(component_n), fitted["means"].shape[1]))
    for c in np.unique(component_n):
        precision, at = fitted["precisions_cholesky"][c], component_n == c
        # The precision is P P^T, so that P^-T turns white noise into that of the component.
        noise = z_nd[at] / precision if precision.ndim == 1 else solve_triangular(precision, z_nd[at].T, trans="T").T
        z_nd[at] = fitted["means"][c] + noise
    z_nd = z_nd.astype(np.float32)
    if "directions" not in fitted:
        return z_nd
    directions_dg = fitted["directions"]
    noise_ng = fitted["residual_scale"] * rng.standard_normal((len(z_nd), directions_dg.shape[1]), dtype=np.float32)
    # Within the components the mixture has all of the variance; noise there would come on top.
    return fitted["center"] + (z_nd - noise_ng @ directions_dg.T) @ directions_dg + noise_ng


def _fit_projection(x, n_pcs, seed) -> dict[str, np.ndarray]:
    """Principal components, and the standard deviation of each gene that they leave out."""
    pca = fit_pca(x, n_components=n_pcs, seed=seed)
    kept_g = pca.explained_variance_ @ pca.components_**2 * (1 - 1 / x.shape[0])
    left_g = np.maximum(variance_g(x) - kept_g, 0)
    return {"center": np.asarray(pca.mean_).ravel(), "directions": pca.components_, "residual_scale": np.sqrt(left_g)}


def _project(x, fitted) -> np.ndarray:
    """What the mixture is fitted to, in double precision: principal components where there are any, else genes."""
    if "directions" not in fitted:
        return dense(x).astype(np.float64)
    directions_gd = fitted["directions"].T.astype(np.float64)
    return np.asarray(x @ directions_gd) - fitted["center"] @ directions_gd
