import re

import anndata
import numpy as np
import pytest
from scipy import stats

from scmichigan.datasets import SplatterParameters, splatter

TWO_PATHS = {"group_prob": (0.3, 0.7), "path_n_steps": (6, 11), "de_prob": 0.5}
N_SEEDS = 12


@pytest.fixture(scope="module")
def cells():
    return splatter(
        SplatterParameters(n_genes=300, batch_cells=(1500, 500), path_nonlinear_prob=0.5, **TWO_PATHS), seed=3
    )


def _expected_counts(adata):
    """Means of the counts from nothing but the stored truths."""
    batch = adata.obs["batch"].cat.codes.to_numpy()
    mean = adata.var["mean"].to_numpy()[:, None] * adata.varm["batch_factors"][:, batch]
    if "path" in adata.obs:
        path, step = adata.obs["path"].cat.codes.to_numpy(), adata.obs["step"].to_numpy()
        mean = (mean * adata.varm["path_factors"][:, path, step - 1]).T
    else:
        mean = (mean * adata.varm["de_factors"][:, adata.obs["group"].cat.codes.to_numpy()]).T
    return mean / mean.sum(axis=1, keepdims=True) * adata.obs["expected_total"].to_numpy()[:, None]


def _variation(adata, mean):
    return (adata.uns["splatter"]["bcv_common"] + 1 / np.sqrt(mean)) * adata.var["bcv_factor"].to_numpy()


@pytest.mark.parametrize("kind", ["paths", "groups"])
def test_counts_follow_the_stored_truths(kind):
    parameters = SplatterParameters(n_genes=200, batch_cells=(1500, 1500), lib_loc=8, group_prob=(1, 2), de_prob=0.5)
    adata = splatter(parameters, kind, seed=1)
    mean, counts = _expected_counts(adata), adata.X.toarray()
    variance = mean + (mean * _variation(adata, mean)) ** 2
    for group in adata.obs.groupby(["batch", kind[:-1]], observed=True).indices.values():
        z = (counts[group] - mean[group]).sum(0) / np.sqrt(variance[group].sum(0))
        often = mean[group].sum(0) > 100  # so that the sum is about normal
        assert np.abs(z[often]).max() < 5
        assert np.mean(z[often] ** 2) == pytest.approx(1, abs=4 * np.sqrt(2 / often.sum()))
    # Squared residuals over their expectation average 1; cells of a gene are independent given its truths.
    often = mean.mean(0) > 5
    squared = ((counts - mean) ** 2 / variance)[:, often]
    assert squared.mean() == pytest.approx(1, abs=4 * squared.std() / np.sqrt(squared.size))


def test_layout(cells):
    assert cells.shape == (2000, 300)
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.float32
    assert np.array_equal(cells.X.data, np.round(cells.X.data))
    np.testing.assert_array_equal(cells.obs["total_counts"], cells.X.sum(axis=1).A1)
    assert (cells.obs["batch"] == np.repeat(["batch 1", "batch 2"], [1500, 500])).all()
    assert list(cells.obs["path"].cat.categories) == ["path 1", "path 2"]
    n_first = (cells.obs["path"] == "path 1").sum()
    assert n_first == pytest.approx(600, abs=4 * np.sqrt(2000 * 0.3 * 0.7))
    assert cells.obs.groupby("path", observed=True)["step"].agg(["min", "max"]).to_numpy().tolist() == [[1, 6], [1, 11]]
    shapes = {key: value.shape for key, value in cells.varm.items()}
    assert shapes == {
        "batch_factors": (300, 2),
        "de_factors": (300, 2),
        "path_sigmas": (300, 2),
        "path_factors": (300, 2, 11),
    }
    assert not cells.layers


