import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.metrics import mutual_info_score

from scmichigan.closed_form import fit_ppca
from scmichigan.metrics import mutual_information, mutual_information_gap


def factors(**columns):
    return pd.DataFrame(columns)


def integrated_information(means, scales, weights):
    """Mutual information of a value and a latent that is N(mean, scale) given the value, by adaptive quadrature."""
    parts = list(zip(means, scales, weights, strict=True))

    def integrand(z, mean, scale):
        density = norm.pdf(z, mean, scale)
        return density * np.log(density / sum(w * norm.pdf(z, m, s) for m, s, w in parts))

    return sum(w * quad(integrand, m - 12 * s, m + 12 * s, args=(m, s), limit=200)[0] for m, s, w in parts)


@pytest.mark.parametrize(
    ("means", "scales", "counts"),
    [
        ((-1.0, 1.0), (1.0, 1.0), (50, 50)),
        ((0.0, 3.0, 3.5), (0.2, 1.0, 0.4), (20, 70, 10)),
        ((0.0, 0.0), (1.0, 0.1), (30, 70)),
    ],
)
def test_information_agrees_with_quadrature_where_each_value_is_one_gaussian(means, scales, counts):
    codes = np.repeat(np.arange(len(means)), counts)
    mean, var = np.array(means)[codes, None], np.array(scales)[codes, None] ** 2
    found = mutual_information(mean, factors(value=codes), var=var, normalize=False)
    weights = np.array(counts) / sum(counts)
    assert found.to_numpy().item() == pytest.approx(integrated_information(means, scales, weights), abs=2e-3)
    assert found.attrs["estimator"] == "aggregate posterior"


def test_information_agrees_with_the_entropies_of_sampled_latents():
    rng = np.random.default_rng(0)
    n = 800
    codes = rng.integers(3, size=n)
    mean, scale = (codes + rng.normal(size=n))[:, None], rng.uniform(0.1, 0.9, size=(n, 1))
    found = mutual_information(mean, factors(value=codes), var=scale**2, normalize=False).to_numpy().item()
    # H(z) - sum p(v) H(z | v) by Monte Carlo: log q over full mixtures, 50 draws for each cell.
    z = mean[:, 0, None] + scale[:, 0, None] * rng.normal(size=(n, 50))
    log_q = np.empty_like(z)
    log_q_given = np.empty_like(z)
    for i in range(n):
        densities = norm.pdf(z[i][:, None], mean[:, 0], scale[:, 0])
        log_q[i], log_q_given[i] = np.log(densities.mean(1)), np.log(densities[:, codes == codes[i]].mean(1))
    terms = log_q_given - log_q
    # Draws of one cell share its posterior; each is independent given it: four standard errors over all draws.
    assert found == pytest.approx(terms.mean(), abs=4 * terms.std() / np.sqrt(terms.size))


@pytest.mark.parametrize("estimator", ["aggregate posterior", "knn", "binned"])
def test_gap_of_axis_aligned_rotated_and_duplicated_codes(estimator):
    rng = np.random.default_rng(1)
    truth = rng.integers(4, size=(2000, 2))
    table = factors(a=truth[:, 0], b=truth[:, 1])

    def gap(code):
        var = np.full_like(code, 0.01**2)
        return mutual_information_gap(mutual_information(code, table, var=var, estimator=estimator))

    code = truth + 0.0
    assert gap(code) > 0.98
    # At 45 degrees both axes know the two factors alike.
    assert gap(np.column_stack([code.sum(1), code[:, 0] - code[:, 1]]) / np.sqrt(2)) < 0.02
    # Equal, but for the noise that breaks ties between neighbours.
    assert gap(np.hstack([code, code])) == pytest.approx(0, abs=0.01 if estimator == "knn" else 0)


def test_a_latent_that_is_pure_prior_knows_nothing():
    codes = np.arange(1000) % 5
    found = mutual_information(np.zeros((1000, 1)), factors(value=codes), var=np.ones((1000, 1)))
    assert found.to_numpy().item() == pytest.approx(0, abs=1e-12)


def test_bins_are_those_of_pandas():
    rng = np.random.default_rng(2)
    codes = rng.integers(3, size=600)
    mean = (codes + rng.normal(size=600))[:, None]
    found = mutual_information(mean, factors(value=codes), normalize=False, estimator="binned")
    bins = pd.qcut(mean[:, 0], 20, labels=False)
    assert found.to_numpy().item() == pytest.approx(mutual_info_score(codes, bins))
    assert found.attrs["estimator"] == "binned"


@pytest.mark.parametrize(
    ("means", "scales", "counts"),
    [((-1.0, 1.0), (1.0, 1.0), (4000, 4000)), ((0.0, 3.0, 3.5), (0.2, 1.0, 0.4), (1600, 5600, 800))],
)
def test_neighbours_agree_with_quadrature(means, scales, counts):
    codes = np.repeat(np.arange(len(means)), counts)
    z = np.random.default_rng(4).normal(np.array(means)[codes], np.array(scales)[codes])
    found = mutual_information(z[:, None], factors(value=codes), normalize=False)
    weights = np.array(counts) / sum(counts)
    # The estimate is a mean over 8,000 cells of terms with a standard deviation below 1 (that of the log density ratio
    # and of digamma(3), 0.6, together): four standard errors.
    assert found.to_numpy().item() == pytest.approx(integrated_information(means, scales, weights), abs=4 / 8000**0.5)
    assert found.attrs["estimator"] == "knn"


