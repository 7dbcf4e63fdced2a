import anndata
import numpy as np
import pytest
from scipy import stats

from scmichigan.datasets import prosstt
from scmichigan.datasets._prosstt import negative_binomial, random_tree, walk

N_WALKS = 40_000
N_SEEDS = 12


@pytest.fixture(scope="module")
def cells():
    return prosstt([(0, 2), (0, 1), (2, 3)], 200, 2400, n_times=(20, 10, 20, 30), seed=2)


def _walks(n_times=50):
    return walk(np.random.default_rng(0), n_times, N_WALKS)


def _change_sd(t, n_times=50):
    r"""Standard deviation of w_t - w_0, in closed form given the momentum, over which it is integrated.

    v_s = eta^s v_0 + \sum_{j<s} eta^{s-1-j} e_j, so that the change is v_0 (1 - eta^t) / (1 - eta) and the sum of each
    e_j times (1 - eta^{t-1-j}) / (1 - eta).
    """
    node, weight = np.polynomial.legendre.leggauss(200)
    eta, weight = (node + 1) / 2, weight / 2
    gain = (1 - eta[:, None] ** np.arange(t + 1)) / (1 - eta[:, None])
    variance = 0.2**2 * gain[:, t] ** 2 + (2 / n_times) ** 2 * (gain[:, :t] ** 2).sum(axis=1)
    return np.sqrt(weight @ variance)


def _sd_error(values):
    """Standard error of standard deviations: the variance of a variance is (kurtosis - 1) / n of its square."""
    kurtosis = stats.kurtosis(values, axis=-1, fisher=False)
    return values.std(axis=-1) * np.sqrt((kurtosis - 1) / 4 / values.shape[-1])


def test_walks_in_closed_form():
    walks = _walks()
    assert stats.kstest(np.exp(walks[0]), stats.uniform(0, 1.5).cdf).pvalue > 1e-3
    assert stats.kstest(walks[1] - walks[0], stats.norm(0, 0.2).cdf).pvalue > 1e-3
    for t in (2, 5, 20, 49):
        change = walks[t] - walks[0]
        assert change.std() == pytest.approx(_change_sd(t), abs=4 * _sd_error(change))
        assert change.mean() == pytest.approx(0, abs=4 * change.std() / np.sqrt(N_WALKS))


def test_walks_are_those_of_prosstt(reference):
    real = reference("prosstt_reference.json")["diffusion_50"]
    walks = _walks()
    error = np.sqrt(1 / N_WALKS + 1 / real["reps"])
    for i, t in enumerate(real["t"]):
        # 5 standard errors in 54 comparisons
        allowed = 5 * error * np.sqrt(N_WALKS)
        assert walks[t].mean() == pytest.approx(real["mean"][i], abs=5 * error * walks[t].std())
        assert walks[t].std() == pytest.approx(real["sd"][i], abs=allowed * _sd_error(walks[t]))
        change = walks[t] - walks[0]
        if t:
            assert change.std() == pytest.approx(real["increment_sd"][i], abs=allowed * _sd_error(change))
            assert _change_sd(t) == pytest.approx(
                real["increment_sd"][i], abs=5 * _sd_error(change) * np.sqrt(N_WALKS / real["reps"])
            )
        for key, prob, values in (("q05", 0.05, walks[t]), ("q50", 0.5, walks[t]), ("q95", 0.95, walks[t])):
            assert np.mean(values <= real[key][i]) == pytest.approx(prob, abs=5 * error * np.sqrt(prob * (1 - prob)))


