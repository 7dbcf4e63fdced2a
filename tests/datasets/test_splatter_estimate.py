import re

import anndata
import numpy as np
import pytest
from scipy import optimize, stats
from scipy.sparse import csr_matrix
from scipy.special import polygamma

from scmichigan.datasets import SplatterParameters, estimate_splatter, splatter
from scmichigan.datasets._dispersion import _prior_df, dispersion
from scmichigan.datasets._splatter_estimate import _dropout, _library, _means, _outliers

ESTIMATED = (
    "mean_rate",
    "mean_shape",
    "lib_loc",
    "lib_scale",
    "out_prob",
    "out_fac_loc",
    "out_fac_scale",
    "bcv_common",
    "bcv_df",
    "dropout_mid",
    "dropout_shape",
)
N_SAMPLES = 6


def _original_name(name):
    """Ours in the original's spelling: out_fac_loc is out.facLoc."""
    group, *rest = name.split("_")
    return f"{group}.{rest[0]}" + "".join(word.capitalize() for word in rest[1:])


def _assert_one_more_of(estimates, real):
    """Check that the original's estimates may be one more sample of ours, by t tests at 0.01 for all together."""
    values_se = np.array([[getattr(estimate, name) for name in ESTIMATED] for estimate in estimates])
    n = len(values_se)
    allowed = stats.t.isf(0.005 / len(ESTIMATED), n - 1) * values_se.std(axis=0, ddof=1) * np.sqrt(1 + 1 / n)
    for name, mean, error in zip(ESTIMATED, values_se.mean(axis=0), allowed, strict=True):
        assert real[_original_name(name)] == pytest.approx(mean, abs=error), name


@pytest.mark.parametrize("config", ["linear", "nonlinear", "all_defaults_2paths", "low_depth_dropout"])
def test_estimates_are_those_of_splatter(config, reference):
    real = reference("splatter_reference.json")
    given = real["seeds_reference"]["configs"][config]["params"]
    names = {key: re.sub("(?<=[a-z])([A-Z])", r"_\1", key.replace(".", "_")).lower() for key in given}
    parameters = SplatterParameters(
        **{names[key]: value for key, value in given.items() if key not in ("nCells", "nBatches", "nGroups")}
    )
    estimates = [estimate_splatter(splatter(parameters, seed=seed)) for seed in range(N_SAMPLES)]
    assert not any(estimate.lib_norm for estimate in estimates)
    _assert_one_more_of(estimates, real["components"]["splatEstimate_on_ref_seed1"][config])


def test_estimates_of_real_cells_are_those_of_splatter(reference, shared_file):
    # The original was given 1,200 of these cells; which ones is not known.
    real = reference("splatter_reference.json")["parameter_estimates"]["mouse_pancreas_10x_2000genes"]
    cells = anndata.read_h5ad(shared_file("pancreas_endocrinogenesis.h5ad"))
    rng = np.random.default_rng(0)
    some = [cells.X[rng.choice(cells.n_obs, real["n_cells_used"], replace=False)] for _ in range(N_SAMPLES)]
    _assert_one_more_of([estimate_splatter(x) for x in some], real)


def test_library_of_real_cells_is_that_of_splatter(reference, shared_file):
    real = reference("splatter_reference.json")["parameter_estimates"]["droplet_heart_aorta"]
    cells = anndata.read_h5ad(shared_file("tabula_muris_heart_10x.h5ad"))
    library = _library(cells.obs["library_size"].to_numpy(), seed=0)
    assert library["lib_loc"] == pytest.approx(real["lib.loc"], abs=1e-8)
    assert library["lib_scale"] == pytest.approx(real["lib.scale"], abs=1e-8)
    assert library["lib_norm"] == real["lib.norm"]


def test_means_are_at_the_least_distance():
    means = np.random.default_rng(0).gamma(0.6, 1 / 0.3, 500)
    fit = _means(means)
    winsorised = stats.mstats.winsorize(np.sort(means), (0.1, 0.1))
    x = np.clip(means, *np.quantile(means, [0.1, 0.9]))
    assert np.abs(np.sort(x) - winsorised).max() < np.diff(np.sort(means))[40:460].max()

    def distance(shape, rate):
        return stats.cramervonmises(x, "gamma", args=(shape, 0, 1 / rate)).statistic

    least = distance(fit["mean_shape"], fit["mean_rate"])
    for shape in (0.98, 1, 1.02):
        for rate in (0.98, 1, 1.02):
            if (shape, rate) != (1, 1):
                assert distance(shape * fit["mean_shape"], rate * fit["mean_rate"]) > least
    # 500 genes: the shape has a standard error of about 0.04
    assert fit["mean_shape"] == pytest.approx(0.6, abs=0.15)


def test_library_is_normal_where_the_totals_are():
    quantiles = stats.norm.ppf((np.arange(200) + 0.5) / 200)
    normal = _library(1000 + 100 * quantiles, seed=0)
    assert normal["lib_norm"]
    assert normal["lib_loc"] == pytest.approx(1000)
    assert normal["lib_scale"] == pytest.approx(100 * quantiles.std())
    skewed = _library(np.exp(7 + quantiles), seed=0)
    assert not skewed["lib_norm"]
    assert skewed["lib_loc"] == pytest.approx(7)
    many = _library(np.random.default_rng(0).lognormal(3, 1, 6000), seed=0)
    assert not many["lib_norm"]


