import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import xlogy

from scmichigan.closed_form import fit_poisson_log_normal
from scmichigan.closed_form._poisson_log_normal import _basis

N, G, C, D = 2000, 30, 3, 2


def simulate(*, n=N, spread=0.35, seed=0):
    rng = np.random.default_rng(seed)
    z_nc = rng.normal(size=(n, C))
    weight_gc = rng.normal(scale=0.3, size=(G, C))
    loadings_gd = spread * rng.normal(size=(G, D))
    bias_g = rng.uniform(0, 2, G)
    size_n = rng.uniform(0.5, 2, n)
    log_rate_ng = z_nc @ weight_gc.T + bias_g + rng.normal(size=(n, D)) @ loadings_gd.T
    counts_ng = rng.poisson(size_n[:, None] * np.exp(log_rate_ng))
    return counts_ng, size_n, z_nc, (weight_gc, bias_g, loadings_gd)


def mean_rates(fit, z_nc):
    """Rates with the noise averaged out."""
    log_rate_ng = _basis(z_nc, fit.kernel).astype(float) @ fit.weight.T + fit.bias
    return np.exp(log_rate_ng + (fit.loadings.astype(float) ** 2).sum(axis=1) / 2)


@pytest.fixture(scope="module")
def cells():
    return simulate()


@pytest.fixture(scope="module")
def fit(cells):
    counts_ng, size_n, z_nc, _ = cells
    return fit_poisson_log_normal(counts_ng, size_n, z_nc, n_centres=0, n_noise=5)


def true_moments(cells):
    """Expected counts m, and their variance m + m^2 (e^S - 1), under the simulation."""
    _, size_n, z_nc, (weight_gc, bias_g, loadings_gd) = cells
    s_g = (loadings_gd**2).sum(axis=1)
    m_ng = size_n[:, None] * np.exp(z_nc @ weight_gc.T + bias_g + s_g / 2)
    return m_ng, m_ng + m_ng**2 * np.expm1(s_g)


def test_weights_are_recovered(cells, fit):
    _, _, z_nc, (weight_gc, bias_g, _) = cells
    m_ng, variance_ng = true_moments(cells)
    design_nf = np.column_stack([z_nc, np.ones(N)])
    for gene in range(G):
        # Standard errors of a Poisson regression whose counts vary more than Poisson: (X'mX)^-1 X'VX (X'mX)^-1.
        bread = np.linalg.inv(design_nf.T @ (m_ng[:, gene, None] * design_nf))
        filling = design_nf.T @ (variance_ng[:, gene, None] * design_nf)
        error_f = np.sqrt(np.diag(bread @ filling @ bread))
        assert (np.abs(fit.weight[gene] - weight_gc[gene]) < 5 * error_f[:-1]).all()
        # The bias is that of the mean less half of the variance, whose own error is the next test's.
        mean = fit.bias[gene] + (fit.loadings[gene] ** 2).sum() / 2
        expected = bias_g[gene] + (cells[3][2][gene] ** 2).sum() / 2
        assert abs(mean - expected) < 5 * error_f[-1]


def test_covariance_of_log_rates_is_recovered(cells, fit):
    loadings_gd = cells[3][2]
    m_ng, variance_ng = true_moments(cells)
    # Product of two residuals: the variance is about V_g V_h (1 + 2 rho^2), at most three times V_g V_h.
    relative_g = (variance_ng.mean(axis=0)) / m_ng.mean(axis=0) ** 2
    error_gg = np.sqrt(3 * np.outer(relative_g, relative_g) / N)
    difference_gg = fit.loadings @ fit.loadings.T - loadings_gd @ loadings_gd.T
    assert (np.abs(difference_gg) < 5 * error_gg).all()
    # Beyond the two directions there is no more than errors of that size have as their largest eigenvalue.
    weighted = np.sqrt(m_ng.mean(axis=0))[:, None] * fit.loadings
    values = np.sort(np.linalg.eigvalsh(weighted.T @ weighted))[::-1]
    assert values[D - 1] > 2 * values[D]
    assert values[D] < 2 * np.sqrt(G / N) * (relative_g * m_ng.mean(axis=0)).max()


