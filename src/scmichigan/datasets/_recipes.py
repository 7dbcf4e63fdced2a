"""Preprocessing of real cells as in the paper. Legend: n cells, g genes."""

import numpy as np
from anndata import AnnData
from scipy import sparse

from scmichigan import _keys
from scmichigan._checks import check_at_least

_TARGET_SUM = 1e4


def scanpy_recipe(adata: AnnData, n_genes: int | None = None, *, min_genes: int = 200, min_cells: int = 3) -> AnnData:
    """Preprocess counts with scanpy: filter cells and genes, normalise, take logarithms, select highly variable genes.

    Parameters
    ----------
    adata
        Cells with raw counts in X.
    n_genes
        Number of highly variable genes; by default all with scanpy's default means and dispersions.
    min_genes, min_cells
        Least number of genes with counts in a cell, and of cells with counts of a gene.

    Returns
    -------
    New AnnData: ``log1p(10,000 * counts / total)`` in X, counts in ``layers["counts"]``, and in ``obs["total_counts"]`` the
    totals of the kept cells over all genes.

    Raises
    ------
    ValueError
        If X is no matrix of counts, or nothing passes the filters.

    References
    ----------
    Wolf et al. 2018, "SCANPY: large-scale single-cell gene expression data analysis"; Yu and Welch 2021, Methods, which
    names scanpy without its settings: these are the usual ones.
    """
    check_at_least(0, min_genes=min_genes, min_cells=min_cells)
    counts = _counts(adata)
    cells = np.flatnonzero((counts > 0).sum(axis=1).A1 >= max(min_genes, 1))
    genes = np.flatnonzero((counts[cells] > 0).sum(axis=0).A1 >= max(min_cells, 1))
    return _most_variable(adata, cells, genes, counts[cells].sum(axis=1).A1, _TARGET_SUM, n_genes)


def scvelo_recipe(adata: AnnData, n_genes: int = 2000, *, min_shared_counts: int = 20) -> AnnData:
    """Preprocess counts as scVelo does: filter genes, normalise, take logarithms, select highly variable genes.

    Parameters
    ----------
    adata, n_genes
        Cells with raw counts in X, and in the layers "spliced" and "unspliced"; number of highly variable genes.
    min_shared_counts
        Least sum of a gene's spliced and unspliced counts, over the cells with both.

    Returns
    -------
    As from :func:`scanpy_recipe`, with the median total in place of 10,000, and the totals before genes were filtered.

    Raises
    ------
    KeyError, ValueError
        If a layer is missing; as in :func:`scanpy_recipe`.

    References
    ----------
    Bergen et al. 2020, "Generalizing RNA velocity to transient cell states through dynamical modeling"; Yu and Welch 2021,
    Methods, "Real scRNA-seq datasets".
    """
    check_at_least(0, min_shared_counts=min_shared_counts)
    for layer in ("spliced", "unspliced"):
        if layer not in adata.layers:
            raise KeyError(f"adata.layers[{layer!r}] does not exist: give cells whose reads were told apart by it")
    counts = _counts(adata)
    total_n = counts.sum(axis=1).A1
    cells = np.flatnonzero(total_n > 0)
    genes = np.flatnonzero((shared_counts(adata) >= min_shared_counts) & (counts.sum(axis=0).A1 > 0))
    return _most_variable(adata, cells, genes, total_n[cells], float(np.median(total_n[cells])), n_genes)


def shared_counts(adata: AnnData) -> np.ndarray:
    """Sum of each gene's spliced and unspliced counts over the cells with both."""
    spliced, unspliced = (sparse.csr_matrix(adata.layers[layer]) for layer in ("spliced", "unspliced"))
    return (spliced > 0).multiply(unspliced > 0).multiply(spliced + unspliced).sum(axis=0).A1


def _counts(adata: AnnData) -> sparse.csr_matrix:
    counts = sparse.csr_matrix(adata.X, dtype=np.float32)
    if counts.nnz and (counts.data.min() < 0 or np.mod(counts.data, 1).any()):
        raise ValueError("adata.X holds no counts, but negative values or fractions: give raw counts")
    return counts


def _most_variable(adata, cells, genes, total_n, target_sum: float, n_genes: int | None) -> AnnData:
    """Log-normalised expression of the given cells, of their most variable ones among the given genes."""
    if not (cells.size and genes.size):
        raise ValueError(
            f"{cells.size} of {adata.n_obs} cells and {genes.size} of {adata.n_vars} genes pass the filters: lower them"
        )
    from scanpy.pp import highly_variable_genes  # slow to import, and for these recipes only

    made = adata[cells, genes].copy()
    made.layers[_keys.COUNTS] = sparse.csr_matrix(made.X, dtype=np.float32)
    scaled = sparse.diags_array(target_sum / total_n) @ made.layers[_keys.COUNTS]
    made.X = sparse.csr_matrix(scaled.log1p(), dtype=np.float32)  # scanpy 1.11 takes no sparse arrays
    made.obs[_keys.TOTAL_COUNTS] = total_n.astype(np.float32)
    made.uns["log1p"] = {"base": None}  # else scanpy takes these for counts
    check_at_least(1, n_genes=1 if n_genes is None else n_genes)
    highly_variable_genes(made, n_top_genes=n_genes)
    chosen = made.var["highly_variable"].to_numpy()
    if not chosen.any():
        raise ValueError("no gene has the mean and dispersion that scanpy asks for by default: give n_genes")
    return made[:, chosen].copy()
