import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import scmichigan
from scmichigan.metrics import e_distance, mean_change_correlation, random_forest_error, split_half


def _adata(names):
    return AnnData(np.ones((4, len(names)), dtype=np.float32), var=pd.DataFrame(index=names))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones((3, 4)), r"y has 4 genes, x has 5: give both with the same genes"),
        (np.ones(5), r"y has shape \(5,\): give at least one cell and one gene, as cells x genes"),
        (np.ones((0, 5)), r"y has shape \(0, 5\)"),
        (np.full((3, 5), np.nan), r"y has 15 values that are NaN or infinite: remove or replace them"),
        (sparse.csr_matrix([[np.inf, 0, 0, 0, 0]]), r"y has 1 values that are NaN or infinite"),
        (np.full((3, 5), "a"), r"y holds <U1 values: give real numbers"),
        (AnnData(obs=pd.DataFrame(index=["a"])), r"y is an AnnData without X: put the expression"),
    ],
)
def test_unusable_cells_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        e_distance(np.ones((3, 5)), bad)


def test_gene_names_must_agree():
    first, second = _adata(["a", "b", "c"]), _adata(["a", "c", "b"])
    message = r"generated.var_names\[1\] is 'c', real.var_names\[1\] is 'b': .* as in generated\[:, real.var_names\]"
    with pytest.raises(ValueError, match=message):
        random_forest_error(first, second)
    assert e_distance(first, second[:, first.var_names]) == 0


def test_names_are_compared_between_annotated_cells_only():
    first, second = _adata(["a", "b", "c"]), _adata(["a", "c", "b"])
    array = np.ones((4, 3))
    assert e_distance(array, first) == 0
    with pytest.raises(ValueError, match=r"control.var_names\[1\]"):
        mean_change_correlation(array, first, second)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array, AnnData])
def test_containers_are_the_same(container):
    rng = np.random.default_rng(0)
    x, y, z = rng.poisson(1, (3, 30, 6)).astype(np.float32)
    wrap = lambda matrix: container(matrix)
    for metric in (
        lambda x, y, z: e_distance(x, y),
        lambda x, y, z: e_distance(x, y, basis=z, n_components=3),
        lambda x, y, z: random_forest_error(x, y, n_trees=5, n_folds=2),
        mean_change_correlation,
    ):
        np.testing.assert_allclose(metric(wrap(x), wrap(y), wrap(z)), metric(x, y, z), rtol=1e-5)
    np.testing.assert_array_equal(split_half(wrap(x)), split_half(x))


def test_backed_cells_are_read(tmp_path):
    adata = AnnData(np.random.default_rng(0).normal(size=(20, 3)))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert e_distance(backed, adata) == pytest.approx(0, abs=1e-9)
    backed.file.close()


@pytest.mark.parametrize("room", ["metrics", "datasets"])
def test_rooms_need_no_networks_and_no_plots(room):
    """Under an empty parent package, as scmichigan itself imports everything."""
    code = f"""
import sys, types
parent = types.ModuleType("scmichigan")
parent.__path__ = [{str(Path(scmichigan.__file__).parent)!r}]
sys.modules["scmichigan"] = parent
import scmichigan.{room}
assert not {{"torch", "scvi", "matplotlib"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
