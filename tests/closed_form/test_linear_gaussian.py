import numpy as np
import pytest
import scipy.sparse as sp

from scmichigan.closed_form import fit_linear_gaussian


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 4)) + [0, 1, -2, 0]
    x = z @ rng.normal(size=(4, 30)) + rng.normal(size=(500, 5)) @ rng.normal(size=(5, 30)) + 3
    return x + 0.1 * rng.normal(size=x.shape), z


def test_exact_condition_gives_least_squares_and_the_principal_directions_of_its_residuals(cells):
    x, z = cells
    fit = fit_linear_gaussian(x, z, n_noise=5)
    design = np.column_stack([z, np.ones(len(z))])
    coefficients, *_ = np.linalg.lstsq(design, x)
    np.testing.assert_allclose(fit.weight, coefficients[:-1].T, atol=1e-5)
    np.testing.assert_allclose(fit.bias, coefficients[-1], atol=1e-5)
    residuals = x - design @ coefficients
    _, singular, directions = np.linalg.svd(residuals, full_matrices=False)
    covariance = directions[:5].T * (singular[:5] ** 2 / len(x)) @ directions[:5]
    np.testing.assert_allclose(fit.loadings @ fit.loadings.T, covariance, atol=1e-4)


def test_all_directions_give_back_mean_and_covariance_of_the_data(cells):
    x, z = cells
    fit = fit_linear_gaussian(x, z, n_noise=40)
    assert fit.loadings.shape == (30, 40)
    np.testing.assert_array_equal(fit.loadings[:, 30:], 0)
    np.testing.assert_allclose(fit.weight @ z.mean(0) + fit.bias, x.mean(0), atol=1e-4)
    covariance = fit.weight @ np.cov(z.T, bias=True) @ fit.weight.T + fit.loadings @ fit.loadings.T
    np.testing.assert_allclose(covariance, np.cov(x.T, bias=True), atol=1e-3)


def test_sampled_condition_is_the_expectation_over_many_samples(cells):
    x, z = cells
    var = np.random.default_rng(1).uniform(0.05, 0.5, size=z.shape)
    fit = fit_linear_gaussian(x, z, condition_var=var, n_noise=30)
    n_samples = 400
    rng = np.random.default_rng(2)
    sampled = np.concatenate([z + np.sqrt(var) * rng.normal(size=z.shape) for _ in range(n_samples)])
    brute = fit_linear_gaussian(np.tile(x, (n_samples, 1)), sampled, n_noise=30)
    # 200,000 rows: the error of a coefficient is about residual sd 2.5 / sqrt(200,000) / sd of z 1.1 = 0.005, and of
    # an entry of the covariance about 6 * sqrt(2 / 200,000) = 0.02; five of each.
    np.testing.assert_allclose(fit.weight, brute.weight, atol=0.025)
    np.testing.assert_allclose(fit.loadings @ fit.loadings.T, brute.loadings @ brute.loadings.T, atol=0.1)


def test_sparse_and_dense_expression_agree(cells):
    x, z = cells
    x = np.maximum(x - 3, 0)
    dense, sparse = fit_linear_gaussian(x, z, n_noise=10), fit_linear_gaussian(sp.csr_matrix(x), z, n_noise=10)
    for a, b in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_one_hot_columns_that_sum_to_one_are_no_trouble(cells):
    x, z = cells
    batch = np.eye(2)[np.arange(len(z)) % 2]
    x = x + np.outer(np.arange(len(z)) % 2, np.arange(30))
    fit = fit_linear_gaussian(x, np.column_stack([z, batch]), n_noise=3)
    predicted = np.column_stack([z, batch]) @ fit.weight.T + fit.bias
    design = np.column_stack([z, batch])
    expected = design @ np.linalg.lstsq(design, x)[0]
    np.testing.assert_allclose(predicted, expected, atol=1e-3)
