import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scmichigan import datasets
from scmichigan.datasets._recipes import shared_counts


@pytest.fixture
def cells():
    """60 cells x 200 genes of about 5 counts, of which the last four vary between groups, and layers of them."""
    rng = np.random.default_rng(0)
    mean = np.full((60, 200), 5.0)
    mean[::2, -4:], mean[1::2, -4:] = 1, 9
    spliced = sp.csr_matrix(rng.poisson(mean).astype(np.float32))
    unspliced = sp.csr_matrix(rng.poisson(1.0, mean.shape).astype(np.float32))
    adata = AnnData(spliced, layers={"spliced": spliced, "unspliced": unspliced})
    adata.obs["clusters"] = pd.Categorical(["a", "b"] * 30)
    return adata


def _expected(counts, totals, target_sum):
    return np.log1p(counts * (target_sum / totals)[:, None])


def test_scanpy_recipe(cells):
    x = cells.X.toarray()
    x[3, 5:] = 0  # 5 genes
    x[:, 7] = 0
    x[:2, 7] = 1  # 2 cells
    cells.X = sp.csr_matrix(x)
    before = cells.copy()
    made = datasets.scanpy_recipe(cells, 4, min_genes=20)
    kept = np.delete(np.arange(60), 3)
    assert list(made.var_names) == ["196", "197", "198", "199"]
    assert list(made.obs_names) == [str(i) for i in kept]
    totals = x[kept].sum(axis=1)
    np.testing.assert_allclose(made.obs["total_counts"], totals)
    np.testing.assert_allclose(made.X.toarray(), _expected(x[kept, -4:], totals, 1e4), rtol=1e-5)
    np.testing.assert_array_equal(made.layers["counts"].toarray(), x[kept, -4:])
    assert list(made.obs["clusters"]) == [("a", "b")[i % 2] for i in kept]
    np.testing.assert_array_equal(cells.X.toarray(), before.X.toarray())
    assert "7" not in datasets.scanpy_recipe(cells, 199, min_genes=20).var_names


def test_scanpy_recipe_chooses_as_many_genes_as_vary(cells):
    with pytest.raises(ValueError, match="no gene has .* give n_genes"):  # all are means of more than 20 in 10,000
        datasets.scanpy_recipe(cells, min_genes=1)
    x = cells.X.toarray()
    x[:, 0] = 5000
    made = datasets.scanpy_recipe(AnnData(sp.csr_matrix(x)), min_genes=1)
    assert {"196", "197", "198", "199"} <= set(made.var_names)
    assert made.n_vars < 100


def test_scvelo_recipe(cells):
    unspliced = cells.layers["unspliced"].toarray()
    unspliced[:, 198] = 0  # no cell has both
    cells.layers["unspliced"] = sp.csr_matrix(unspliced)
    made = datasets.scvelo_recipe(cells, 3)
    x = cells.X.toarray()
    totals = x.sum(axis=1)
    assert list(made.var_names) == ["196", "197", "199"]
    expected = _expected(x[:, [196, 197, 199]], totals, np.median(totals))
    np.testing.assert_allclose(made.X.toarray(), expected, rtol=1e-5)
    np.testing.assert_allclose(made.obs["total_counts"], totals)


@pytest.mark.parametrize(("threshold", "n_genes"), [(7, 2), (8, 1), (11, 1)])
def test_shared_counts_are_of_cells_with_both(threshold, n_genes):
    # Gene 0: 3 + 1 and 2 + 1 in cells with both (the 9 has no unspliced beside it); gene 1: 5 + 1 and 4 + 1.
    spliced = np.array([[3, 5], [2, 4], [9, 0]], dtype=float)
    unspliced = np.array([[1, 1], [1, 1], [0, 3]], dtype=float)
    layers = {"spliced": sp.csr_matrix(spliced), "unspliced": sp.csr_matrix(unspliced)}
    adata = AnnData(sp.csr_matrix(spliced), layers=layers)
    assert (shared_counts(adata) >= threshold).sum() == n_genes


def test_recipes_refuse(cells):
    with pytest.raises(ValueError, match="holds no counts"):
        datasets.scanpy_recipe(AnnData(cells.X.log1p()))
    with pytest.raises(ValueError, match="0 of 60 cells and 0 of 200 genes pass the filters"):
        datasets.scanpy_recipe(cells, min_genes=201)
    with pytest.raises(KeyError, match=r"adata.layers\['spliced'\] does not exist"):
        datasets.scvelo_recipe(AnnData(cells.X))
