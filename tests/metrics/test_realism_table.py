import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmichigan.metrics import gene_agreement, realism

FAST = {"n_trees": 10}


def _cells(seed, n_cells=150, shift=0.0):
    rng = np.random.default_rng(seed)
    types = rng.integers(3, size=n_cells)
    cells = np.maximum(0, 4 * np.eye(3, 6)[types] + rng.normal(shift, 0.5, (n_cells, 6))).astype(np.float32)
    names = [f"{seed}_{i}" for i in range(n_cells)]
    return AnnData(cells, obs=pd.DataFrame({"type": pd.Categorical(np.array(list("abc"))[types])}, index=names))


@pytest.fixture
def real():
    return _cells(0)


@pytest.fixture
def generated():
    return _cells(1, 70)


def test_seen_cells_are_judged_in_thirds(real, generated, assert_unchanged):
    before = real.copy(), generated.copy()
    table = realism(real, generated, **FAST)
    assert list(table.columns) == ["generated", "real cells", "best"]
    assert "inception score" not in table.index
    assert table.attrs == {"compared_with": "cells seen in training", "n_cells": 50, "without_label": {}}
    assert table.columns.name == "beside cells seen in training"
    assert_unchanged(real, before[0], written=("michigan_probability_real",))
    assert_unchanged(generated, before[1], written=("michigan_probability_real", "michigan_realism"))
    assert real.obsm["michigan_probability_real"].notna().sum().tolist() == [50, 50]
    assert generated.obsm["michigan_probability_real"].notna().all(axis=None)


def test_held_out_cells_are_what_all_is_compared_with(real, generated):
    held_out = _cells(2, 60, shift=3)
    table = realism(real, generated, held_out=held_out, labels_key="type", **FAST)
    assert table.attrs == {"compared_with": "held-out cells", "n_cells": 60, "without_label": {}}
    assert "michigan_probability_real" not in real.obsm
    assert held_out.obsm["michigan_probability_real"].notna().all(axis=None)
    # neither the generated nor the real cells are like them
    for row in ("random forest error, components", "random forest error, genes"):
        assert (table.loc[row, ["generated", "real cells"]] < 0.1).all()
    np.testing.assert_allclose(table.loc["zero fraction", "best"], np.mean(held_out.X == 0))


def test_labels_are_those_of_the_cells_compared_with(real, generated):
    held_out = _cells(2, 60)
    del real.obs["type"]
    held_out.obs.loc[held_out.obs_names[:5], "type"] = np.nan
    with pytest.warns(UserWarning, match="cells of held_out without a label are left out of .*: 5 of 60 no 'type'"):
        table = realism(real, generated, held_out=held_out, labels_key="type", **FAST)
    assert table.attrs["without_label"] == {"type": 5}
    assert table.loc["inception score", "generated"] > 2
    assert table.loc["inception score", "best"] == table.loc["inception score", "real cells"]
    with pytest.raises(KeyError, match=r"obs\['type'\] does not exist; the columns are \[\]"):
        realism(real, generated, labels_key="type", **FAST)


def test_genes_agree_as_in_their_function(real, generated):
    """With as many cells everywhere as there are held-out and generated ones, nothing is drawn."""
    held_out = _cells(2, 70)
    table = realism(real, generated, held_out=held_out, **FAST)["generated"]
    expected = gene_agreement(held_out, generated)
    assert table["R2 of means"] == pytest.approx(expected["r2_mean"])
    assert table["R2 of variances"] == pytest.approx(expected["r2_variance"])
    assert table["R2 of zero fractions"] == pytest.approx(expected["r2_zero_fraction"])
    assert table["zero fraction"] == pytest.approx(expected["zero_fraction_generated"])


def test_copies_of_training_cells_pass_for_real_beside_held_out_ones(real):
    """The blind spot that is documented: they are real cells."""
    with pytest.warns(UserWarning, match="150 of 150 cells of generated are cells of real, number for number"):
        table = realism(real, AnnData(real.X.copy()), held_out=_cells(2), n_trees=20)
    # 75 cells of each side: the standard error of an error or an AUROC is below 0.05
    forest = table.index.str.startswith("random forest")
    np.testing.assert_allclose(table.loc[forest, "generated"], 0.5, atol=0.2)
    assert table.loc["E-distance", "generated"] < 3 * table.loc["E-distance", "real cells"]