def test_paths_go_from_the_origin_to_their_ends(cells):
    factors = cells.varm["path_factors"]
    assert np.isnan(factors[:, 0, 6:]).all()
    for k, last in enumerate((5, 10)):
        np.testing.assert_allclose(factors[:, k, 0], 1)
        np.testing.assert_allclose(factors[:, k, last], cells.varm["de_factors"][:, k])
        straight = np.linspace(1, cells.varm["de_factors"][:, k], last + 1, axis=1)
        linear = cells.varm["path_sigmas"][:, k] == 0
        np.testing.assert_allclose(factors[linear, k, : last + 1], straight[linear], atol=1e-12)
        assert not np.isclose(factors[~linear, k, : last + 1], straight[~linear]).all(axis=1).any()
        assert linear.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 300))
    assert set(np.unique(cells.varm["path_sigmas"])) == {0, 0.8}


def test_a_path_goes_on_from_the_one_before():
    parameters = SplatterParameters(
        n_genes=50, group_prob=(1, 1, 1), path_from=(2, 0, 1), path_n_steps=5, de_prob=1, path_nonlinear_prob=0
    )
    adata = splatter(parameters, seed=0)
    factors = adata.varm["path_factors"]
    np.testing.assert_allclose(factors[:, 1, 0], 1)
    np.testing.assert_allclose(factors[:, 0, 0], factors[:, 1, 4])
    np.testing.assert_allclose(factors[:, 2, 0], factors[:, 0, 4])
    # the change along each path is of the same kind, wherever it starts: |log| is folded normal
    for k in range(3):
        change = np.abs(np.log(factors[:, k, 4] / factors[:, k, 0]))
        assert stats.kstest(change, stats.foldnorm(0.1 / 0.4, scale=0.4).cdf).pvalue > 1e-3


def test_outliers_replace_means(cells):
    var = cells.var
    outlier = var["outlier_factor"] != 1
    assert 0 < outlier.sum() < 40  # 15 expected of 300
    np.testing.assert_array_equal(var["mean"][~outlier], var["base_mean"][~outlier])
    np.testing.assert_allclose(var["mean"][outlier], var["base_mean"].median() * var["outlier_factor"][outlier])
    assert (var["outlier_factor"][outlier] > 1).all()


def test_genes_have_their_distributions():
    adata = splatter(SplatterParameters(n_genes=20_000, batch_cells=1, bcv_df=10), "groups", seed=0)
    assert stats.kstest(adata.var["base_mean"], stats.gamma(0.6, scale=1 / 0.3).cdf).pvalue > 1e-3
    assert stats.kstest(10 / adata.var["bcv_factor"] ** 2, stats.chi2(10).cdf).pvalue > 1e-3
    constant = splatter(SplatterParameters(n_genes=10, batch_cells=1, bcv_df=np.inf))
    assert (constant.var["bcv_factor"] == 1).all()


def test_cells_have_their_distributions():
    parameters = SplatterParameters(
        n_genes=2, batch_cells=20_000, path_n_steps=5, path_skew=1, lib_loc=2, lib_scale=0.5
    )
    obs = splatter(parameters, seed=0).obs
    assert stats.kstest(np.log(obs["expected_total"]), stats.norm(2, 0.5).cdf).pvalue > 1e-3
    observed = np.bincount(obs["step"], minlength=6)[1:]
    assert observed[4] == 0
    assert stats.chisquare(observed[:4], np.array([0.4, 0.3, 0.2, 0.1]) * 20_000).pvalue > 1e-3


def test_normal_totals_are_positive():
    parameters = SplatterParameters(n_genes=5, batch_cells=2000, lib_loc=100, lib_scale=100, lib_norm=True)
    total = splatter(parameters, seed=0).obs["expected_total"].to_numpy()
    smallest = total.min()
    negative = (total == smallest).mean()
    assert negative == pytest.approx(stats.norm.cdf(-1), abs=4 * np.sqrt(0.16 * 0.84 / 2000))
    assert smallest == total[total > smallest].min() / 2


def test_batch_factors():
    two = {"n_genes": 500, "batch_cells": (5, 5), "batch_fac_scale": (0.1, 0.5)}
    factors = splatter(SplatterParameters(**two)).varm["batch_factors"]
    for b, scale in enumerate((0.1, 0.5)):
        assert stats.kstest(np.abs(np.log(factors[:, b])), stats.foldnorm(0.1 / scale, scale=scale).cdf).pvalue > 1e-3
    assert (splatter(SplatterParameters(n_genes=5)).varm["batch_factors"] == 1).all()
    removed = splatter(SplatterParameters(batch_rm_effect=True, **two))
    assert (removed.varm["batch_factors"] == 1).all()
    np.testing.assert_array_equal(removed.var["mean"], splatter(SplatterParameters(**two)).var["mean"])


