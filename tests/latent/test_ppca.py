import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from scmichigan.latent import ppca_posterior


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12)) + 0.5 * rng.normal(size=(300, 12)) + 2


def test_posterior_is_that_of_the_generative_model(cells):
    mean, var = ppca_posterior(cells, 3)
    # Loadings from the eigendecomposition of the covariance, posterior from Gaussian conditioning on the joint.
    values, vectors = np.linalg.eigh(np.cov(cells.T))
    noise = values[:-3].mean()
    loadings = vectors[:, -3:][:, ::-1] * np.sqrt(values[-3:][::-1] - noise)
    precision = np.linalg.inv(loadings @ loadings.T + noise * np.eye(12))
    expected = (cells - cells.mean(0)) @ precision @ loadings
    signs = np.sign((mean * expected).sum(0))
    np.testing.assert_allclose(mean, expected * signs, atol=1e-8)
    posterior = np.eye(3) - loadings.T @ precision @ loadings
    np.testing.assert_allclose(posterior, np.diag(var[0]), atol=1e-10)
    assert (var == var[0]).all()


def test_marginal_likelihood_is_scikit_learn_s(cells):
    # Bayes' rule with our posterior gives the marginal density that PCA.score reports, whatever z is put in.
    mean, var = ppca_posterior(cells, 3)
    pca = PCA(3).fit(cells)
    loadings = pca.components_.T * np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    z = np.ones(3)
    prior = multivariate_normal.logpdf(z, np.zeros(3))
    for i in range(3):
        likelihood = multivariate_normal.logpdf(cells[i], pca.mean_ + loadings @ z, pca.noise_variance_ * np.eye(12))
        posterior = multivariate_normal.logpdf(z, mean[i], np.diag(var[i]))
        assert likelihood + prior - posterior == pytest.approx(pca.score_samples(cells[i : i + 1])[0], abs=1e-6)


def test_sparse_expression_is_taken(cells):
    counts = np.maximum(cells, 0)
    for a, b in zip(ppca_posterior(counts, 2), ppca_posterior(sp.csr_matrix(counts), 2), strict=True):
        np.testing.assert_allclose(a, b)


@pytest.mark.parametrize("n_latent", [0, 12, 300])
def test_impossible_dimensions_are_refused(cells, n_latent):
    with pytest.raises(ValueError, match=f"n_latent is {n_latent}, the data have 300 cells and 12 genes"):
        ppca_posterior(cells, n_latent)
