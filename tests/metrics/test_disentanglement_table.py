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
    judged = disentanglement(adata, keys=FACTORS, seed=3)
    table = judged["X_michigan"]
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
    assert list(judged["best"].drop("SAP")) == [1] * 7 + [0]


@pytest.fixture
def perfect():
    """Factors in random combinations, each of them a latent."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({name: rng.integers(n_values, size=2000) for name, n_values in (("pair", 2), ("day", 3))})
    obs["step"], obs["time"] = rng.integers(20, size=2000), rng.random(2000)
    return AnnData(np.ones((2000, 1)), obs=obs.rename(str), obsm={"Z": obs.to_numpy()})


@pytest.mark.parametrize(("factor", "best"), [("pair", 1 / 2), ("day", 2 / 3), ("time", 1)])
def test_a_perfect_code_reaches_the_best_sap(perfect, factor, best):
    """One latent is always right, and the next best is a guess."""
    code = perfect.obsm["Z"][:, [list(perfect.obs).index(factor)]]
    perfect.obsm["code"] = np.hstack([code, np.zeros_like(code)])
    with pytest.warns(UserWarning, match="fewer than two latents that vary"):
        table = disentanglement(perfect, keys=factor, latent_key="code")
    assert table.loc["SAP", "best"] == pytest.approx(best)
    assert table.loc["SAP", "code"] == pytest.approx(best)


def test_the_best_sap_of_many_categories_is_small_and_reached(perfect):
    """On one axis lines hardly tell 20 of them apart, however they are placed."""
    step = perfect.obs["step"].to_numpy()
    for key, place in (("equal", step), ("doubling", 2.0**step)):
        perfect.obsm[key] = np.column_stack([place, np.zeros(2000)])
    with pytest.warns(UserWarning, match="fewer than two latents that vary"):
        row = disentanglement(perfect, keys="step", latent_key=["equal", "doubling"]).loc["SAP"]
    assert row["best"] == pytest.approx(row[["equal", "doubling"]].max())
    assert row["best"] < 0.3


def test_chance_is_what_the_latent_gets_beside_shuffled_factors(perfect):
    table = disentanglement(perfect, keys=["pair", "day"], latent_key="Z", n_cells=1000)
    assert (table.loc[["FactorVAE metric", "DCI informativeness", "SAP"], "Z"] > 0.4).all()
    # Guesses: of one of two factors on 2,000 votes, of one of 2 and of 3 values on 200 cells each; 4 standard errors.
    assert table.loc["FactorVAE metric", "chance"] == pytest.approx(1 / 2, abs=4 * 0.5 / np.sqrt(2000))
    assert table.loc["DCI informativeness", "chance"] == pytest.approx((1 / 2 + 1 / 3) / 2, abs=4 * 0.5 / np.sqrt(400))
    assert table.loc["SAP", "chance"] < 0.1
    assert table.loc["MIG, nearest neighbours", "chance"] < 0.1


@pytest.mark.parametrize("width", [None, 0.2])
def test_chance_of_the_total_correlation_is_what_independent_latents_have(width):
    """Three latents of which two are one, and the same three, drawn by themselves."""
    rng = np.random.default_rng(0)
    one, other, *apart = rng.normal(size=(4, 1000))
    adata = AnnData(np.ones((1000, 1)), obs=pd.DataFrame({"pair": rng.integers(2, size=1000)}).rename(str))
    for key, latents in {"Z": [one, one + 0.1 * rng.normal(size=1000), other], "apart": [*apart, other]}.items():
        adata.obsm[key] = np.column_stack(latents)
        if width is not None:
            adata.obsm[f"{key}_var"] = np.square(rng.uniform(width / 2, 3 * width / 2, size=(1000, 3)))
    table = disentanglement(adata, keys="pair", latent_key=["Z", "apart"], enable_progress_bar=False)
    row = table.loc["total correlation, Gaussian" if width is None else "total correlation, aggregate posterior"]
    # Without variances: 3 pairs of latents have chi2(1) / (2 x 1,000) nats each, with a standard deviation of 1 / sqrt(2) x
    # 1,000; both sums have three. With them: the bias of narrow posteriors, which differed by 0.02 (standard deviation) from
    # one draw of the cells to another.
    assert row["chance"] == pytest.approx(row["apart"], abs=4 * (np.sqrt(6 / 2) / 1000 if width is None else 0.02))
    assert row["Z"] > row["chance"] + 0.5
    assert width is None or row["chance"] > 0.1


def test_factors_are_shuffled_together(perfect):
    """The latent tells of neither, but the two still tell of each other, so that one cannot be held fixed alone."""
    perfect.obs["copy"] = perfect.obs["pair"]
    table = disentanglement(perfect, keys=["pair", "copy"], latent_key="Z", n_cells=300)
    # Whatever trees find for one factor they find for its copy.
    assert table.loc["DCI disentanglement", "chance"] == pytest.approx(0, abs=1e-6)


def test_it_is_said_how_factors_were_taken(adata, tmp_path):
    adata.obs["day"] = np.arange(120) % 5
    adata.obs["few"] = np.arange(120) % 2 / 2
    taken = {"type": "3 categories", "time": "numbers", "day": "5 categories", "few": "numbers"}
    for key, how in taken.items():  # of one factor, most metrics are not defined, and take no time
        assert disentanglement(adata, keys=key, n_cells=60).attrs["factors"] == {key: how}
    generator_disentanglement(adata, adata, keys=["type", "day"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad").uns
    assert dict(read["michigan_disentanglement"]["factors"]["taken as"]) == {"few": "numbers"}
    of_generator = dict(read["michigan_generator_disentanglement"]["factors"]["taken as"])
    assert of_generator == {"type": "3 categories", "day": "numbers"}


@pytest.mark.parametrize("dtype", [int, "Int64", object])
def test_integers_of_more_values_than_cells_with_each_are_hardly_categories(adata, dtype):
    adata.obs["day"] = pd.Series(np.arange(120) % 11, dtype=dtype).to_numpy()
    message = (
        r"integer factors are taken as categories, and these have many: 'day' has 11 in 120 cells; .* floating point"
    )
    with pytest.warns(UserWarning, match=message):
        disentanglement(adata, keys="day")
    adata.obs["day"] = adata.obs["day"].astype(float)
    assert disentanglement(adata, keys="day").attrs["factors"] == {"day": "numbers"}
    adata.obs["day"] = pd.Categorical(np.arange(120) % 11)
    assert disentanglement(adata, keys="day").attrs["factors"] == {"day": "11 categories"}


def test_a_constant_latent_among_others_changes_little(adata):
    """As a dimension that a variational autoencoder does not use."""
    adata.obsm["padded"] = np.column_stack([adata.obsm["X_michigan"], np.full(120, 0.3)])
    del adata.obsm["X_michigan_var"]
    table = disentanglement(adata, keys=FACTORS, latent_key=["X_michigan", "padded"])
    same = table.drop("DCI completeness")
    # Trees choose between equal splits by the number of latents.
    np.testing.assert_allclose(same["padded"], same["X_michigan"], rtol=0.01)
    # its entropy is relative to that of one latent more
    completeness = 1 - table.loc["DCI completeness", ["X_michigan", "padded"]]
    assert completeness["padded"] == pytest.approx(completeness["X_michigan"] * np.log(3) / np.log(4), rel=0.03)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize(
    ("constant", "named"), [([0, 2], "latent 1, latent 3"), ([0, 1, 2], "latent 1, latent 2, latent 3")]
)
def test_latents_of_which_fewer_than_two_vary_are_warned_of(adata, constant, named):
    adata.obsm["X_michigan"][:, constant] = 0.3
    del adata.obsm["X_michigan_var"]
    message = rf"obsm\['X_michigan'\] has fewer than two latents that vary.*: {named} of 3 are the same in all cells"
    with pytest.warns(UserWarning, match=message):
        table = disentanglement(adata, keys=FACTORS)
    assert np.isnan(table.loc["total correlation, Gaussian", "X_michigan"])
    generated = AnnData(adata.X + 0.01, obsm={"X_michigan": adata.obsm["X_michigan"]})
    with pytest.warns(UserWarning, match=rf"generated.{message}"):
        generator_disentanglement(adata, generated, keys=FACTORS)


def test_columns_have_names_of_their_own(adata):
    adata.obsm["chance"] = adata.obsm["X_michigan"]
    with pytest.raises(ValueError, match="latent_key is 'chance', a column of the table: store these latents under"):
        disentanglement(adata, keys=FACTORS, latent_key="chance")


def test_latents_without_variances_have_rows_of_their_own(adata, assert_unchanged):
    before = adata.copy()
    table = disentanglement(adata, keys="time", latent_key=["X_michigan", "X_pca"])
    assert_unchanged(adata, before, written=("michigan_disentanglement",))
    assert list(table.columns) == ["X_michigan", "X_pca", "chance", "best"]
    table = table[["X_michigan", "X_pca"]]
    for row in ("MIG, aggregate posterior", "total correlation, aggregate posterior"):
        assert list(table.loc[row].notna()) == [True, False]
    for row in ("MIG, nearest neighbours", "total correlation, Gaussian"):
        assert list(table.loc[row].notna()) == [False, True]
    assert table.attrs["estimator"] == {"X_michigan": "aggregate posterior", "X_pca": "knn"}
    # what asks which of several factors it was
    assert table.loc[table.index.str.contains("VAE|DCI")].isna().all(axis=None)


def test_variances_may_be_named(adata):
    adata.obsm["wide"] = adata.obsm.pop("X_michigan_var")
    assert "MIG, nearest neighbours" in disentanglement(adata, keys="time").index
    assert "MIG, aggregate posterior" in disentanglement(adata, keys="time", latent_var_key="wide").index


def test_factors_without_order_are_named_and_left_out_of_spearman(adata):
    table = disentanglement(adata, keys=["type"])
    assert np.isnan(table.loc["Spearman gap", "X_michigan"])
    assert table.attrs["left_out_of_spearman"] == ["type"]
    assert disentanglement(adata, keys="time").attrs["left_out_of_spearman"] == []
    adata.obs["type"] = adata.obs["type"].cat.as_ordered()
    assert disentanglement(adata, keys="type").loc["Spearman gap", "X_michigan"] > 0.5


@pytest.mark.usefixtures("few_rounds")
def test_the_result_survives_a_file(adata, tmp_path):
    table = disentanglement(adata, keys=FACTORS, latent_key=["X_michigan", "X_pca"])
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
    table = disentanglement(view, keys="time")
    assert view.is_view
    assert "michigan_disentanglement" not in adata.uns
    pd.testing.assert_frame_equal(table, disentanglement(adata[:100].copy(), keys="time"))


def test_more_cells_are_drawn_from(adata):
    first, same, other = (disentanglement(adata, keys="time", n_cells=60, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, same)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"keys": ["type", "sex"]}, KeyError, r"obs\['sex'\] does not exist; the columns are \['type', 'time'\]"),
        (
            {"latent_key": ["X_michigan", "X_scVI"]},
            KeyError,
            r"obsm\['X_scVI'\] is not in adata, which has \['X_michigan', 'X_michigan_var', 'X_pca', 'bad', 'line'\]",
        ),
        ({"latent_var_key": "V"}, KeyError, r"obsm\['V'\] is not in adata, .*: leave latent_var_key out"),
        ({"latent_key": []}, ValueError, "latent_key is empty: name one key of obsm or more"),
        ({"latent_key": "line"}, ValueError, r"obsm\['line'\] has shape \(120, 1\): give 2 or more latents"),
        ({"latent_key": "bad"}, ValueError, r"obsm\['bad'\] is not finite in 2 cells: leave these cells out"),
        ({"latent_var_key": "line"}, ValueError, r"obsm\['line'\] has shape \(120, 1\), obsm\['X_michigan'\] has"),
        ({"latent_var_key": "X_pca"}, ValueError, r"obsm\['X_pca'\] must be finite and positive"),
        ({"latent_key": ["X_pca", "X_michigan"], "latent_var_key": "line"}, ValueError, "is given for 2 latents"),
        ({"keys": []}, ValueError, "keys is empty: name one column of obs or more"),
        ({"keys": ["time", "time"]}, ValueError, "column 'time' more than once"),
        ({"n_cells": 0}, ValueError, "n_cells is 0"),
    ],
)
def test_bad_requests(adata, arguments, error, message):
    bad = adata.obsm["X_michigan"].copy()
    bad[3:5, 1] = np.nan
    adata.obsm["line"], adata.obsm["bad"] = np.ones((120, 1)), bad
    before = set(adata.uns)
    with pytest.raises(error, match=message):
        disentanglement(adata, **{"keys": "time"} | arguments)
    assert set(adata.uns) == before


def test_only_annotated_cells_have_latents():
    with pytest.raises(ValueError, match="adata is a ndarray: give an AnnData"):
        disentanglement(np.ones((3, 3)), keys="time")


def test_generators_are_judged_by_inferred_factors(adata):
    generated = AnnData(adata.X[::-1].copy(), obsm={"X_michigan": adata.obsm["X_michigan"][::-1].copy()})
    table = generator_disentanglement(adata, generated, keys=FACTORS)
    inferred = infer_factors(adata, generated, factors=adata.obs[FACTORS])
    pd.testing.assert_frame_equal(generated.obsm["michigan_inferred_factors"], inferred)
    correlation = spearman_correlation(generated.obsm["X_michigan"], inferred[["time"]])
    assert table.loc["Spearman gap", "X_michigan"] == pytest.approx(spearman_gap(correlation))
    information = mutual_information(generated.obsm["X_michigan"], inferred, estimator="knn")
    assert table.loc["MIG, nearest neighbours", "X_michigan"] == pytest.approx(mutual_information_gap(information))
    assert table.attrs["left_out_of_spearman"] == ["type"]


def test_generators_result_survives_a_file(adata, tmp_path):
    generated = AnnData(adata.X.copy(), obsm={"X_michigan": adata.obsm["X_michigan"].copy()})
    table = generator_disentanglement(adata, generated, keys=FACTORS)
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
    table = generator_disentanglement(adata, generated, keys=FACTORS, latent_key="Z")
    assert (table[["Z", "chance"]] == 0).all(axis=None)


def test_layers_of_real_cells(adata):
    generated = AnnData(adata.X.copy(), obsm={"X_michigan": adata.obsm["X_michigan"]})
    expected = generator_disentanglement(adata, generated, keys="time")
    adata.layers["scaled"] = adata.X.copy()
    adata.X = adata.X + 100
    pd.testing.assert_frame_equal(generator_disentanglement(adata, generated, keys="time", layer="scaled"), expected)
    with pytest.raises(KeyError, match=r"real.layers\['log'\] does not exist; the layers are \['scaled'\]"):
        generator_disentanglement(adata, generated, keys="time", layer="log")


def test_the_result_is_written_to_other_keys_where_asked(adata):
    disentanglement(adata, keys="time", key_added="mine")
    generated = AnnData(adata.X.copy(), obsm={"X_michigan": adata.obsm["X_michigan"]})
    generator_disentanglement(adata, generated, keys="time", key_added="mine")
    assert (set(adata.uns), set(generated.uns)) == ({"mine"}, {"mine"})
    assert generated.uns["mine"]["inferred_factors_key"] == "mine_inferred_factors"
    assert list(generated.obsm["mine_inferred_factors"]) == ["time"]
