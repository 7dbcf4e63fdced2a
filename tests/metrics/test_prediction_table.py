import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from sklearn.decomposition import PCA

from scmichigan.metrics import (
    additive,
    additive_weighted,
    change_slope,
    de_direction,
    de_overlap,
    e_distance,
    gene_agreement,
    mean_change_correlation,
    mmd,
    prediction,
    split_half,
)

FAST = {"n_trees": 5}
COLUMNS = ["predicted", "no change", "additive", "additive, weighted", "real cells", "best"]


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    effect = np.where(np.arange(130) < 105, rng.normal(0, 2, 130), 0)
    names = {"control": 0, "real": effect, "predicted": 0.5 * effect}
    given = {name: rng.normal(5 + shift, 1, (100, 130)) for name, shift in names.items()}
    pairs = [(rng.normal(place, 1, (30, 130)), rng.normal(place + effect, 1, (40, 130))) for place in (6, 7)]
    return given | {"contexts": pairs}


def test_values_are_those_of_the_functions(cells):
    """Beside one half of the real cells; distances of the same number everywhere."""
    table = prediction(**cells, **FAST)
    control, contexts = cells["control"], cells["contexts"]
    ceiling, reference = split_half(cells["real"])
    basis = np.vstack([control, *(side for pair in contexts for side in pair)])
    distances = {"basis": basis, "n_cells": 50}
    columns = {
        "predicted": cells["predicted"],
        "additive": additive(control, contexts),
        "additive, weighted": additive_weighted(control, contexts),
        "real cells": ceiling,
    }
    for name, side in columns.items():
        sides = reference, side, control
        agreement = gene_agreement(reference, side)
        expected = {
            "E-distance": e_distance(reference, side, **distances),
            "MMD": mmd(reference, side, **distances),
            "R2 of means": agreement["r2_mean"],
            "R2 of variances": agreement["r2_variance"],
            "correlation of mean change": mean_change_correlation(*sides),
            "correlation of mean change, top 20": mean_change_correlation(*sides, n_top=20),
            "correlation of mean change, top 100": mean_change_correlation(*sides, n_top=100),
            "slope of change": change_slope(*sides),
            "DE overlap, top 100": de_overlap(*sides),
            "DE direction, top 100": de_direction(*sides),
        }
        assert dict(table[name].drop("random forest AUROC, genes")) == pytest.approx(expected), name
    assert list(table.columns) == COLUMNS
    assert table.attrs == {"n_cells": 50, "basis": "control and contexts", "silent_in_control": 0}
    assert table.columns.name == "components of control and contexts"


def test_no_change_has_no_correlation_and_changes_nothing(cells):
    table = prediction(**cells, **FAST)["no change"]
    assert table[table.index.str.contains("correlation")].isna().all()
    assert (table[["slope of change", "DE overlap, top 100", "DE direction, top 100"]] == 0).all()
    assert table[["E-distance", "MMD", "random forest AUROC, genes"]].notna().all()


def test_without_contexts_there_are_no_additive_predictions(cells):
    del cells["contexts"]
    with pytest.warns(
        UserWarning, match="components are fitted on the control cells alone, .* give the training cells"
    ):
        table = prediction(**cells, **FAST)
    assert list(table.columns) == ["predicted", "no change", "real cells", "best"]
    assert table.columns.name == "components of control"
    assert prediction(**cells, basis=cells["real"], **FAST).attrs["basis"] == "the basis given"


def test_genes_silent_in_control_are_counted(cells):
    """An additive prediction moves them without noise, and its overlap is taken by them."""
    cells["control"][:, 9:12] = 0
    assert prediction(**cells, **FAST).attrs["silent_in_control"] == 3


def test_control_and_contexts_that_are_the_truth(cells):
    """An empty cell is not a copy of another one."""
    real, pairs = cells["real"], cells["contexts"]
    real[0] = pairs[0][0][0] = pairs[1][1][0] = cells["control"][0] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prediction(**cells, **FAST)
    seen = np.vstack([cells["control"][:70], real[70:]])
    with pytest.warns(
        UserWarning, match="30 of 100 cells of control are cells of real, number for number, so that the"
    ):
        prediction(**cells | {"control": seen}, **FAST)
    pairs = [pairs[0], (pairs[1][0], np.vstack([pairs[1][1], real[-9:]]))]
    with pytest.warns(UserWarning, match=r"9 of 49 cells of contexts\[1\]\[1\] are .* have seen the answer"):
        prediction(**cells | {"contexts": pairs}, **FAST)


