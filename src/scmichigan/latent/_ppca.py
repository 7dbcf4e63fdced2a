"""Probabilistic PCA in closed form."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA


def ppca_posterior(x: np.ndarray | sp.spmatrix, n_latent: int = 10, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    r"""Posterior of the latents of probabilistic PCA, fitted by maximum likelihood.

    :math:`x = W z + \mu + \epsilon` with :math:`z \sim N(0, I)` and :math:`\epsilon \sim N(0, \sigma^2 I)` has
    :math:`W = U (\Lambda - \sigma^2 I)^{1/2}` with the leading eigenvectors U and eigenvalues :math:`\Lambda` of the
    covariance, and :math:`\sigma^2` the mean of the other eigenvalues. The posterior is
    :math:`N(M^{-1} W^T (x - \mu), \sigma^2 M^{-1})`, :math:`M = W^T W + \sigma^2 I = \Lambda`.

    Parameters
    ----------
    x
        Expression, shape ``(n_cells, n_genes)``; sparse is densified.
    n_latent
        Latent dimensions, fewer than cells and than genes.
    seed
        Of the randomised decomposition that large data are given.

    Returns
    -------
    Means and variances, each of shape ``(n_cells, n_latent)``; the variances are the same for all cells.

    Raises
    ------
    ValueError
        If there are not more cells and genes than latent dimensions.

    References
    ----------
    Tipping and Bishop 1999, "Probabilistic principal component analysis", equations 3 to 8 and 12.
    """
    if not 1 <= n_latent < min(x.shape):
        raise ValueError(
            f"n_latent is {n_latent}, the data have {x.shape[0]} cells and {x.shape[1]} genes; it must be at least 1 and "
            "less than both"
        )
    x = x.toarray() if sp.issparse(x) else np.asarray(x)
    pca = PCA(n_latent, random_state=seed).fit(x)
    # scikit-learn's eigenvalues and noise are of the covariance with n - 1, as is customary.
    eigenvalues_k, noise = pca.explained_variance_, pca.noise_variance_
    mean = pca.transform(x) * (np.sqrt(np.maximum(eigenvalues_k - noise, 0)) / eigenvalues_k)
    return mean, np.broadcast_to(noise / eigenvalues_k, mean.shape).copy()
