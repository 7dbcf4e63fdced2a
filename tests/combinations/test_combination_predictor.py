"""Predictions without a model, on cells whose truth is known."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from anndata import AnnData, concat

from scmichigan.combinations import METHODS, CombinationPredictor, Method, observed_combinations
from scmichigan.combinations._best_linear import best_linear_weights

KEYS = ["cell_type", "condition"]
TARGET = {"cell_type": "B", "condition": "stim"}
N_EACH = 60
QUIETLY = {"enable_progress_bar": False}


def _labels(types="ABC", conditions=("ctrl", "stim", "drug"), missing=(("B", "stim"),)):
    pairs = [(t, c) for t in types for c in conditions if (t, c) not in missing for _ in range(N_EACH)]
    return pd.DataFrame(pairs, columns=KEYS, index=[f"cell_{i}" for i in range(len(pairs))])


@pytest.fixture
def additive():
    """Log-normalised expression that is exactly additive in both labels, and varies between the cells of each combination.

    The variation has a mean of exactly 0 in each combination, so that the mean of the missing one is known exactly.
    """
    rng = np.random.default_rng(0)
    obs = _labels()
    of_type = dict(zip("ABC", rng.normal(scale=0.5, size=(3, 30)), strict=True))
    of_condition = dict(zip(("ctrl", "stim", "drug"), rng.normal(scale=0.5, size=(3, 30)), strict=True))
    own = rng.normal(scale=0.3, size=(len(obs) // N_EACH, N_EACH, 30))
    own -= own.mean(axis=1, keepdims=True)
    x = 6 + np.stack([of_type[t] + of_condition[c] for t, c in obs.itertuples(index=False)]) + own.reshape(-1, 30)
    return AnnData(x.astype(np.float32), obs=obs), 6 + of_type["B"] + of_condition["stim"]


@pytest.fixture
def screened(counts):
    """Counts of 3 types x 3 treatments without one combination."""
    seen = ~((counts.obs["cell_type"] == "type B") & (counts.obs["condition"] == "drug 1")).to_numpy()
    return counts[seen].copy(), {"cell_type": "type B", "condition": "drug 1"}


@pytest.mark.parametrize("along", [None, *KEYS])
def test_additive_effects_are_predicted_exactly(additive, along):
    adata, truth = additive
    cells = CombinationPredictor(adata, KEYS).predict(TARGET, method="additive", along=along)
    np.testing.assert_allclose(cells.X.mean(axis=0), truth, atol=2e-5)
    assert (cells.obs[KEYS] == list(TARGET.values())).all(axis=None)
    assert cells.uns["michigan"]["method"] == "additive"
    assert cells.n_obs == 2 * N_EACH


def test_kriging_is_the_weighted_sum_of_the_observed_means(additive):
    adata, truth = additive
    cells = CombinationPredictor(adata, KEYS).predict(TARGET, along="condition")
    groups = observed_combinations(adata.obs, KEYS)
    means = {c: adata.X[rows].mean(axis=0, dtype=np.float64) for c, rows in groups.items()}
    variance = sum(((adata.X[rows] - means[c]) ** 2).sum() for c, rows in groups.items())
    noise = np.full(len(groups), variance / (adata.n_obs - len(groups)) / N_EACH)
    stacked = np.stack(list(means.values()))
    context, level = ([names.index(c[i]) for c in groups] for i, names in enumerate(("ABC", ["ctrl", "drug", "stim"])))
    weights = best_linear_weights(stacked @ stacked.T, noise, np.array(context), np.array(level), target=(1, 2))
    np.testing.assert_allclose(cells.X.mean(axis=0), weights @ stacked, atol=2e-5)
    table = cells.uns["michigan"]["combination_weights"]
    assert table.set_index(KEYS)["weight"].to_dict() == pytest.approx(dict(zip(groups, weights, strict=True)), abs=1e-9)
    # What the noise takes off the effect is a small part of it.
    control = means["B", "ctrl"]
    assert np.linalg.norm(cells.X.mean(axis=0) - truth) < 0.1 * np.linalg.norm(truth - control)


def test_each_gene_is_that_of_the_nearer_of_two_measured_cells(additive):
    adata, truth = additive
    cells = CombinationPredictor(adata, KEYS).predict(TARGET, method="additive", along="condition", n_samples=40)
    means = {c: adata.X[rows].mean(axis=0) for c, rows in observed_combinations(adata.obs, KEYS).items()}
    moved = []
    for kind in ("source", "partner"):
        rows = adata.obs_names.get_indexer(cells.obs[f"michigan_{kind}"])
        own = np.stack([means[c] for c in adata.obs.iloc[rows][KEYS].itertuples(index=False, name=None)])
        moved.append((np.abs(truth - own), adata.X[rows] + truth - own))
    (far, source), (near, partner) = moved
    np.testing.assert_allclose(cells.X, np.where(near < far, partner, source), atol=1e-4)
    assert 0.1 < (near < far).mean() < 0.9
    assert set(adata.obs.loc[cells.obs["michigan_source"], "cell_type"]) == {"B"}
    assert set(adata.obs.loc[cells.obs["michigan_partner"], "condition"]) == {"stim"}


def test_given_weights_are_those_of_contexts(additive):
    adata, _ = additive
    adata.X[((adata.obs["cell_type"] == "C") & (adata.obs["condition"] == "stim")).to_numpy()] += 1
    predictor = CombinationPredictor(adata, KEYS)
    request = {"along": "condition", "references": ["ctrl"]}
    of_a, of_c, both, equal = (
        predictor.predict(TARGET, method=method, **request).X.mean(axis=0)
        for method in (
            Method("of A", weights={"A": 1}),
            replace(METHODS["additive"], weights={"C": 2}),
            replace(METHODS["additive"], weights={"A": 3, "C": 1}),
            "additive",
        )
    )
    np.testing.assert_allclose(of_c, of_a + 1, atol=1e-4)
    np.testing.assert_allclose(both, of_a + 0.25, atol=1e-4)
    np.testing.assert_allclose(equal, of_a + 0.5, atol=1e-4)
    names = [
        predictor.predict(TARGET, method=m, **request).uns["michigan"]["method"]
        for m in (replace(METHODS["additive"], weights={"A": 1}), Method("mine"))
    ]
    assert names == ["additive, given weights", "mine"]


@pytest.mark.parametrize("covariate", ["batch", "site", "age"])
def test_covariates_are_taken_off_and_given_back(additive, covariate):
    adata, truth = additive
    rng = np.random.default_rng(1)
    # More of the second batch and older cells where cells were stimulated: an effect that is none of the condition.
    stimulated = (adata.obs["condition"] == "stim").to_numpy()
    adata.obs["batch"] = np.where(rng.random(adata.n_obs) < np.where(stimulated, 0.8, 0.2), "2", "1")
    adata.obs["site"] = rng.choice(["u", "v"], adata.n_obs)
    adata.obs["age"] = 50 + 10 * stimulated + rng.normal(scale=5, size=adata.n_obs)
    # Without variation between cells, least squares within combinations is exact.
    means = pd.DataFrame(adata.X).groupby([adata.obs[key].to_numpy() for key in KEYS]).transform("mean").to_numpy()
    added = {
        "batch": 2.0 * (adata.obs["batch"] == "2").to_numpy(),
        "site": 2.0 * (adata.obs["batch"] == "2").to_numpy() - 1.5 * (adata.obs["site"] == "v").to_numpy(),
        "age": 0.1 * (adata.obs["age"] - 40).to_numpy(),
    }[covariate]
    adata.X = (means + added[:, None] * np.linspace(0, 1, 30)).astype(np.float32)
    setup = {
        "batch": {"batch_key": "batch"},
        "site": {"categorical_covariate_keys": ["batch", "site"]},
        "age": {"continuous_covariate_keys": ["age"]},
    }[covariate]
    cells = CombinationPredictor(adata, KEYS, **setup).predict(TARGET, method="additive", along="condition")
    of_source = pd.Series(added, index=adata.obs_names)[cells.obs["michigan_source"]].to_numpy()
    np.testing.assert_allclose(cells.X, truth + of_source[:, None] * np.linspace(0, 1, 30), atol=1e-3)
    if covariate == "batch":
        without = CombinationPredictor(adata, KEYS).predict(TARGET, method="additive", along="condition")
        assert np.abs(without.X - truth - of_source[:, None] * np.linspace(0, 1, 30)).max() > 0.5


def test_a_batch_that_is_a_combination_of_its_own_has_no_effect_to_take_off(additive):
    adata, truth = additive
    adata.obs["batch"] = adata.obs["condition"]
    cells = CombinationPredictor(adata, KEYS, batch_key="batch").predict(TARGET, method="additive")
    np.testing.assert_allclose(cells.X.mean(axis=0), truth, atol=2e-5)


@pytest.mark.parametrize("n_samples", [None, 70])
def test_counts_have_the_predicted_mean_on_the_log_scale(screened, n_samples):
    adata, labels = screened
    request = {"method": "additive", "along": "condition", "n_samples": n_samples}
    cells = CombinationPredictor(adata, KEYS, size_factor_key="total_counts").predict(labels, **request)
    counts, totals = cells.layers["counts"].toarray(), cells.obs[["total_counts"]].to_numpy()
    np.testing.assert_array_equal(counts, np.round(counts))
    np.testing.assert_allclose(cells.X, np.log1p(1e4 * counts / totals), rtol=1e-5)
    source = adata[cells.obs["michigan_source"].to_numpy()]
    np.testing.assert_array_equal(totals, source.obs[["total_counts"]])
    logged = adata.copy()
    logged.X = np.log1p(1e4 * adata.X.toarray() / adata.obs[["total_counts"]].to_numpy()).astype(np.float32)
    expected = CombinationPredictor(logged, KEYS).predict(labels, **request).X.mean(axis=0)
    # Each value is one of the two of successive counts: on average half a count of each cell, five standard errors.
    step = np.log1p(1e4 / totals.min()) / 2
    assert np.abs(cells.X.mean(axis=0) - expected).max() < 5 * step / np.sqrt(len(cells))


def test_sparse_and_dense_cells_give_the_same(screened):
    adata, labels = screened
    dense = adata.copy()
    dense.X = dense.X.toarray()
    sparse, full = (CombinationPredictor(a, KEYS, batch_key="batch") for a in (adata, dense))
    ours, theirs = (predictor.predict(labels, seed=3) for predictor in (sparse, full))
    np.testing.assert_allclose(ours.layers["counts"].toarray(), theirs.layers["counts"].toarray())
    np.testing.assert_allclose(ours.X, theirs.X, rtol=1e-5)
    every = [predictor.predict_all(n_samples=5, **QUIETLY).X for predictor in (sparse, full)]
    assert [isinstance(x, sp.csr_matrix) for x in every] == [True, False]


def test_samples_depend_on_the_seed_alone(screened):
    adata, labels = screened
    first, same, other = (CombinationPredictor(adata, KEYS).predict(labels, seed=seed).X for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    swapped = CombinationPredictor(adata, KEYS).predict(dict(reversed(labels.items())), seed=1)
    np.testing.assert_array_equal(first, swapped.X)


def test_proteins_are_predicted_beside_the_genes(screened):
    adata, labels = screened
    rng = np.random.default_rng(0)
    adata.obsm["protein"] = pd.DataFrame(
        rng.poisson(20, (adata.n_obs, 4)), index=adata.obs_names, columns=["p", "q", "r", "s"], dtype=np.float32
    )
    predictor = CombinationPredictor(adata, KEYS, protein_expression_obsm_key="protein", batch_key="batch")
    cells = predictor.predict(labels)
    assert list(cells.obsm["protein"]) == ["p", "q", "r", "s"]
    counts = cells.obsm["protein"].to_numpy()
    np.testing.assert_allclose(
        cells.obsm["X_michigan_protein"],
        np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)),
        rtol=1e-5,
    )
    assert cells.n_vars == adata.n_vars


def test_the_given_cells_are_not_changed(screened, assert_unchanged):
    adata, labels = screened
    adata.layers["counts"], adata.uns["mine"] = adata.X.copy(), {"a": 1}
    adata.obsm["protein"] = np.ones((adata.n_obs, 2), dtype=np.float32)
    before, x = adata.copy(), adata.X
    predictor = CombinationPredictor(
        adata,
        KEYS,
        layer="counts",
        batch_key="batch",
        categorical_covariate_keys=["batch"],
        continuous_covariate_keys=["pseudotime"],
        size_factor_key="total_counts",
        protein_expression_obsm_key="protein",
    )
    predictor.predict(labels)
    predictor.missing(**QUIETLY)
    predictor.predict_all(n_samples=5, **QUIETLY)
    assert_unchanged(adata, before)
    for part in ("obs", "obsm", "uns", "layers"):
        assert list(getattr(adata, part)) == list(getattr(before, part))
    assert adata.X is x
    assert predictor._cells.adata.X is x


def test_views_and_cells_without_x(screened):
    adata, labels = screened
    expected = CombinationPredictor(adata, KEYS).predict(labels)
    view = adata[:]
    np.testing.assert_array_equal(CombinationPredictor(view, KEYS).predict(labels).X, expected.X)
    assert view.is_view
    layered = AnnData(None, obs=adata.obs, var=adata.var, layers={"counts": adata.X})
    np.testing.assert_array_equal(CombinationPredictor(layered, KEYS, layer="counts").predict(labels).X, expected.X)


def test_doses_between_two_that_were_seen():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"cell_type": np.repeat(["A", "B"], 120), "dose": np.tile(np.repeat([0.0, 1, 4], 40), 2)})
    obs.index = obs.index.astype(str)
    x = 5 + (obs["cell_type"] == "B").to_numpy()[:, None] + obs["dose"].to_numpy()[:, None] * rng.normal(size=20) / 5
    adata = AnnData((x + rng.normal(scale=0.1, size=x.shape)).astype(np.float32), obs=obs)
    predictor = CombinationPredictor(adata, ["cell_type", "dose"])
    cells = predictor.predict({"cell_type": "B", "dose": 2.5})
    means = {d: adata.X[((obs["cell_type"] == "B") & (obs["dose"] == d)).to_numpy()].mean(axis=0) for d in (1, 4)}
    np.testing.assert_allclose(cells.X.mean(axis=0), (means[1] + means[4]) / 2, atol=1e-4)
    with pytest.raises(ValueError, match=r"no cell has obs\['dose'\] == 8; the levels are 0.0, 1.0, 4.0"):
        predictor.predict({"cell_type": "B", "dose": 8})


def test_all_missing_combinations_in_the_order_of_their_expected_errors():
    rng = np.random.default_rng(0)
    missing = (("A", "drug"), ("B", "stim"))
    obs = _labels("ABCD", missing=missing)
    of_pair = {pair: rng.normal(size=20) for pair in set(obs.itertuples(index=False, name=None))}
    x = 8 + np.stack([of_pair[pair] for pair in obs.itertuples(index=False, name=None)])
    adata = AnnData((x + rng.normal(scale=0.1, size=x.shape)).astype(np.float32), obs=obs)
    predictor = CombinationPredictor(adata, KEYS)
    table = predictor.missing(**QUIETLY)
    assert set(table[KEYS].itertuples(index=False, name=None)) == set(missing)
    assert table["expected_error"].is_monotonic_increasing
    cells = predictor.predict_all(n_samples=20, seed=3, **QUIETLY)
    assert cells.obs_names.is_unique
    pd.testing.assert_frame_equal(cells.uns["michigan"]["combinations"], table)
    for i, pair in enumerate(table[KEYS].to_dict("records")):
        alone = predictor.predict(pair, n_samples=20, seed=3)
        np.testing.assert_array_equal(cells.X[20 * i : 20 * (i + 1)], alone.X)
    for some in (table.tail(1), table[KEYS].tail(1).to_dict("records")):
        np.testing.assert_array_equal(predictor.predict_all(some, n_samples=20, seed=3, **QUIETLY).X, alone.X)


def test_repr(screened):
    adata, _ = screened
    assert repr(CombinationPredictor(adata, KEYS, size_factor_key="total_counts")) == (
        f"CombinationPredictor on {adata.n_obs} cells x 40 genes, raw counts of adata.X, as log1p(10000 * counts / "
        "obs['total_counts'])\n8 of 9 combinations of ['cell_type', 'condition'] were seen"
    )


def test_scanpy_takes_what_is_predicted(screened):
    adata, labels = screened
    predictor = CombinationPredictor(adata, KEYS, size_factor_key="total_counts")
    one, every = predictor.predict(labels), predictor.predict_all(n_samples=50, **QUIETLY)
    for cells in (one, every):
        both = concat({"first": cells, "second": predictor.predict(labels, seed=9)}, label="origin", index_unique="-")
        sc.tl.rank_genes_groups(both, "origin")
        sc.pp.highly_variable_genes(cells)
        sc.tl.score_genes(cells, cells.var_names[:5], ctrl_size=10)
        sc.pp.scale(cells, zero_center=not sp.issparse(cells.X))
        assert np.isfinite(cells.obs["score"]).all()


@pytest.mark.parametrize("name", ["paper", "kriging_generator"])
def test_methods_with_a_generator_need_a_model(additive, name):
    message = (
        f"method '{name}' makes cells with a trained generator, and CombinationPredictor has none: train a MichiGAN and call "
        "its predict_combination with this method, or take method='kriging'"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        CombinationPredictor(additive[0], KEYS).predict(TARGET, method=name)


@pytest.mark.parametrize("method", ["equal", None, {"A": 1}])
def test_unknown_methods_are_refused(additive, method):
    with pytest.raises(ValueError, match=r"method is .*; choose from \['kriging', 'additive', .*\], or give a Method"):
        CombinationPredictor(additive[0], KEYS).predict(TARGET, method=method)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "similar"}, "weights is 'similar'; choose 'similarity' or 'equal'"),
        ({"cells": "fresh"}, "cells is 'fresh'; choose 'real' or 'generator'"),
    ],
)
def test_methods_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        Method("mine", **arguments)


def test_names_of_methods_are_their_own():
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ("cell_type", ValueError, "keys is 'cell_type'; give a list of two or more obs keys"),
        (["cell_type"], ValueError, r"keys is \['cell_type'\]; give a list of two or more obs keys"),
        (["cell_type", "nope"], KeyError, r"obs\['nope'\] does not exist; the columns are"),
        (
            ["cell_type", "single"],
            ValueError,
            r"obs\['single'\] has 'one' only; give keys with two or more labels each",
        ),
        (["cell_type", "id"], ValueError, r"obs\['id'\] has 480 values in 480 cells, which are no labels"),
    ],
)
def test_bad_keys_are_refused_at_once(additive, keys, error, message):
    adata, _ = additive
    adata.obs["single"], adata.obs["id"] = "one", adata.obs_names
    with pytest.raises(error, match=message):
        CombinationPredictor(adata, keys)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"labels": "B"}, "labels is 'B'; give one label for each obs key"),
        (
            {"labels": {"cell_type": "B"}},
            r"labels is {'cell_type': 'B'}; give one label for each of \['cell_type', 'con",
        ),
        ({"labels": None}, "labels is None; give one label for each of"),
        ({"labels": TARGET | {"batch": "1"}}, "give one label for each of"),
        (
            {"labels": TARGET | {"cell_type": "D"}},
            r"no cell has obs\['cell_type'\] == 'D'; the levels are \['A', 'B', 'C'\]",
        ),
        ({"labels": TARGET, "along": "batch"}, "along is 'batch'; it must be one of the target's keys"),
        ({"labels": TARGET, "references": ["D"], "along": "condition"}, r"references \['D'\] cannot be used along"),
        ({"labels": TARGET, "n_samples": 0}, "n_samples is 0; ask for at least 1 cell"),
        ({"labels": TARGET, "method": Method("m", {"D": 1})}, r"weights has \['D'\], which are no contexts"),
    ],
)
def test_bad_requests_are_refused(additive, request_, message):
    with pytest.raises(ValueError, match=message):
        CombinationPredictor(additive[0], KEYS).predict(**request_)


@pytest.mark.parametrize(
    ("combinations", "message"),
    [
        ([TARGET | {"condition": "ctrl"}], "60 of the cells have the labels .*; give combinations that no cell has"),
        ([{"cell_type": "B"}], r"combinations have labels of \['cell_type'\]; give one label for each of"),
        (TARGET, "combinations is {.*; give a list of obs keys or of targets, or a table of these"),
        (pd.DataFrame(columns=KEYS), "combinations is a table without rows"),
    ],
)
def test_combinations_that_cannot_be_predicted_at_once(additive, combinations, message):
    with pytest.raises(ValueError, match=message):
        CombinationPredictor(additive[0], KEYS).predict_all(combinations, **QUIETLY)


def test_nothing_is_missing(additive):
    adata, _ = additive
    adata = adata[adata.obs["condition"] != "stim"].copy()
    with pytest.raises(ValueError, match="cells were seen with all 6 combinations of .*; there is none to predict"):
        CombinationPredictor(adata, KEYS).missing(**QUIETLY)


@pytest.mark.parametrize(
    ("labels", "change", "message"),
    [
        (
            TARGET | {"condition": "drug"},
            None,
            "60 of the cells have the labels .*: they are left out of the arithmetic",
        ),
        (TARGET, "unlabelled", "2 cells have no label in one of .*: they are left out of the arithmetic; label them"),
        (TARGET, "few", r"fewer than 10 cells have the labels \('B', 'ctrl'\) \(3\): their mean is hardly known"),
    ],
)
def test_warnings_are_of_the_line_that_asks(additive, labels, change, message):
    adata, _ = additive
    if change == "unlabelled":
        adata.obs.iloc[:2, 1] = None
    if change == "few":
        controls = np.flatnonzero((adata.obs[KEYS] == ["B", "ctrl"]).all(axis=1))
        adata = adata[np.setdiff1d(np.arange(adata.n_obs), controls[3:])].copy()
    predictor = CombinationPredictor(adata, KEYS)
    with pytest.warns(UserWarning, match=message) as caught:
        predictor.predict(labels, along="condition")
    assert {warning.filename for warning in caught} == {__file__}


def test_seen_cells_are_left_out_of_the_arithmetic(additive):
    adata, truth = additive
    extra = adata[:N_EACH].copy()
    extra.obs[KEYS] = list(TARGET.values())
    extra.obs_names = [f"extra_{i}" for i in range(N_EACH)]
    with pytest.warns(UserWarning, match="for an honest prediction give the others only"):
        cells = CombinationPredictor(concat([adata, extra]), KEYS).predict(TARGET, method="additive")
    np.testing.assert_allclose(cells.X.mean(axis=0), truth, atol=2e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: a.X, "adata is a ndarray: give an AnnData"),
        (lambda a: AnnData(-a.X, obs=a.obs), "adata.X contains .*; expression must not be negative"),
        (lambda a: AnnData(None, obs=a.obs, var=a.var), "adata.X is None; pass layer="),
    ],
)
def test_cells_that_are_none_to_predict_from(additive, make, message):
    with pytest.raises(ValueError, match=message):
        CombinationPredictor(make(additive[0]), KEYS)


def test_cells_in_a_file_are_refused(screened, tmp_path):
    adata, _ = screened
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = sc.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for expression in ("auto", "counts"):
        with pytest.raises(ValueError, match="adata is backed by a file; load it"):
            CombinationPredictor(backed, KEYS, expression=expression)


def test_a_prediction_can_be_written_and_read(screened, tmp_path):
    adata, labels = screened
    cells = CombinationPredictor(adata, KEYS).predict(labels)
    cells.write_h5ad(tmp_path / "predicted.h5ad")
    again = sc.read_h5ad(tmp_path / "predicted.h5ad")
    np.testing.assert_array_equal(again.X, cells.X)
    assert again.uns["michigan"]["method"] == "kriging"