@pytest.mark.parametrize(
    ("kind", "mid"),
    [("experiment", 1.0), ("batch", (1.0, 4.0)), ("group", (1.0, 4.0)), ("cell", tuple(np.repeat([1.0, 4.0], 200)))],
)
def test_dropout(kind, mid):
    parameters = SplatterParameters(
        n_genes=500, batch_cells=(200, 200), lib_loc=9, group_prob=(1, 1), dropout_type=kind, dropout_mid=mid
    )
    adata = splatter(parameters, "groups", seed=0)
    true, kept = adata.layers["true_counts"].toarray(), adata.X.toarray()
    assert ((kept == true) | (kept == 0)).all()
    column = {"group": "group"}.get(kind, "batch")  # cells have the values of their batches here
    for code, of_group in enumerate(np.broadcast_to(sorted(set(np.ravel(mid))), 2)):
        rows = adata.obs[column].cat.codes.to_numpy() == code
        # for counts this high, the rate is the count but for Poisson noise, and the curve flat enough for that
        often = true[rows] > 150
        expected = 1 / (1 + np.exp(np.log(true[rows][often]) - of_group))
        fraction = (kept[rows][often] == 0).mean()
        error = np.sqrt((expected * (1 - expected)).mean() / often.sum())
        assert fraction == pytest.approx(expected.mean(), abs=4 * error + 0.01 * expected.mean())
    np.testing.assert_array_equal(adata.obs["total_counts"], kept.sum(axis=1))


def test_seeds():
    small = {"n_genes": 30, "group_prob": (1, 1)}
    first, again, other = (splatter(SplatterParameters(**small), seed=seed) for seed in (0, 0, 1))
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    assert (first.X != other.X).nnz > 0
    more_cells = splatter(SplatterParameters(batch_cells=300, **small))
    for key in first.varm:
        np.testing.assert_array_equal(first.varm[key], more_cells.varm[key])
    more_genes = splatter(SplatterParameters(**small | {"n_genes": 60}))
    assert first.obs.drop(columns="total_counts").equals(more_genes.obs.drop(columns="total_counts"))


@pytest.mark.parametrize("kind", ["paths", "groups"])
def test_it_can_be_written_and_read(tmp_path, kind):
    adata = splatter(SplatterParameters(n_genes=30, batch_cells=(20, 30), dropout_type="experiment"), kind)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(read.varm["de_factors"], adata.varm["de_factors"])
    assert list(read.uns["splatter"]["batch_cells"]) == [20, 30]
    assert read.uns["splatter"]["kind"] == kind


def test_bad_kind():
    with pytest.raises(ValueError, match="kind is 'single': give 'paths' or 'groups'"):
        splatter(kind="single")


def test_bad_parameters():
    with pytest.raises(
        ValueError, match=r"parameters is \{'n_genes': 5\}: give SplatterParameters\(n_genes=2000, ...\)"
    ):
        splatter({"n_genes": 5})
    with pytest.raises(ValueError, match="lib_loc is -100.0 and lib_norm True, and no cell has a total above 0"):
        splatter(SplatterParameters(lib_norm=True, lib_loc=-100.0, lib_scale=1.0))


def _parameters(real):
    """Ours, from the original's names: bcv.common, path.nonlinearProb."""
    names = {key: re.sub("(?<=[a-z])([A-Z])", r"_\1", key.replace(".", "_")).lower() for key in real}
    not_ours = {"nCells", "nBatches", "nGroups", "seed"}
    return SplatterParameters(**{names[key]: value for key, value in real.items() if key not in not_ours})