def test_others_have_columns(cells):
    others = {"decoder": cells["predicted"], "sparse": sparse.csr_matrix(cells["predicted"])}
    table = prediction(**cells, others=others, **FAST)
    assert list(table.columns) == ["predicted", "decoder", "sparse", *COLUMNS[1:]]
    pd.testing.assert_series_equal(table["decoder"], table["predicted"], check_names=False)
    pd.testing.assert_series_equal(table["sparse"], table["predicted"], check_names=False)


def test_components_never_see_the_real_cells(cells):
    """By default they are those of control and contexts, whatever the real cells are."""
    seen = np.vstack([cells["control"], *(side for pair in cells["contexts"] for side in pair)])
    table = prediction(**cells, **FAST)
    for basis in (sparse.csr_matrix(seen), PCA(50, random_state=0).fit(seen)):
        of_basis = prediction(**cells, basis=basis, **FAST)
        pd.testing.assert_frame_equal(of_basis, table, rtol=1e-3, check_names=False)
    assert not prediction(**cells, basis=cells["real"], **FAST).equals(table)


def test_sparse_cells_are_the_same(cells):
    as_sparse = {name: sparse.csr_matrix(cells[name]) for name in ("control", "real", "predicted")}
    as_sparse["contexts"] = [tuple(sparse.csc_matrix(side) for side in pair) for pair in cells["contexts"]]
    pd.testing.assert_frame_equal(prediction(**as_sparse, **FAST), prediction(**cells, **FAST), rtol=1e-3)


def test_few_genes_leave_rows_undefined(cells):
    few = {name: cells[name][:, :40] for name in ("control", "real", "predicted")}
    table = prediction(**few, basis=few["control"], **FAST)
    assert list(table.index[table["real cells"].isna()]) == [
        "correlation of mean change, top 100",
        "DE overlap, top 100",
        "DE direction, top 100",
    ]


def test_the_result_survives_a_file(cells, tmp_path, assert_unchanged):
    cells["predicted"] = AnnData(cells["predicted"])
    before = cells["predicted"].copy()
    table = prediction(**cells, **FAST)
    assert_unchanged(cells["predicted"], before, written=("michigan_prediction",))
    cells["predicted"].write_h5ad(tmp_path / "cells.h5ad")
    stored = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["michigan_prediction"]
    pd.testing.assert_frame_equal(stored["table"], table, check_names=False)
    assert (stored["n_cells"], stored["basis"]) == (50, "control and contexts")


def test_nothing_is_written_to_views(cells):
    adata = AnnData(cells["predicted"])
    cells["predicted"] = adata[:60]
    prediction(**cells, **FAST)
    assert cells["predicted"].is_view
    assert not adata.uns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"others": {"best": np.ones((9, 130))}},
            r"others has the name 'best': give one without a slash that no column",
        ),
        ({"others": {"a/b": np.ones((9, 130))}}, r"others has the name 'a/b'"),
        ({"others": {"a": np.ones((9, 13))}}, r"others\['a'\] has 13 genes, predicted has 130"),
        ({"others": {"a": np.ones((4, 130))}}, r"others\['a'\] has 4 cells: give 5 or more"),
        ({"contexts": [(np.ones((9, 130)),)]}, r"contexts\[0\] has 1 member: give a pair \(unperturbed, perturbed\)"),
        ({"contexts": (np.ones((9, 130)), np.ones((9, 130)))}, r"contexts is one pair: give a list of pairs"),
        ({"contexts": (AnnData(np.ones((9, 130))), sparse.eye_array(130))}, r"contexts is one pair: give a list"),
        ({"contexts": [np.ones((9, 130))]}, r"contexts\[0\] is cells: give a pair of them"),
        ({"others": [np.ones((9, 130))]}, "others is a list: give a dict of names and cells"),
        ({"contexts": [(np.ones((9, 130)), np.ones((9, 3)))]}, r"contexts\[0\]\[1\] has 3 genes, predicted has 130"),
        ({"real": np.ones((9, 130))}, "real has 9 cells: give 2 x 5 or more"),
        ({"predicted": np.ones((0, 130))}, r"predicted has shape \(0, 130\)"),
        ({"control": np.full((9, 130), np.nan)}, "control has 1170 values that are NaN"),
        ({"basis": PCA()}, "basis is a PCA that is not fitted"),
        ({"n_cells": 0}, "n_cells is 0"),
        ({"n_trees": 0}, "n_trees is 0"),
        ({"control": np.full((100, 130), 40)}, "control holds counts .*, predicted log-normalised values"),
    ],
)
def test_bad_requests(cells, arguments, message):
    with pytest.raises(ValueError, match=message):
        prediction(**cells | arguments)
