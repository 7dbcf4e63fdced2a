import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp


@pytest.fixture
def incomplete(counts):
    """Cells of 3 types x 3 treatments, but for three combinations: C was seen under one of them."""
    missing = [("type B", "drug 1"), ("type C", "control"), ("type C", "drug 2")]
    labels = list(counts.obs[["cell_type", "condition"]].astype(str).itertuples(index=False, name=None))
    rng = np.random.default_rng(0)
    counts.obsm["Z"] = rng.normal(size=(counts.n_obs, 3)).astype(np.float32)
    return counts[[pair not in missing for pair in labels]].copy(), missing


@pytest.fixture
def model(incomplete, make_gan):
    adata, _ = incomplete
    return make_gan(adata, latent_key="Z", size_factor_key="total_counts", fit={"max_epochs": 0})


def test_all_missing_combinations_in_the_order_of_trust(incomplete, model, tmp_path):
    _, missing = incomplete
    keys = ["cell_type", "condition"]
    table = model.missing_combinations(keys, enable_progress_bar=False)
    assert set(table[keys].itertuples(index=False, name=None)) == set(missing)
    assert table["expected_error"].is_monotonic_increasing
    cells = model.predict_all(keys, n_samples=30, seed=3, enable_progress_bar=False)
    assert cells.n_obs == 90
    assert cells.obs_names.is_unique
    assert sp.issparse(cells.X)
    found = cells.obs[keys].drop_duplicates().astype(str)
    assert list(found.itertuples(index=False, name=None)) == list(table[keys].itertuples(index=False, name=None))
    pd.testing.assert_frame_equal(cells.uns["michigan"]["combinations"], table)
    for i, row in enumerate(table.itertuples(index=False)):
        alone = model.predict_combination(
            {"cell_type": row.cell_type, "condition": row.condition}, n_samples=30, seed=3
        )
        part = cells[30 * i : 30 * (i + 1)]
        np.testing.assert_array_equal(part.X.toarray(), alone.X)
        np.testing.assert_array_equal(part.layers["counts"].toarray(), alone.layers["counts"].toarray())
        np.testing.assert_array_equal(part.obsm["X_michigan"], alone.obsm["X_michigan"])
        for column in ("michigan_source", "michigan_partner", "michigan_reference", "total_counts"):
            assert list(part.obs[column]) == list(alone.obs[column])
        assert row.along == alone.uns["michigan"]["along"]
        assert row.n_references == len(alone.uns["michigan"]["references"])
    cells.write_h5ad(tmp_path / "predicted.h5ad")
    again = anndata.read_h5ad(tmp_path / "predicted.h5ad")
    assert list(again.uns["michigan"]["combinations"]["along"]) == list(table["along"])

    some = model.predict_all(table[::-1].head(2), n_samples=5, enable_progress_bar=False)
    assert list(some.obs["condition"][::5]) == list(table["condition"][::-1][:2])


def test_what_nothing_can_predict_is_listed_and_left_out(counts, make_gan):
    # C was seen under a drug of its own alone.
    own = counts.obs["cell_type"] == "type C"
    keep = np.where(own, counts.obs["condition"] == "drug 2", counts.obs["condition"] != "drug 2")
    adata = counts[keep & ~((counts.obs["cell_type"] == "type B") & (counts.obs["condition"] == "drug 1"))].copy()
    adata.obsm["Z"] = np.random.default_rng(0).normal(size=(adata.n_obs, 3)).astype(np.float32)
    model = make_gan(adata, latent_key="Z", fit={"max_epochs": 0, "batch_size": 20})
    keys = ["cell_type", "condition"]
    table = model.missing_combinations(keys, enable_progress_bar=False)
    assert len(table) == 5
    assert list(table["along"] != "") == [True] + 4 * [False]
    assert table["expected_error"].isna().all()
    cells = model.predict_all(keys, n_samples=5, enable_progress_bar=False)
    assert cells.n_obs == 5
    with pytest.warns(UserWarning, match="4 of 5 combinations are left out, the first is"):
        again = model.predict_all(table, n_samples=5, enable_progress_bar=False)
    np.testing.assert_array_equal(again.X.toarray(), cells.X.toarray())


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        (["cell_type"], ValueError, r"keys are \['cell_type'\]; combinations need two or more obs keys"),
        (["cell_type", "nope"], KeyError, r"obs\['nope'\] does not exist"),
        (["cell_type", "single"], ValueError, r"obs\['single'\] has 'one' only; give keys with two or more labels"),
        (["cell_type", "batch"], ValueError, "cells were seen with all 6 combinations of .*; there is none to predict"),
    ],
)
def test_keys_without_a_table_to_fill(model, keys, error, message):
    model.adata.obs["single"] = "one"
    for call in (model.missing_combinations, model.predict_all):
        with pytest.raises(error, match=message):
            call(keys, enable_progress_bar=False)


def test_combinations_that_were_seen_are_not_filled_in(model):
    seen = pd.DataFrame({"cell_type": ["type A"], "condition": ["control"]})
    with pytest.raises(ValueError, match="of the cells have the labels .*'type A'.* rows of the table of missing ones"):
        model.predict_all(seen)
    with pytest.raises(ValueError, match="combinations is a table without rows"):
        model.predict_all(seen[:0])


def test_cells_without_labels_and_references_of_few_cells_are_told_once(incomplete, make_gan):
    adata, _ = incomplete
    control = np.flatnonzero((adata.obs["cell_type"] == "type B") & (adata.obs["condition"] == "control"))
    adata = adata[np.setdiff1d(np.arange(adata.n_obs), control[3:])].copy()
    adata.obs["condition"] = adata.obs["condition"].astype(object)
    adata.obs.iloc[[0, 1], adata.obs.columns.get_loc("condition")] = np.nan
    model = make_gan(adata, latent_key="Z", fit={"max_epochs": 0})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.predict_all(["cell_type", "condition"], n_samples=5, enable_progress_bar=False)
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    assert len(messages) == 2
    assert "2 cells have no label" in messages[0]
    assert "fewer than 10 cells have the labels ('type B', 'control') (3)" in messages[1]
    assert {w.filename for w in caught if issubclass(w.category, UserWarning)} == {__file__}
