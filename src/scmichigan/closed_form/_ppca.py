"""Probabilistic PCA in closed form.

Legend: n cells, g genes, k latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA

from scmichigan._arrays import check_cells_differ


class ProbabilisticPCA(NamedTuple):
    r"""The model :math:`x = W z + \mu + \epsilon`, :math:`z \sim N(0, I)`, :math:`\epsilon \sim N(0, \sigma^2 I)`.

    Parameters
    ----------
    mean
        :math:`\mu`, shape ``(n_genes,)``.
    loadings
        W, shape ``(n_genes, n_latent)``.
    noise_variance
        :math:`\sigma^2`, the same for all genes.

    References
    ----------
    Tipping and Bishop 1999, "Probabilistic principal component analysis", equation 2.
    """

    mean: np.ndarray
    loadings: np.ndarray
    noise_variance: float

    def posterior(self, x: np.ndarray | sp.spmatrix) -> tuple[np.ndarray, np.ndarray]:
        r"""Posterior of the latents: :math:`N(M^{-1} W^T (x - \mu), \sigma^2 M^{-1})`, :math:`M = W^T W + \sigma^2 I`.

        Parameters
        ----------
        x
            Expression, shape ``(n_cells, n_genes)``, dense or sparse; never densified.

        Returns
        -------
        Means and variances, each of shape ``(n_cells, n_latent)``; the variances are the same for all cells. M is
        diagonal where the loadings come from :func:`fit_ppca`, so that they are all there is of the covariance.

        References
        ----------
        Tipping and Bishop 1999, equation 6.
        """
        m_kk = self.loadings.T @ self.loadings + self.noise_variance * np.eye(self.loadings.shape[1])
        inverse_kk = np.linalg.inv(m_kk)
        mean_nk = (np.asarray(x @ self.loadings) - self.mean @ self.loadings) @ inverse_kk
        return mean_nk, np.tile(self.noise_variance * np.diag(inverse_kk), (len(mean_nk), 1))

    def sample(self, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One cell from each latent.

        Parameters
        ----------
        z
            Latents, shape ``(n_cells, n_latent)``.
        rng
            Draws the noise.

        Returns
        -------
        Expression, shape ``(n_cells, n_genes)``, of the latents' dtype; it may be negative.
        """
        noise_ng = rng.standard_normal((len(z), len(self.mean)), dtype=z.dtype)
        return (z @ self.loadings.T + self.mean + np.sqrt(self.noise_variance) * noise_ng).astype(z.dtype)


def fit_ppca(x: np.ndarray | sp.spmatrix, n_latent: int = 10, *, seed: int = 0) -> ProbabilisticPCA:
    r"""Fit probabilistic PCA by maximum likelihood.

    :math:`W = U (\Lambda - \sigma^2 I)^{1/2}` with the leading eigenvectors U and eigenvalues :math:`\Lambda` of the
    covariance, and :math:`\sigma^2` the mean of all its other eigenvalues.

    Parameters
    ----------
    x
        Expression, shape ``(n_cells, n_genes)``, dense or sparse; never densified.
    n_latent
        Latent dimensions, fewer than cells and than genes.
    seed
        Of the iteration's start; the result depends on it by rounding only.

    Returns
    -------
    The fitted model. Where the data have fewer directions than latents, the loadings of the others are zero, and
    their posterior is the prior.

    Raises
    ------
    ValueError
        If there are not more cells and genes than latent dimensions, or all cells are the same.

    Notes
    -----
    The covariance is that with :math:`n - 1`, as is customary, so that generated cells have it without bias. The noise
    of :class:`sklearn.decomposition.PCA` is another one with fewer cells than genes, since it leaves out the
    eigenvalues that are then zero.

    References
    ----------
    Tipping and Bishop 1999, equations 7 and 8.
    """
    n, g = x.shape
    if not 1 <= n_latent < min(n, g):
        raise ValueError(
            f"n_latent is {n_latent}, the data have {n} cells and {g} genes; it must be at least 1 and less than both"
        )
    check_cells_differ(x)
    pca = PCA(n_latent, svd_solver="arpack", random_state=seed).fit(x)
    noise = pca.noise_variance_ * (min(n, g) - n_latent) / (g - n_latent)
    # Data without noise would have a posterior without variance, and rounding could make it negative.
    noise = max(float(noise), np.finfo(np.float32).eps * float(pca.explained_variance_[0]))
    scale_k = np.sqrt(np.maximum(pca.explained_variance_ - noise, 0))
    return ProbabilisticPCA(np.asarray(pca.mean_).ravel(), pca.components_.T * scale_k, noise)


def ppca_posterior(x: np.ndarray | sp.spmatrix, n_latent: int = 10, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of the latents of probabilistic PCA, fitted to the same cells by maximum likelihood.

    Parameters
    ----------
    x, n_latent, seed
        As in :func:`fit_ppca`.

    Returns
    -------
    Means and variances, each of shape ``(n_cells, n_latent)``; the variances are the same for all cells.

    Raises
    ------
    ValueError
        As in :func:`fit_ppca`.

    References
    ----------
    Tipping and Bishop 1999, "Probabilistic principal component analysis", equations 6 to 8.
    """
    return fit_ppca(x, n_latent, seed=seed).posterior(x)