def _summary(adata, probs):
    """What the reference has of each run."""
    counts = adata.X.toarray()
    zero, total, library = counts == 0, counts.sum(axis=1), adata.obs["expected_total"].to_numpy()
    mean_g, variance_g = counts.mean(axis=0, dtype=float), counts.var(axis=0, ddof=1, dtype=float)
    logs = np.log10([mean_g[variance_g > 0], variance_g[variance_g > 0]])
    path_factors = adata.varm["path_factors"]
    summary = {
        "zero_frac": zero.mean(),
        "mean_count": mean_g.mean(),
        "gene_mean_q": np.quantile(mean_g, probs),
        "gene_var_q": np.quantile(variance_g, probs),
        "mean_var_quadfit_log10": np.polynomial.Polynomial.fit(*logs, 2).convert().coef,
        "gene_zero_frac_q": np.quantile(zero.mean(axis=0), probs),
        "genes_per_cell_q": np.quantile((~zero).sum(axis=1), probs),
        "lib_q": np.quantile(total, probs),
        "explib_q": np.quantile(library, probs),
        "log_explib_mean": np.log(library).mean(),
        "log_explib_sd": np.log(library).std(ddof=1),
        "cor_lib_explib": np.corrcoef(total, library)[0, 1],
        "base_gene_mean_q": np.quantile(adata.var["base_mean"], probs),
        "gene_mean_param_q": np.quantile(adata.var["mean"], probs),
        "bcv_gene_scale_q": np.quantile(adata.var["bcv_factor"], probs),
        "base_cell_mean_q": np.quantile(_expected_counts(adata), probs),
        "group_counts": np.bincount(adata.obs["path"].cat.codes),
        "step_counts": np.bincount(adata.obs["step"], minlength=path_factors.shape[2] + 1)[1:],
        "sigma_frac": (adata.varm["path_sigmas"] > 0).mean(axis=0),
        "path_floor_frac": (path_factors == 1e-6).mean(axis=(0, 2)),
        "outlier": _of_factors(adata.var["outlier_factor"].to_numpy(), probs),
    }
    straight = np.linspace(path_factors[..., 0], path_factors[..., -1], path_factors.shape[2], axis=-1)
    away = np.sqrt(np.mean((path_factors - straight) ** 2, axis=-1))
    away[adata.varm["path_sigmas"] == 0] = 0  # where it is rounding
    summary["path_dev_rms_q"] = np.quantile(away, probs, axis=0).T
    summary["de"] = {f"Path{k + 1}": _of_factors(factor, probs) for k, factor in enumerate(adata.varm["de_factors"].T)}
    if (batches := adata.varm["batch_factors"]).shape[1] > 1:
        summary["batch"] = {f"Batch{b + 1}": _of_factors(factor, probs) for b, factor in enumerate(batches.T)}
    if "true_counts" in adata.layers:
        summary["dropout"] = {"true_zero_frac": 1 - adata.layers["true_counts"].nnz / counts.size}
    return summary


def _of_factors(factor, probs):
    logs = np.log(factor[factor != 1])
    return {
        "frac_ne_1": np.mean(factor != 1),
        "frac_lt_1": np.mean(factor < 1),
        "q_of_log_nonunit": np.quantile(logs, probs),
        "mean_log_nonunit": logs.mean(),
        "sd_log_nonunit": logs.std(ddof=1),
    }


def _numbers(summary, like):
    """All numbers of a nested summary that another one has, too."""
    if isinstance(like, dict):
        return np.concatenate([_numbers(summary[key], like[key]) for key in like])
    return np.ravel(np.asarray(summary, dtype=float))


@pytest.mark.parametrize("config", ["linear", "nonlinear", "all_defaults_2paths", "low_depth_dropout"])
def test_summaries_are_those_of_splatter(config, reference, assert_same_means):
    real = reference("splatter_reference.json")["seeds_reference"]
    parameters, runs = _parameters(real["configs"][config]["params"]), real["configs"][config]["runs"]
    ours = [_summary(splatter(parameters, seed=seed), real["quantile_probs"]) for seed in range(N_SEEDS)]
    assert_same_means(*(np.array([_numbers(run, ours[0]) for run in side]) for side in (ours, runs)))