def test_coefficients_are_gamma(reference):
    adata = prosstt(0, 20_000, 2, n_times=2, n_programmes=10, seed=0)
    sampled = adata.varm["coefficients"].ravel()
    assert stats.kstest(sampled, stats.gamma(0.05).cdf).pvalue > 1e-3
    few = prosstt(0, 5000, 2, n_times=2, n_programmes=50, seed=0).varm["coefficients"].ravel()
    assert stats.kstest(few, stats.gamma(1 / 50).cdf).pvalue > 1e-3
    whole = reference("prosstt_reference.json")
    real, probs = whole["coefficients_gamma_a0.05"], np.array(whole["quantile_probs"][1:-1])
    error = np.sqrt(1 / sampled.size + 1 / real["n"])
    fraction = np.mean(sampled[:, None] <= real["q"][1:-1], axis=0)
    assert (np.abs(fraction - probs) < 5 * error * np.sqrt(probs * (1 - probs))).all()
    assert sampled.mean() == pytest.approx(real["mean"], abs=5 * error * np.sqrt(0.05))


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 2.0), (0.05, 1.2), (0.6, 3.0)])
@pytest.mark.parametrize("mean", [0.05, 5.0, 50.0])
def test_counts_are_negative_binomial(mean, alpha, beta):
    counts = negative_binomial(np.random.default_rng(0), np.full(100_000, mean), alpha, beta)
    variance = alpha * mean**2 + beta * mean
    size = mean**2 / (variance - mean)
    values = np.arange(counts.max() + 1)
    expected = stats.nbinom.pmf(values, size, mean / variance) * counts.size
    observed = np.bincount(counts)
    often = expected >= 5
    expected = np.append(expected[often], counts.size - expected[often].sum())
    observed = np.append(observed[often], counts.size - observed[often].sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_counts_are_those_of_prosstt(reference):
    for real in reference("prosstt_reference.json")["counts_given_mean"]:
        n = 400_000
        counts = negative_binomial(np.random.default_rng(1), np.full(n, real["mean"]), real["alpha"], real["beta"])
        error = 5 * np.sqrt(2 / n)  # 45 comparisons
        assert counts.mean() == pytest.approx(real["sample_mean"], abs=error * counts.std())
        kurtosis = stats.kurtosis(counts, fisher=False)
        assert counts.var() == pytest.approx(real["sample_var"], abs=error * counts.var() * np.sqrt(kurtosis - 1))
        zeros = real["zero_expected"]
        assert np.mean(counts == 0) == pytest.approx(real["zero_frac"], abs=error * np.sqrt(zeros) + 5 / n)


def test_random_trees():
    assert random_tree(np.random.default_rng(0), 0) == [-1]
    assert random_tree(np.random.default_rng(0), 1) == [-1, 0, 0]
    # the second split is of branch 1 or 2, with equal probability
    second = [random_tree(np.random.default_rng(seed), 2)[3:] for seed in range(400)]
    assert {tuple(parents) for parents in second} == {(1, 1), (2, 2)}
    assert np.mean([parents[0] == 1 for parents in second]) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 400))


def test_layout(cells):
    assert cells.shape == (2400, 200)
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.float32
    np.testing.assert_array_equal(cells.obs["total_counts"], cells.X.sum(axis=1).A1)
    # 80 positions, 30 cells each
    assert (cells.obs.groupby(["branch", "pseudotime"], observed=True).size() == 30).all()
    spans = cells.obs.groupby("branch", observed=True)["pseudotime"].agg(["min", "max"])
    assert spans.to_numpy().tolist() == [[0, 19], [20, 29], [20, 39], [40, 69]]
    stored = cells.uns["prosstt"]
    assert stored["tree"].tolist() == [[0, 1], [0, 2], [2, 3]]
    assert stored["start_time"].tolist() == [0, 20, 20, 40]
    assert stored["n_draws"] >= 4
    assert cells.varm["log_means"].shape == (200, 4, 30)
    assert np.isnan(cells.varm["log_means"][:, 1, 10:]).all()
    # one branch splits: five programmes and 3 to 19 more
    assert 8 <= cells.varm["coefficients"].shape[1] <= 24


def test_means_follow_the_programmes(cells):
    stored, log_means = cells.uns["prosstt"], cells.varm["log_means"]
    for branch, n in enumerate(stored["n_times"]):
        expected = cells.var["log_base"].to_numpy() + stored["programmes"][branch, :n] @ cells.varm["coefficients"].T
        np.testing.assert_allclose(log_means[:, branch, :n].T, expected)
    for parent, child in stored["tree"]:
        np.testing.assert_allclose(log_means[:, child, 0], log_means[:, parent, stored["n_times"][parent] - 1])
    change = log_means - cells.var["log_base"].to_numpy()[:, None, None]
    assert np.nanmax(change) <= 8
    assert np.nanmax(log_means) <= np.log(5000)
    # sister branches: at least one gene with a negative correlation over the ten times that both have
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(change[:, 1, :10], change[:, 2, :10], strict=True)]
    assert np.nanmin(correlations) < 0


def test_counts_follow_the_stored_truths(cells):
    stored = cells.uns["prosstt"]
    branch = cells.obs["branch"].cat.codes.to_numpy()
    time = cells.obs["pseudotime"].to_numpy() - stored["start_time"][branch]
    mean = np.exp(cells.varm["log_means"][:, branch, time].T) * cells.obs["scaling"].to_numpy()[:, None]
    variance = cells.var["alpha"].to_numpy() * mean**2 + cells.var["beta"].to_numpy() * mean
    counts = cells.X.toarray()
    z = (counts - mean).sum(axis=0) / np.sqrt(variance.sum(axis=0))
    often = mean.sum(axis=0) > 500  # so that the sum is about normal
    assert often.sum() > 100
    assert np.abs(z[often]).max() < 5
    squared = ((counts - mean) ** 2 / variance)[:, often]
    assert squared.mean() == pytest.approx(1, abs=4 * squared.std() / np.sqrt(squared.size))


