import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmichigan.metrics import (
    beta_vae_score,
    dci,
    disentanglement,
    factor_vae_score,
    generator_disentanglement,
    infer_factors,
    mutual_information,
    mutual_information_gap,
    sap,
    spearman_correlation,
    spearman_gap,
    total_correlation,
)

FACTORS = ["type", "time"]


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    type_n, time_n = rng.integers(3, size=120), rng.random(120)
    obs = pd.DataFrame({"type": pd.Categorical(np.array(list("abc"))[type_n]), "time": time_n}).rename(str)
    z = np.column_stack([type_n, time_n, rng.normal(size=120)]) + rng.normal(0, 0.1, (120, 3))
    adata = AnnData(np.column_stack([z, z**2]), obs=obs)
    adata.obsm["X_michigan"] = z
    adata.obsm["X_michigan_var"] = rng.uniform(0.01, 0.02, z.shape)
    adata.obsm["X_pca"] = sparse.csr_matrix(z[:, ::-1])
    return adata


def test_values_are_those_of_the_functions(adata):
    table = disentanglement(adata, FACTORS, seed=3)["X_michigan"]
    mean, var, factors = adata.obsm["X_michigan"], adata.obsm["X_michigan_var"], adata.obs[FACTORS]
    of_trees = dci(mean, factors, seed=3)
    expected = {
        "MIG, aggregate posterior": mutual_information_gap(mutual_information(mean, factors, var=var)),
        "Spearman gap": spearman_gap(spearman_correlation(mean, factors[["time"]])),
        "FactorVAE metric": factor_vae_score(mean, factors, seed=3),
        "beta-VAE metric": beta_vae_score(mean, factors, seed=3),
        "DCI disentanglement": of_trees.disentanglement,
        "DCI completeness": of_trees.completeness,
        "DCI informativeness": of_trees.informativeness,
        "SAP": sap(mean, factors, seed=3),
        "total correlation, aggregate posterior": total_correlation(mean, var, seed=3),
    }
    assert dict(table) == pytest.approx(expected)


def test_latents_without_variances_have_rows_of_their_own(adata, assert_unchanged):
    before = adata.copy()
    table = disentanglement(adata, "time", ["X_michigan", "X_pca"])
    assert_unchanged(adata, before, written=("michigan_disentanglement",))
    assert list(table.columns) == ["X_michigan", "X_pca"]
    for row in ("MIG, aggregate posterior", "total correlation, aggregate posterior"):
        assert list(table.loc[row].notna()) == [True, False]
    for row in ("MIG, nearest neighbours", "total correlation, Gaussian"):
        assert list(table.loc[row].notna()) == [False, True]
    assert table.attrs["estimator"] == {"X_michigan": "aggregate posterior", "X_pca": "knn"}
    # what asks which of several factors it was
    assert table.loc[table.index.str.contains("VAE|DCI")].isna().all(axis=None)


def test_variances_may_be_named(adata):
    adata.obsm["wide"] = adata.obsm.pop("X_michigan_var")
    assert "MIG, nearest neighbours" in disentanglement(adata, "time").index
    assert "MIG, aggregate posterior" in disentanglement(adata, "time", latent_var_key="wide").index


def test_factors_without_order_are_named_and_left_out_of_spearman(adata):
    table = disentanglement(adata, ["type"])
    assert np.isnan(table.loc["Spearman gap", "X_michigan"])
    assert table.attrs["left_out_of_spearman"] == ["type"]
    assert disentanglement(adata, "time").attrs["left_out_of_spearman"] == []
    adata.obs["type"] = adata.obs["type"].cat.as_ordered()
    assert disentanglement(adata, "type").loc["Spearman gap", "X_michigan"] > 0.5


