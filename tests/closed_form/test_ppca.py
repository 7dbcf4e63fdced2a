import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from scmichigan.closed_form import ProbabilisticPCA, fit_ppca


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12)) + 0.5 * rng.normal(size=(300, 12)) + 2


def _covariance(fit):
    return fit.loadings @ fit.loadings.T + fit.noise_variance * np.eye(len(fit.mean))


def _log_likelihood(fit, x):
    return multivariate_normal.logpdf(x, fit.mean, _covariance(fit)).mean()


def test_posterior_is_that_of_the_generative_model(cells):
    mean, var = fit_ppca(cells, 3).posterior(cells)
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


def test_posterior_of_new_cells_and_any_loadings():
    rng = np.random.default_rng(1)
    fit = ProbabilisticPCA(rng.normal(size=6), rng.normal(size=(6, 2)), 0.7)
    x = rng.normal(size=(5, 6))
    mean, var = fit.posterior(sp.csr_matrix(x))
    precision = np.linalg.inv(_covariance(fit))
    np.testing.assert_allclose(mean, (x - fit.mean) @ precision @ fit.loadings)
    conditional = np.eye(2) - fit.loadings.T @ precision @ fit.loadings
    np.testing.assert_allclose(var, np.tile(np.diag(conditional), (5, 1)))


def test_likelihood_is_scikit_learn_s(cells):
    assert _log_likelihood(fit_ppca(cells, 3), cells) == pytest.approx(PCA(3).fit(cells).score(cells), abs=1e-9)


@pytest.mark.parametrize("n_cells", [300, 9])
def test_likelihood_is_at_its_maximum(cells, n_cells):
    # Nine cells of twelve genes: the eigenvalues that are zero belong to the noise, too.
    x = cells[:n_cells]
    fit = fit_ppca(x, 3)
    values = np.linalg.eigvalsh(np.cov(x.T))
    assert fit.noise_variance == pytest.approx(values[:-3].mean())
    # The likelihood is that of n - 1 degrees of freedom; for the maximum of the usual one all variances are smaller.
    shrunk = ProbabilisticPCA(fit.mean, fit.loadings * np.sqrt(1 - 1 / n_cells), fit.noise_variance * (1 - 1 / n_cells))
    best = _log_likelihood(shrunk, x)
    rng = np.random.default_rng(0)
    for factor in (0.95, 1.05):
        assert _log_likelihood(shrunk._replace(noise_variance=factor * shrunk.noise_variance), x) < best
        assert _log_likelihood(shrunk._replace(loadings=factor * shrunk.loadings), x) < best
    for _ in range(10):
        moved = shrunk.loadings + rng.normal(0, 0.05, shrunk.loadings.shape)
        assert _log_likelihood(shrunk._replace(loadings=moved), x) < best


def test_samples_have_the_moments_of_the_model():
    rng = np.random.default_rng(2)
    fit = ProbabilisticPCA(rng.normal(size=7), rng.normal(size=(7, 2)), 0.5)
    n = 20_000
    x = fit.sample(rng.standard_normal((n, 2)), rng)
    expected = _covariance(fit)
    variances = np.diag(expected)
    # A covariance of n normal samples has variance (C_ii C_jj + C_ij^2) / n.
    error = np.sqrt((np.outer(variances, variances) + expected**2) / n)
    assert (np.abs(np.cov(x.T) - expected) < 5 * error).all()
    assert (np.abs(x.mean(0) - fit.mean) < 5 * np.sqrt(variances / n)).all()


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.csr_array])
def test_sparse_expression_is_taken(cells, form):
    counts = np.maximum(cells, 0)
    for a, b in zip(fit_ppca(counts, 2), fit_ppca(form(counts), 2), strict=True):
        np.testing.assert_allclose(a, b)
    for a, b in zip(*(fit_ppca(x, 2).posterior(x) for x in (counts, form(counts))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_latents_beyond_the_directions_of_the_data_keep_their_prior():
    rng = np.random.default_rng(0)
    line = np.outer(rng.normal(size=50), rng.normal(size=8))
    line[:, 3] = 0
    for x in (line, line.astype(np.float32), sp.csr_matrix(line)):
        mean, var = fit_ppca(x, 3).posterior(x)
        assert mean[:, 0].std() == pytest.approx(1, abs=0.03)
        np.testing.assert_allclose(mean[:, 1:], 0, atol=1e-3)
        np.testing.assert_allclose(var[:, 1:], 1, atol=1e-3)
        assert (var > 0).all()


@pytest.mark.parametrize("n_latent", [0, 12, 300])
def test_impossible_dimensions_are_refused(cells, n_latent):
    with pytest.raises(ValueError, match=f"n_latent is {n_latent}, the data have 300 cells and 12 genes"):
        fit_ppca(cells, n_latent)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csr_array])
@pytest.mark.parametrize("value", [0.0, 1.7])
def test_equal_cells_are_refused(form, value):
    with pytest.raises(ValueError, match="the expression of all 20 cells is the same: give cells that differ"):
        fit_ppca(form(np.full((20, 5), value)), 2)


def test_nan_is_refused(cells):
    cells[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fit_ppca(cells, 2)