def test_outliers_by_hand():
    log_means = np.concatenate([np.linspace(-1, 1, 99), [8.0]])
    found = _outliers(np.exp(log_means))
    assert found == {"out_prob": 0.01}
    two = _outliers(np.exp(np.append(log_means, 9.0)))
    median = np.log(np.median(np.exp(np.append(log_means, 9.0))))
    assert two["out_prob"] == pytest.approx(2 / 101)
    assert two["out_fac_loc"] == pytest.approx(8.5 - median)
    assert two["out_fac_scale"] == pytest.approx(0.5)


def test_dropout_of_a_logistic_curve():
    log_means = np.linspace(-5, 5, 40)
    fit = _dropout(np.exp(log_means), 1 / (1 + np.exp(1.4 * (log_means - 0.3))))
    assert fit["dropout_mid"] == pytest.approx(0.3)
    assert fit["dropout_shape"] == pytest.approx(-1.4)


def _counts(dispersion_g, n_cells, seed=0):
    rng = np.random.default_rng(seed)
    library = rng.lognormal(0, 0.3, n_cells)
    mean = library[:, None] * rng.lognormal(1, 1, len(dispersion_g))
    return rng.negative_binomial(1 / dispersion_g, 1 / (1 + dispersion_g * mean))


def test_common_dispersion_maximises_the_adjusted_profile_likelihood():
    counts = _counts(np.full(6, 0.35), 40)
    library = counts.sum(axis=1)

    def negative(log_phi):
        phi, total = np.exp(log_phi), 0
        for y in counts.T:
            minus = lambda beta, y=y: -stats.nbinom.logpmf(y, 1 / phi, 1 / (1 + phi * np.exp(beta) * library)).sum()
            fit = optimize.minimize_scalar(minus, bounds=(-10, 2), method="bounded", options={"xatol": 1e-8})
            mean = np.exp(fit.x) * library
            total += fit.fun + np.log((mean / (1 + phi * mean)).sum()) / 2
        return total

    best = np.exp(optimize.minimize_scalar(negative, bounds=(-4, 2), method="bounded").x)
    # ours is the maximum of a spline through dispersions that are a factor of 2 apart
    assert dispersion(counts)[0] == pytest.approx(best, rel=0.02)


def test_common_dispersion_is_recovered():
    counts = _counts(np.full(300, 0.4), 200)
    # One gene's dispersion has a standard error of about phi sqrt(2 / 200) (1 + 1 / (phi mu)), at most 0.1 for most:
    # 300 genes' is below 0.01.
    assert dispersion(counts)[0] == pytest.approx(0.4, abs=0.03)
    assert dispersion(csr_matrix(counts)) == dispersion(counts)


def test_prior_degrees_of_freedom():
    rng = np.random.default_rng(0)
    n, df, prior = 5000, 30, 8
    expression = rng.normal(5, 1, n)
    variance = np.exp(0.1 * expression) * rng.f(df, prior, n)
    found = _prior_df(df * variance, np.full(n, df), expression)
    # log s^2 has variance trigamma(df / 2) + trigamma(prior / 2), its estimate the error of any variance
    logs = np.log(variance) - 0.1 * expression
    error = 4 * logs.var() * np.sqrt((stats.kurtosis(logs, fisher=False) - 1) / n)
    assert polygamma(1, found / 2) == pytest.approx(polygamma(1, prior / 2), abs=error)
    # equally spaced quantiles of chi-squared vary less than samples
    same = stats.chi2.ppf((np.arange(n) + 0.5) / n, df)
    assert _prior_df(same, np.full(n, df), np.zeros(n)) == np.inf
    assert _prior_df(np.ones(3), np.zeros(3), np.zeros(3)) == np.inf


def test_estimates_can_be_simulated_from():
    adata = splatter(SplatterParameters(n_genes=100, batch_cells=80))
    adata.layers["counts"], adata.X = adata.X, None
    estimate = estimate_splatter(adata, layer="counts")
    assert (estimate.n_genes, estimate.n_cells) == (100, 80)
    assert splatter(estimate).shape == (80, 100)


def test_cells_without_counts_are_left_out():
    adata = splatter(SplatterParameters(n_genes=100, batch_cells=80))
    with_empty = np.vstack([np.zeros((100, 100)), adata.X.toarray(), np.zeros((50, 100))])
    assert estimate_splatter(with_empty) == estimate_splatter(adata)


def test_what_the_counts_do_not_tell_keeps_its_default():
    # no zeros, no outliers, and no variation at all
    estimate = estimate_splatter(np.full((10, 5), 3))
    assert (estimate.dropout_mid, estimate.dropout_shape) == (0, -1)
    assert (estimate.out_prob, estimate.out_fac_loc, estimate.out_fac_scale) == (0, 4, 0.5)
    assert estimate.bcv_common == pytest.approx(0.1, abs=1e-3)
    assert estimate.bcv_df == np.inf
    assert (estimate.lib_loc, estimate.lib_scale, estimate.lib_norm) == (pytest.approx(np.log(15)), 0, False)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (np.full((5, 4), 0.5), "cells has negative values or fractions: give raw counts"),
        (-np.ones((5, 4)), "cells has negative values"),
        (np.eye(2), "2 cells have counts, and 0 genes are found in two or more"),
        (np.ones((5, 1)), "5 cells have counts, and 1 genes are found in two or more"),
    ],
)
def test_what_is_no_count_matrix(cells, message):
    with pytest.raises(ValueError, match=message):
        estimate_splatter(cells)