def test_the_result_survives_a_file(adata, tmp_path):
    table = disentanglement(adata, FACTORS, ["X_michigan", "X_pca"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    stored = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["michigan_disentanglement"]
    pd.testing.assert_frame_equal(stored["table"], table, check_exact=True)
    mean = adata.obsm["X_michigan"]
    information = mutual_information(mean, adata.obs[FACTORS], var=adata.obsm["X_michigan_var"])
    pd.testing.assert_frame_equal(stored["mutual_information"]["X_michigan"], information)
    pd.testing.assert_frame_equal(stored["spearman"]["X_michigan"], spearman_correlation(mean, adata.obs[["time"]]))
    assert stored["estimator"] == {"X_michigan": "aggregate posterior", "X_pca": "knn"}
    assert list(stored["left_out_of_spearman"]) == ["type"]


def test_nothing_is_written_to_views(adata):
    view = adata[:100]
    table = disentanglement(view, "time")
    assert view.is_view
    assert "michigan_disentanglement" not in adata.uns
    pd.testing.assert_frame_equal(table, disentanglement(adata[:100].copy(), "time"))


def test_more_cells_are_drawn_from(adata):
    first, same, other = (disentanglement(adata, "time", n_cells=60, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, same)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"factors": ["type", "sex"]}, KeyError, r"obs\['sex'\] does not exist; the columns are \['type', 'time'\]"),
        (
            {"latent_key": ["X_michigan", "X_scVI"]},
            KeyError,
            r"obsm\['X_scVI'\] is not in adata, which has \['X_michigan', 'X_michigan_var', 'X_pca', 'bad', 'line'\]",
        ),
        ({"latent_var_key": "V"}, KeyError, r"obsm\['V'\] is not in adata, .*: leave latent_var_key out"),
        ({"latent_key": "line"}, ValueError, r"obsm\['line'\] has shape \(120, 1\): give 2 or more latents"),
        ({"latent_key": "bad"}, ValueError, r"obsm\['bad'\] is not finite in 2 cells: leave these cells out"),
        ({"latent_var_key": "line"}, ValueError, r"obsm\['line'\] has shape \(120, 1\), obsm\['X_michigan'\] has"),
        ({"latent_var_key": "X_pca"}, ValueError, r"obsm\['X_pca'\] must be finite and positive"),
        ({"latent_key": ["X_pca", "X_michigan"], "latent_var_key": "line"}, ValueError, "is given for 2 latents"),
        ({"factors": []}, ValueError, "factors has 0 columns; give 1 or more"),
        ({"factors": ["time", "time"]}, ValueError, "column 'time' more than once"),
        ({"n_cells": 0}, ValueError, "n_cells is 0"),
    ],
)
def test_bad_requests(adata, arguments, error, message):
    bad = adata.obsm["X_michigan"].copy()
    bad[3:5, 1] = np.nan
    adata.obsm["line"], adata.obsm["bad"] = np.ones((120, 1)), bad
    before = set(adata.uns)
    with pytest.raises(error, match=message):
        disentanglement(adata, **{"factors": "time"} | arguments)
    assert set(adata.uns) == before


def test_only_annotated_cells_have_latents():
    with pytest.raises(ValueError, match="adata is a ndarray: give an AnnData"):
        disentanglement(np.ones((3, 3)), "time")


def test_generators_are_judged_by_inferred_factors(adata):
    generated = AnnData(adata.X[::-1].copy(), obsm={"X_michigan": adata.obsm["X_michigan"][::-1].copy()})
    table = generator_disentanglement(generated, adata, FACTORS)
    inferred = infer_factors(generated, adata, adata.obs[FACTORS])
    pd.testing.assert_frame_equal(generated.obsm["michigan_inferred_factors"], inferred)
    correlation = spearman_correlation(generated.obsm["X_michigan"], inferred[["time"]])
    assert table.loc["Spearman gap", "X_michigan"] == pytest.approx(spearman_gap(correlation))
    information = mutual_information(generated.obsm["X_michigan"], inferred, estimator="knn")
    assert table.loc["MIG, nearest neighbours", "X_michigan"] == pytest.approx(mutual_information_gap(information))
    assert table.attrs["left_out_of_spearman"] == ["type"]


def test_generators_result_survives_a_file(adata, tmp_path):
    generated = AnnData(adata.X.copy(), obsm={"X_michigan": adata.obsm["X_michigan"].copy()})
    table = generator_disentanglement(generated, adata, FACTORS)
    generated.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    stored = read.uns["michigan_generator_disentanglement"]
    pd.testing.assert_frame_equal(stored["table"], table)
    assert stored["spearman"].shape == (3, 1)
    assert stored["mutual_information"].shape == (3, 2)
    pd.testing.assert_frame_equal(
        read.obsm["michigan_inferred_factors"], generated.obsm["michigan_inferred_factors"], check_categorical=False
    )


def test_a_generator_of_one_cell_relates_to_nothing(adata):
    generated = AnnData(np.tile(adata.X[:1], (50, 1)), obsm={"Z": np.random.default_rng(0).normal(size=(50, 2))})
    assert (generator_disentanglement(generated, adata, FACTORS, latent_key="Z") == 0).all(axis=None)


def test_layers_of_real_cells(adata):
    generated = AnnData(adata.X.copy(), obsm={"X_michigan": adata.obsm["X_michigan"]})
    expected = generator_disentanglement(generated, adata, "time")
    adata.layers["scaled"] = adata.X.copy()
    adata.X = adata.X + 100
    pd.testing.assert_frame_equal(generator_disentanglement(generated, adata, "time", layer="scaled"), expected)
    with pytest.raises(KeyError, match=r"real.layers\['log'\] does not exist; the layers are \['scaled'\]"):
        generator_disentanglement(generated, adata, "time", layer="log")