@pytest.mark.parametrize("seed", range(4))
def test_without_extra_variation_no_direction_survives(seed):
    counts_ng, size_n, z_nc, _ = simulate(spread=0.0, seed=seed)
    fit = fit_poisson_log_normal(counts_ng, size_n, z_nc, n_centres=0, n_noise=5)
    # The largest eigenvalue of errors alone passes the edge by chance only, by (1 + t / (2 g^(2/3))) with t above 4
    # once in 10^5 (Tracy and Widom 1996): so the explained variance stays below 1.21 edges.
    explained = np.linalg.eigvalsh((w := np.sqrt(counts_ng.mean(axis=0))[:, None] * fit.loadings).T @ w)
    assert explained.max() < (1 + 4 / (2 * G ** (2 / 3))) * 2 * np.sqrt(G / N)
    assert (explained > 0).sum() <= 1


@pytest.mark.parametrize("n_centres", [0, 30])
def test_every_gene_keeps_its_mean(cells, n_centres):
    counts_ng, size_n, z_nc, _ = cells
    fit = fit_poisson_log_normal(counts_ng, size_n, z_nc, n_centres=n_centres, n_noise=5)
    expected_ng = size_n[:, None] * mean_rates(fit, z_nc)
    np.testing.assert_allclose(expected_ng.mean(axis=0), counts_ng.mean(axis=0), rtol=1e-3)
    # ... and so do cells that are sampled: 20 for each, whose error is that of their own mean
    rng = np.random.default_rng(1)
    log_rate_ng = np.tile(_basis(z_nc, fit.kernel) @ fit.weight.T + fit.bias, (20, 1))
    log_rate_ng += rng.normal(size=(20 * N, 5)) @ fit.loadings.T
    sampled_ng = rng.poisson(np.tile(size_n, 20)[:, None] * np.exp(log_rate_ng))
    error_g = sampled_ng.std(axis=0) / np.sqrt(20 * N)
    assert (np.abs(sampled_ng.mean(axis=0) - counts_ng.mean(axis=0)) < 5 * error_g).all()


def test_sparse_and_dense_counts_agree(cells, fit):
    counts_ng, size_n, z_nc, _ = cells
    for form in (sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array):
        sparse = fit_poisson_log_normal(form(counts_ng), size_n, z_nc, n_centres=0, n_noise=5)
        for a, b in zip(fit[1:], sparse[1:], strict=True):
            np.testing.assert_array_equal(a, b)


def test_more_cells_than_are_used(cells):
    counts_ng, size_n, z_nc, _ = (np.tile(a, (4, 1)) if a.ndim == 2 else np.tile(a, 4) for a in (*cells[:3], cells[1]))
    a, b = (
        fit_poisson_log_normal(x, size_n, z_nc, n_centres=0, n_noise=5) for x in (counts_ng, sp.coo_matrix(counts_ng))
    )
    np.testing.assert_array_equal(a.weight, b.weight)
    assert np.isfinite(a.loadings).all()