def test_genes_and_cells_have_their_distributions():
    adata = prosstt(0, 5000, 5000, n_times=2, n_programmes=3, alpha=0.4, beta=2, scaling_sd=0.5, seed=0)
    sd = np.log(1.5)
    for values, distribution in (
        (np.log(adata.var["alpha"]), stats.norm(np.log(0.4), sd)),
        (np.log(adata.var["beta"] - 1), stats.norm(np.log(2), sd)),
        (np.log(adata.obs["scaling"]), stats.norm(0, 0.5)),
        (adata.var["log_base"], stats.norm(0.8, 1)),  # the largest means are cut, far out in two times
    ):
        assert stats.kstest(values, distribution.cdf).pvalue > 1e-3
    assert (prosstt(0, 5, 5, scaling_sd=0).obs["scaling"] == 1).all()


def test_density():
    density = [[1, 0, 3], [2, 2], [0, 4]]
    adata = prosstt(1, 5, 6000, n_times=(3, 2, 2), density=density, seed=0)
    observed = adata.obs.groupby(["branch", "pseudotime"], observed=True).size()
    assert list(observed.index) == [("branch 0", 0), ("branch 0", 2), ("branch 1", 3), ("branch 1", 4), ("branch 2", 4)]
    assert stats.chisquare(observed, np.array([1, 3, 2, 2, 4]) / 12 * 6000).pvalue > 1e-3
    np.testing.assert_array_equal(adata.uns["prosstt"]["density"], [[1, 0, 3], [2, 2, np.nan], [0, 4, np.nan]])


def test_cells_are_spread_evenly():
    # 301 cells on 150 positions
    per_position = prosstt(1, 5, 301).obs.groupby(["branch", "pseudotime"], observed=True).size()
    assert per_position.value_counts().to_dict() == {2: 149, 3: 1}
    # Fewer cells than positions, and what a whole number of rounds leaves over, go to all branches alike.
    for n_cells, of_each in ((60, 20), (225, 75)):
        branches = prosstt([(0, 1), (0, 2)], 5, n_cells).obs["branch"].value_counts()
        assert branches.to_list() == [of_each] * 3


def test_seeds():
    first, again, other = (prosstt(1, 20, 150, seed=seed) for seed in (0, 0, 1))
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    assert (first.X != other.X).nnz > 0
    more_cells = prosstt(1, 20, 300, seed=0)
    for key in first.varm:
        np.testing.assert_array_equal(first.varm[key], more_cells.varm[key])


@pytest.mark.parametrize(
    "tree", [0, [], [(0, 1), (1, 2)], 1, [(0, 1), (0, 2), (0, 3)], [(0, 1), (0, 2), (1, 3), (1, 4)]]
)
def test_programmes_of_branches_that_split(tree):
    # Five for each, and 3 to 19 with equal probabilities: that one of 17 is missed is as likely as 17 (16 / 17)^300 = 2e-7.
    parents = [] if isinstance(tree, int) else [parent for parent, _ in tree]
    n_splits = tree if isinstance(tree, int) else sum(parents.count(branch) > 1 for branch in set(parents))
    sampled = {prosstt(tree, 2, 2, n_times=2, seed=seed).varm["coefficients"].shape[1] for seed in range(300)}
    assert sampled == set(range(5 * n_splits + 3, 5 * n_splits + 20))