def test_the_result_survives_a_file(real, generated, tmp_path):
    table = realism(real, generated, labels_key="type", **FAST)
    for name, cells in (("real", real), ("generated", generated)):
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
        read = anndata.read_h5ad(tmp_path / f"{name}.h5ad")
        pd.testing.assert_frame_equal(read.obsm["michigan_probability_real"], cells.obsm["michigan_probability_real"])
    stored = read.uns["michigan_realism"]
    pd.testing.assert_frame_equal(stored["table"], table, check_names=False)
    assert (stored["compared_with"], stored["n_cells"]) == ("cells seen in training", 50)


def test_the_probability_goes_with_the_cells(real):
    """A half that is clearly not real, in an order of its own."""
    fake = np.random.default_rng(0).permutation(np.repeat([True, False], 60))
    generated = _cells(1, 120)
    generated.X[fake] += 9
    realism(real, generated, n_trees=20)
    probability = generated.obsm["michigan_probability_real"]
    assert (probability[fake].mean() < 0.1).all()
    assert (probability[~fake].mean() > 0.3).all()


def test_the_result_is_written_to_other_keys_where_asked(real, generated):
    realism(real, generated, key_added="mine", **FAST)
    assert set(generated.uns) == {"mine"}
    assert generated.uns["mine"]["probability_real_key"] == "mine_probability_real"
    assert set(generated.obsm) == set(real.obsm) == {"mine_probability_real"}


def test_nothing_is_written_to_views(real, generated):
    view = generated[:60]
    realism(real[:], view, **FAST)
    assert view.is_view
    assert not real.obsm
    assert not generated.uns


def test_cells_in_a_file(real, generated, tmp_path):
    real.write_h5ad(tmp_path / "real.h5ad")
    backed = anndata.read_h5ad(tmp_path / "real.h5ad", backed="r")
    table = realism(backed, generated, **FAST)
    backed.file.close()
    pd.testing.assert_frame_equal(table, realism(real, generated, **FAST))
    assert "michigan_probability_real" not in anndata.read_h5ad(tmp_path / "real.h5ad").obsm


def test_layers_of_real_cells(real, generated):
    expected = realism(real.copy(), generated, **FAST)
    real.layers["logged"] = sparse.csr_matrix(real.X)
    real.X = np.round(100 * real.X)
    with pytest.raises(ValueError, match=r"real holds counts .*, generated log-normalised values"):
        realism(real, generated, **FAST)
    pd.testing.assert_frame_equal(realism(real, generated, layer="logged", **FAST), expected, rtol=1e-4)
    with pytest.raises(KeyError, match=r"held_out.layers\['logged'\] does not exist; the layers are \[\]"):
        realism(real, generated, held_out=_cells(2), layer="logged", **FAST)


def test_a_generator_of_one_cell_gets_its_values(real):
    with pytest.warns(UserWarning, match="60 of 60 cells of generated are cells of real"):
        table = realism(real, AnnData(np.tile(real.X[:1], (60, 1))), labels_key="type", **FAST)
    assert np.isnan(table.loc["gene-gene correlation", "generated"])
    assert table.loc["random forest error, genes", "generated"] < 0.1
    assert table["generated"].isna().sum() == 1


def test_one_gene_and_repeated_names(real, generated):
    real.obs_names = ["cell"] * real.n_obs
    with pytest.warns(UserWarning, match="Observation names are not unique"):
        one_gene = real[:, :1].copy()
    table = realism(one_gene, generated[:, :1].copy(), **FAST)
    assert list(table.index[table["generated"].isna()]) == [
        "R2 of means",
        "R2 of variances",
        "R2 of zero fractions",
        "zero fraction",
        "gene-gene correlation",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"real": np.ones((9, 6))}, "real is a ndarray: give an AnnData"),
        ({"generated": np.ones((9, 6))}, "generated is a ndarray: give an AnnData"),
        ({"held_out": np.ones((9, 6))}, "held_out is a ndarray: give an AnnData"),
        ({"real": _cells(0, 14)}, "real has 14 cells: give 3 x 5 or more without held_out"),
        ({"generated": _cells(0, 3)}, "generated has 3 cells: give 5 or more"),
        ({"held_out": _cells(0, 2)}, "held_out has 2 cells: give 5 or more"),
        ({"real": _cells(0, 7), "held_out": _cells(1)}, "real has 7 cells: give 2 x 5 or more"),
        ({"n_cells": 0}, "n_cells is 0: give 5 or more"),
        ({"n_trees": 0}, "n_trees is 0: give 1 or more"),
        ({"generated": _cells(0)[:, :4]}, "generated has 4 genes, real has 6"),
        ({"generated": AnnData(np.full((30, 6), np.nan))}, "generated has 180 values that are NaN or infinite"),
    ],
)
def test_bad_requests(arguments, message):
    with pytest.raises(ValueError, match=message):
        realism(**{"real": _cells(0), "generated": _cells(1)} | arguments)