def test_seed_fixes_the_fit_and_inputs_stay(cells):
    counts_ng, size_n, z_nc, _ = cells
    var = np.full_like(z_nc, 0.1)
    copies = [a.copy() for a in (counts_ng, size_n, z_nc, var)]
    weights = [
        fit_poisson_log_normal(counts_ng, size_n, z_nc, condition_var=var, n_noise=5, n_centres=9, seed=seed).weight
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()
    for before, now in zip(copies, (counts_ng, size_n, z_nc, var), strict=True):
        np.testing.assert_array_equal(before, now)


def curved(n, seed):
    """Rates that rise and fall along the first latent."""
    rng = np.random.default_rng(seed)
    z_nc = rng.uniform(-2, 2, (n, 2))
    phase_g = np.linspace(0, 2 * np.pi, G)
    rate_ng = np.exp(1 + np.sin(2 * z_nc[:, :1] + phase_g))
    return rng.poisson(rate_ng), np.ones(n), z_nc, rate_ng


def deviance(counts, expected):
    return 2 * (xlogy(counts, counts / expected) - counts + expected).mean()


def test_centres_follow_curved_rates():
    counts_ng, size_n, z_nc, _ = curved(1500, 0)
    held_out, _, z_out, rate_out = curved(1500, 1)
    straight, bent = (
        deviance(held_out, mean_rates(fit_poisson_log_normal(counts_ng, size_n, z_nc, n_centres=m, n_noise=2), z_out))
        for m in (0, 60)
    )
    truth = deviance(held_out, rate_out)
    # Most of what a log-linear fit misses; the rest is the error of 60 weights a gene, 60 / 1,500 of a unit deviance.
    assert bent - truth < 0.1 * (straight - truth)
    assert bent - truth < 3 * 60 / 1500


@pytest.mark.parametrize("unit", [1e-4, 0.01, 100.0])
@pytest.mark.parametrize("origin", [0, 100])
@pytest.mark.parametrize("n_centres", [0, 20])
def test_unit_and_origin_of_a_latent_do_not_matter(cells, unit, origin, n_centres):
    counts_ng, size_n, z_nc, _ = (a[:600] for a in (*cells[:3], cells[1]))
    moved_nc = unit * (z_nc + origin)
    here, there = (
        mean_rates(fit_poisson_log_normal(counts_ng, size_n, z, n_centres=n_centres, n_noise=5), z)
        for z in (z_nc, moved_nc)
    )
    # Both stop near the same optimum, and k-means takes its own way: half of a standard error of a gene's mean.
    error_g = np.sqrt(counts_ng.var(axis=0) / 600) / counts_ng.mean(axis=0)
    differences_g = np.sqrt(np.square(np.log(here / there)).mean(axis=0))
    assert (differences_g < (0.5 if n_centres == 0 else 3) * error_g).all()


LATENTS = {
    "groups": lambda z: np.sign(z),
    "groups up to rounding": lambda z: (np.sign(z) + 1e-7 * z).astype(np.float32),
    "two values": lambda z: np.sign(z[:, :1]),
    "one-hot": lambda z: np.eye(4)[np.arange(len(z)) % 4],
    "a constant column": lambda z: z * [1, 1, 0] + 7,
    "one outlier": lambda z: np.where(np.arange(len(z))[:, None] == 3, 1000, z),
    "outliers": lambda z: np.where(np.arange(len(z))[:, None] < 30, 1000, z),
    "single precision": lambda z: z.astype(np.float32),
}


@pytest.mark.parametrize("n_centres", [0, 40])
@pytest.mark.parametrize("change", LATENTS.values(), ids=LATENTS)
def test_latents(cells, change, n_centres):
    counts_ng, size_n, z_nc, _ = (a[:400] for a in (*cells[:3], cells[1]))
    z = change(z_nc)
    fit = fit_poisson_log_normal(counts_ng, size_n, z, n_centres=n_centres, n_noise=5)
    assert all(np.isfinite(a).all() for a in (*fit.kernel, *fit[1:]))
    assert fit.weight.shape == (G, z.shape[1] + n_centres)
    expected_ng = size_n[:, None] * mean_rates(fit, z)
    np.testing.assert_allclose(expected_ng.mean(axis=0), counts_ng.mean(axis=0), rtol=5e-3)


def test_genes_that_say_nothing(cells):
    counts_ng, size_n, z_nc, _ = (a[:400].copy() for a in (*cells[:3], cells[1]))
    counts_ng[:, 0], counts_ng[:, 1] = 0, 5
    counts_ng[:, 2:4] = np.arange(400)[:, None] == 3  # two genes seen in one cell only, the same
    fit = fit_poisson_log_normal(counts_ng, size_n, z_nc, n_centres=10, n_noise=5)
    assert all(np.isfinite(a).all() for a in fit[1:])
    rates_ng = size_n[:, None] * mean_rates(fit, z_nc)
    np.testing.assert_allclose(rates_ng.mean(axis=0), counts_ng.mean(axis=0), rtol=5e-3, atol=1e-7)


@pytest.mark.parametrize(("n_cells", "n_genes", "n_noise"), [(400, 1, 5), (400, 2, 5), (400, G, 0), (5, G, 50)])
def test_few_genes_noises_and_cells(cells, n_cells, n_genes, n_noise):
    counts_ng, size_n, z_nc, _ = (a[:n_cells] for a in (*cells[:3], cells[1]))
    fit = fit_poisson_log_normal(counts_ng[:, :n_genes], size_n, z_nc, n_centres=4, n_noise=n_noise)
    assert fit.loadings.shape == (n_genes, n_noise)
    assert all(np.isfinite(a).all() for a in fit[1:])
    assert all(a.dtype == np.float32 for a in fit[1:])
