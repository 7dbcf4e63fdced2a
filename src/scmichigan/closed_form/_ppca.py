"""Probabilistic PCA in closed form. Legend: n cells, g genes, k latent dimensions."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA

from scmichigan._arrays import check_cells_differ


class ProbabilisticPCA(NamedTuple):
    r"""The model :math:`x = W z + \mu + \epsilon`, :math:`z \sim N(0, I)`, :math:`\epsilon \sim N(0, \sigma^2 I)`.

    ``mean`` is :math:`\mu`, shape ``(n_genes,)``; ``loadings`` is W, shape ``(n_genes, n_latent)``; ``noise_variance`` is
    :math:`\sigma^2`. Tipping and Bishop 1999, "Probabilistic principal component analysis", equations 2 and 6 to 8.
    """

    mean: np.ndarray
    loadings: np.ndarray
    noise_variance: float

    def posterior(self, x: np.ndarray | sp.spmatrix) -> tuple[np.ndarray, np.ndarray]:
        r"""Posterior of the latents: :math:`N(M^{-1} W^T (x - \mu), \sigma^2 M^{-1})`, :math:`M = W^T W + \sigma^2 I`.

        Means and variances, each of shape ``(n_cells, n_latent)``, given expression ``(n_cells, n_genes)``, dense or sparse.
        The variances are the same for all cells; after :func:`fit_ppca` M is diagonal, and all covariances are zero.
        """
        m_kk = self.loadings.T @ self.loadings + self.noise_variance * np.eye(self.loadings.shape[1])
        inverse_kk = np.linalg.inv(m_kk)
        mean_nk = (np.asarray(x @ self.loadings) - self.mean @ self.loadings) @ inverse_kk
        return mean_nk, np.tile(self.noise_variance * np.diag(inverse_kk), (len(mean_nk), 1))

    def sample(self, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A cell from each of the latents ``(n_cells, n_latent)``, with their dtype; expression may be negative."""
        noise_ng = rng.standard_normal((len(z), len(self.mean)), dtype=z.dtype)
        return (z @ self.loadings.T + self.mean + np.sqrt(self.noise_variance) * noise_ng).astype(z.dtype)


def fit_ppca(x: np.ndarray | sp.spmatrix, n_latent: int = 10, *, seed: int = 0) -> ProbabilisticPCA:
    r"""Fit probabilistic PCA by maximum likelihood.

    :math:`W = U (\Lambda - \sigma^2 I)^{1/2}` with the leading eigenvectors U and eigenvalues :math:`\Lambda` of the
    covariance, and :math:`\sigma^2` the mean of all its other eigenvalues.

    Parameters
    ----------
    x, n_latent
        Expression, shape ``(n_cells, n_genes)``, dense or sparse; latent dimensions, fewer than cells and than genes.
    seed
        Random seed. It changes the result only by rounding.

    Returns
    -------
    The fitted model. If the data vary in fewer directions than there are latents, the loadings of the other latents are
    zero, and their posterior is the prior. The covariance is divided by :math:`n - 1`, so it is unbiased in generated cells.

    Raises
    ------
    ValueError
        If there are not more cells and genes than latent dimensions, or all cells are the same.
    """
    n, g = x.shape
    if not 1 <= n_latent < min(n, g):
        raise ValueError(
            f"n_latent is {n_latent}, the data have {n} cells and {g} genes; it must be at least 1 and less than both"
        )
    check_cells_differ(x)
    pca = PCA(n_latent, svd_solver="arpack", random_state=seed).fit(x)
    noise = pca.noise_variance_ * (min(n, g) - n_latent) / (g - n_latent)
    # scikit-learn's noise leaves out the eigenvalues that are zero where there are fewer cells than genes.
    # Without noise the posterior would have no variance, or by rounding a negative one.
    noise = max(float(noise), np.finfo(np.float32).eps * float(pca.explained_variance_[0]))
    scale_k = np.sqrt(np.maximum(pca.explained_variance_ - noise, 0))
    return ProbabilisticPCA(np.asarray(pca.mean_).ravel(), pca.components_.T * scale_k, noise)