def test_neighbours_take_tied_latents_for_what_they_are():
    rng = np.random.default_rng(5)
    codes = rng.integers(4, size=3000)
    tied = np.where(rng.random(3000) < 0.7, codes // 2, 2).astype(float)
    found = mutual_information(tied[:, None], factors(value=codes), normalize=False).to_numpy().item()
    # Ties are broken by noise, which knows nothing: what is left is the information of the table of counts.
    assert found == pytest.approx(mutual_info_score(codes, tied), abs=4 / 3000**0.5)


def test_neighbours_do_not_mind_where_the_latent_lies():
    codes = np.arange(500) % 2
    z = (codes + np.random.default_rng(6).normal(size=500))[:, None]
    near, far = (mutual_information(mean, factors(value=codes)).to_numpy() for mean in (z, 1e-3 * z + 1e3))
    np.testing.assert_allclose(near, far, atol=0.01)


@pytest.mark.parametrize("estimator", ["knn", "binned"])
def test_a_constant_latent_knows_nothing(estimator):
    mean = np.column_stack([np.full(300, 0.1), np.arange(300) % 3])
    found = mutual_information(mean, factors(value=np.arange(300) % 3), estimator=estimator)
    np.testing.assert_allclose(found["value"], [0, 1], atol=1e-9)


@pytest.mark.parametrize("estimator", ["aggregate posterior", "knn", "binned"])
def test_no_more_cells_than_asked_for_are_used(estimator):
    codes = np.arange(2000) % 4
    mean = np.column_stack([codes, np.random.default_rng(7).normal(size=2000)])
    few, same, other = (
        mutual_information(
            mean, factors(value=codes), var=np.full_like(mean, 0.01), estimator=estimator, n_cells=200, seed=seed
        ).to_numpy()
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(few, same)
    assert (few != other).any()
    # 1 for any cells, but for the edges of classes that the neighbours of few cells see.
    assert few[0] == pytest.approx(1, abs=0.02)


def test_floating_point_factors_are_cut_at_quartiles_and_missing_values_left_out():
    rng = np.random.default_rng(3)
    size = rng.lognormal(size=400)
    mean, var = np.log(size)[:, None], np.full((400, 1), 0.01)
    quartile = pd.qcut(size, 4, labels=False)
    by_hand = mutual_information(mean, factors(size=quartile), var=var)
    np.testing.assert_allclose(mutual_information(mean, factors(size=size), var=var), by_hand)
    with_gaps = pd.Series(quartile.astype(object))
    with_gaps[::3] = None
    kept = with_gaps.notna().to_numpy()
    expected = mutual_information(mean[kept], factors(size=quartile[kept]), var=var[kept])
    found = mutual_information(mean, pd.DataFrame({"size": with_gaps}), var=var)
    # The grid spans all cells rather than those kept.
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.zeros((9, 2))}, "one row a cell"),
        ({"mean": np.full((10, 2), np.nan)}, "not finite"),
        ({"var": np.zeros((10, 2))}, "finite and positive"),
        ({"var": np.ones((10, 3))}, "they must be the same"),
        ({"factors": pd.DataFrame({"a": ["x"] * 10})}, "factor 'a' has 1 different value"),
        ({"estimator": "kde"}, "estimator is 'kde'; give one of 'auto'"),
        ({"estimator": "aggregate posterior", "var": None}, "needs posterior variances; give var"),
        ({"n_cells": 0}, "n_cells is 0"),
        ({"n_quantiles": 1}, "n_quantiles is 1"),
    ],
)
def test_bad_input(change, message):
    good = {"mean": np.zeros((10, 2)), "factors": pd.DataFrame({"a": list("xy") * 5}), "var": np.ones((10, 2))}
    with pytest.raises(ValueError, match=message):
        mutual_information(**(good | change))


def test_a_gap_needs_two_latents():
    with pytest.raises(ValueError, match="at least 2 latents"):
        mutual_information_gap(pd.DataFrame({"a": [0.5]}))


def test_ppca_on_simulated_paths_has_the_known_gap(shared_file):
    adata = read_h5ad(shared_file("splatter_linear_small.h5ad"))
    x = np.log1p(adata.X.toarray())
    mean, var = fit_ppca(x, 10).posterior(x)
    table = mutual_information(mean, adata.obs[["batch", "path", "step", "exp_lib_size"]], var=var)
    # 0.58 by an independent script, to two digits (the paper has 0.54 on its own draw of 10,000 cells).
    assert mutual_information_gap(table) == pytest.approx(0.58, abs=0.02)