@pytest.mark.parametrize("tree", [0, 2, [(0, 1)]])
def test_it_can_be_written_and_read(tmp_path, tree):
    adata = prosstt(tree, 20, 50, n_times=5)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(read.uns["prosstt"]["programmes"], adata.uns["prosstt"]["programmes"])
    assert read.uns["prosstt"]["tree"].shape == (adata.obs["branch"].cat.categories.size - 1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tree": -1}, "tree is -1: give 0 or more"),
        ({"tree": [(0, 1), (0, 1)]}, "number its 3 branches from 0, the root, to 2"),
        ({"tree": [(0, 2)]}, "number its 2 branches from 0, the root, to 1"),
        ({"tree": [(1, 0)]}, "number its 2 branches from 0, the root, to 1"),
        ({"tree": [(0, 1), (3, 2), (2, 3)]}, "some branches go in a circle"),
        ({"n_genes": 0}, "n_genes is 0: give 1 or more"),
        ({"n_cells": 0}, "n_cells is 0: give 1 or more"),
        ({"n_programmes": 0}, "n_programmes is 0: give 1 or more"),
        ({"n_times": 1}, "n_times is 1: give whole numbers of 2 or more, one or one for each of the 3 branches"),
        ({"n_times": (5, 5)}, r"n_times is \(5, 5\): give whole numbers of 2 or more"),
        ({"n_times": 20.5}, "n_times is 20.5: give whole numbers"),
        ({"n_times": "ten"}, "n_times is ten: give whole numbers"),
        ({"n_cells": np.nan}, "n_cells is nan: give a whole number"),
        ({"tree": None}, "tree is None: give pairs of a branch and one that follows it"),
        ({"tree": [(0, 1.7)]}, r"tree is \[\(0, 1.7\)\]: give pairs"),
        ({"scaling_sd": -1}, "scaling_sd is -1: give a finite number, 0 or more"),
        ({"alpha": np.nan}, "alpha is nan: give a finite number"),
        ({"alpha": 0, "beta": 0}, "alpha and beta are both 0"),
        ({"tree": [(0, 1), (2,)]}, r"tree is \[\(0, 1\), \(2,\)\]: give pairs"),
        ({"density": 5}, "density has 1 values for its branches"),
        ({"density": [1] * 3}, r"density has \[1, 1, 1\] values for its branches"),
        (
            {"density": [[1, 1]] * 3},
            r"density has \[2, 2, 2\] values for its branches, which have \[50, 50, 50\] times",
        ),
        ({"density": [[0] * 50] * 3}, "density has negative or infinite values, or is 0 everywhere"),
        ({"density": [[-1] + [1] * 49] * 3}, "density has negative or infinite values"),
        ({"sibling_tolerance": 1.0}, "branch 2 was drawn 10000 times"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        prosstt(**{"n_genes": 5, "n_cells": 10} | arguments)


def _summary(adata, probs):
    """What the reference has of each run."""
    counts = adata.X.toarray()
    zero, total, scaling = counts == 0, counts.sum(axis=1), adata.obs["scaling"].to_numpy()
    change = (adata.varm["log_means"] - adata.var["log_base"].to_numpy()[:, None, None]).reshape(adata.n_vars, -1)
    return {
        "modules": adata.varm["coefficients"].shape[1],
        "branch_draws": adata.uns["prosstt"]["n_draws"],
        "zero_frac": zero.mean(),
        "mean_count": counts.mean(dtype=float),
        "gene_mean_q": np.quantile(counts.mean(axis=0, dtype=float), probs),
        "gene_var_q": np.quantile(counts.var(axis=0, ddof=1, dtype=float), probs),
        "gene_zero_q": np.quantile(zero.mean(axis=0), probs),
        "total_q": np.quantile(total, probs),
        "scaling_log_mean": np.log(scaling).mean(),
        "scaling_log_sd": np.log(scaling).std(),
        "cor_log_total_log_scaling": np.corrcoef(np.log(total), np.log(scaling))[0, 1],
        "base_gene_exp_q": np.quantile(np.exp(adata.var["log_base"]), probs),
        "alpha_q": np.quantile(adata.var["alpha"], probs),
        "beta_q": np.quantile(adata.var["beta"], probs),
        "rel_mean_log_q": np.quantile(change, probs),
        "rel_mean_range_over_tree_q": np.quantile(np.ptp(change, axis=1), probs),
        # The lowest ones are powers of ten apart: compared as logarithms.
        "coef_q": np.log(np.quantile(adata.varm["coefficients"], probs)),
    }


@pytest.mark.parametrize("config", ["3_branches", "4_branches", "5_branches"])
def test_summaries_are_those_of_prosstt(config, reference, assert_same_means):
    whole = reference("prosstt_reference.json")
    real = whole["configs"][config]
    tree = real["n_brpoints"] if isinstance(real["topology"], str) else real["topology"]
    n_cells = real["runs"][0]["cells"]
    ours = [_summary(prosstt(tree, real["G"], n_cells, seed=s), whole["quantile_probs"]) for s in range(N_SEEDS)]
    runs = [run | {"coef_q": np.log(run["coef_q"])} for run in real["runs"]]
    assert_same_means(
        *(np.array([np.concatenate([np.ravel(run[key]) for key in ours[0]]) for run in side]) for side in (ours, runs))
    )
