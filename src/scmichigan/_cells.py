"""What metrics and plots take: cells, checked in one place.

Legend: n cells, g genes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

Cells = np.ndarray | sparse.sparray | sparse.spmatrix | AnnData
"""Cells x genes; of an AnnData its X."""

Matrix = np.ndarray | sparse.csr_array

# log2 of a million: logarithms of expression do not exceed it, counts do.
_MAX_LOGARITHM = 20.0
_BLOCK_VALUES = 1_000_000


def matrices(cells: Mapping[str, Cells]) -> list[Matrix]:
    """Check that all cells are usable and have the same genes.

    Parameters
    ----------
    cells
        The cells under the names that errors call them by; the first one sets the genes.

    Returns
    -------
    One matrix of shape ``(n_cells, n_genes)`` each, dense or CSR as it came.

    Raises
    ------
    ValueError
        If one is not a finite, non-empty matrix of numbers, the genes differ, or some are counts, or expression that
        was not logged, and some logarithms.
    """
    checked = {name: _matrix(value, name) for name, value in cells.items()}
    first, *others = checked
    for name in others:
        n_genes, expected = checked[name].shape[1], checked[first].shape[1]
        if n_genes != expected:
            raise ValueError(f"{name} has {n_genes} genes, {first} has {expected}: give both with the same genes")
    _check_gene_names({name: value for name, value in cells.items() if isinstance(value, AnnData)})
    _check_scales(checked)
    return list(checked.values())


def _matrix(cells: Cells, name: str) -> Matrix:
    if isinstance(cells, MuData):
        raise ValueError(f"{name} is a MuData: give one of its modalities, such as {name}[{next(iter(cells.mod))!r}]")
    if isinstance(cells, AnnData):
        if cells.X is None:
            raise ValueError(f"{name} is an AnnData without X: put the expression to compare into X")
        cells = cells.to_memory().X if cells.isbacked else cells.X
    matrix = sparse.csr_array(cells) if sparse.issparse(cells) else np.asarray(cells)
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {matrix.dtype} values: give real numbers")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} has shape {matrix.shape}: give at least one cell and one gene, as cells x genes")
    n_bad = np.size(stored := _stored(matrix)) - np.count_nonzero(np.isfinite(stored))
    if n_bad:
        verb = "is" if n_bad == 1 else "are"
        raise ValueError(f"{name} has {counted(n_bad, 'value')} that {verb} NaN or infinite: remove or replace them")
    return matrix


def _stored(matrix: Matrix) -> np.ndarray:
    return matrix.data if sparse.issparse(matrix) else matrix


def _check_gene_names(annotated: Mapping[str, AnnData]) -> None:
    if len(annotated) < 2:
        return
    first, *others = annotated
    expected = annotated[first].var_names.to_numpy()
    for name in others:
        differing = np.flatnonzero(annotated[name].var_names.to_numpy() != expected)
        if differing.size:
            at = differing[0]
            raise ValueError(
                f"{name}.var_names[{at}] is {annotated[name].var_names[at]!r}, {first}.var_names[{at}] is "
                f"{expected[at]!r}: bring both to the same genes in the same order, "
                f"as in {name}[:, {first}.var_names]"
            )


def _check_scales(checked: Mapping[str, Matrix]) -> None:
    """Refuse what was not logged beside logarithms, which nothing that is computed from them would show.

    Small integers beside fractions are neither sure to be another scale, as fractions may be expected counts, nor are
    large values with negative ones, which a Gaussian generator gives.
    """
    large = [name for name, matrix in checked.items() if matrix.max() > _MAX_LOGARITHM]
    if len(large) in (0, len(checked)):
        return
    raw = next((name for name in large if checked[name].min() >= 0), None)
    logged = next((name for name in checked if name not in large and has_fractions(checked[name])), None)
    if raw is None or logged is None:
        return
    beside = (
        f"{logged} log-normalised values (fractions, up to {checked[logged].max():.3g}): bring both to one scale, with"
    )
    largest = checked[raw].max()
    if has_fractions(checked[raw]):
        raise ValueError(
            f"{raw} holds values up to {largest:.6g}, more than a logarithm of expression can be, {beside} "
            f"numpy.log1p of {raw}, if it was normalised but not logged"
        )
    raise ValueError(
        f"{raw} holds counts (integers up to {largest:g}), {beside} model.get_normalized_expression() as {raw} or in a "
        f"layer of it, or with counts as {logged}"
    )


def has_fractions(matrix: Matrix) -> bool:
    """Whether a value is no whole number."""
    value = np.ravel(_stored(matrix))
    return any(np.mod(value[start : start + _BLOCK_VALUES], 1).any() for start in range(0, value.size, _BLOCK_VALUES))


def counted(number: int, noun: str) -> str:
    """Give a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def check_at_least(minimum: int, **values: int) -> None:
    """Raise a ``ValueError`` that names the first value that is no whole number, or below the minimum."""
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise ValueError(f"{name} is {value!r}: give a whole number")
        if value < minimum:
            raise ValueError(f"{name} is {value}: give {minimum} or more")


def is_number(values: Any) -> bool:
    """Whether an array, a column or a dtype is of numbers, and not of truth values."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def unit_of(values: np.ndarray, variance: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, and 1 for a column that does not vary; the rows may have variances."""
    mean = values.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(values.var(axis=0, dtype=np.float64) + variance)
    return mean, np.where(deviation > np.finfo(np.float32).eps * np.abs(mean), deviation, 1.0)


def own_keys(mapping: Iterable[str]) -> list[str]:
    """Names of columns or keys that are the user's, and not those that scvi-tools adds."""
    return [key for key in mapping if not str(key).startswith("_scvi")]


def check_anndata(**cells: AnnData) -> None:
    """Raise a ``ValueError`` that names the first that is no AnnData."""
    for name, value in cells.items():
        if not isinstance(value, AnnData):
            raise ValueError(f"{name} is a {type(value).__name__}: give an AnnData, with expression in X or a layer")


def check_obs_keys(adata: AnnData, keys: Iterable[str | None], name: str = "") -> None:
    """Raise a ``KeyError`` that lists the columns where one is missing; ``name`` is that of cells among others."""
    for key in keys:
        if key is not None and key not in adata.obs:
            owner = f"{name}." if name else ""
            raise KeyError(f"{owner}obs[{key!r}] does not exist; the columns are {own_keys(adata.obs)}")


def all_obs(cells: AnnData | MuData) -> pd.DataFrame:
    """Labels of cells; of a MuData those of its modalities, too.

    A column of a modality that is in the MuData under its own name, or with the modality's before it, is there once.
    """
    obs = cells.obs
    for name, modality in cells.mod.items() if isinstance(cells, MuData) else ():
        own = modality.obs.reindex(cells.obs_names)
        obs = obs.drop(columns=[f"{name}:{key}" for key in own if f"{name}:{key}" in obs])
        obs = pd.concat([obs, own[[key for key in own if key not in obs]]], axis=1)
    return obs


def obsm_matrix(adata: AnnData, key: str, cure: str, name: str = "adata") -> np.ndarray:
    """Give an entry of obsm as numbers; an error with the cure where it is missing or holds anything else."""
    if key not in adata.obsm:
        raise KeyError(f"obsm[{key!r}] is not in {name}, which has {sorted(own_keys(adata.obsm))}: {cure}")
    value = adata.obsm[key]
    columns = value.infer_objects().dtypes.items() if isinstance(value, pd.DataFrame) else [(None, value.dtype)]
    for column, dtype in columns:
        if not pd.api.types.is_numeric_dtype(dtype):
            place = "" if column is None else f"[{column!r}]"
            raise ValueError(f"{name}.obsm[{key!r}]{place} holds {dtype} values: store numbers, or leave it out")
    return np.asarray(dense(value), dtype=np.float64)


def in_layer(cells: Cells, layer: str | None, name: str) -> Cells:
    """Give cells with a layer as their X; those that are no AnnData have no layers, and come as they are."""
    if layer is None or not isinstance(cells, AnnData):
        return cells
    if layer not in cells.layers:
        # anndata 0.13 lists X among the layers, under None.
        layers = sorted(key for key in cells.layers if key is not None)
        raise KeyError(f"{name}.layers[{layer!r}] does not exist; the layers are {layers}")
    return AnnData(cells.layers[layer], var=cells.var[[]])


def keep(adata: Cells, part: Literal["obsm", "uns"], key: str, value: Any) -> None:
    """Write to an AnnData, but not to a view: that would turn it into a copy of its cells."""
    if isinstance(adata, AnnData) and not adata.is_view:
        getattr(adata, part)[key] = value


def check_cells_differ(matrix: Matrix) -> None:
    """Raise a ``ValueError`` where every cell is the same, so that there is no variance to model."""
    if (matrix.max(axis=0) - matrix.min(axis=0)).max() == 0:
        raise ValueError(f"the expression of all {matrix.shape[0]} cells is the same: give cells that differ")


def dense(matrix: Matrix) -> np.ndarray:
    """Give the same matrix as a numpy array."""
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def draw_rows(n_cells: int, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw at most ``n_rows`` of the row numbers without replacement; all of them come in their order."""
    return np.arange(n_cells) if n_rows >= n_cells else rng.choice(n_cells, n_rows, replace=False)


def sample_rows(matrix: Matrix, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``n_rows`` random rows without replacement, dense."""
    if n_rows >= matrix.shape[0]:
        return dense(matrix)
    return dense(matrix[draw_rows(matrix.shape[0], n_rows, rng)])


def gene_names(*cells: Cells) -> pd.Index:
    """Names of the genes from the first AnnData among the cells; their numbers where there is none."""
    named = [each.var_names for each in cells if isinstance(each, AnnData)]
    return named[0] if named else pd.RangeIndex(cells[0].shape[1])


def mean_g(matrix: Matrix) -> np.ndarray:
    """Mean of each gene in double precision, shape ``(n_genes,)``."""
    return np.asarray(matrix.mean(axis=0, dtype=np.float64)).ravel()


def variance_g(matrix: Matrix) -> np.ndarray:
    """Variance of each gene in double precision, shape ``(n_genes,)``."""
    return StandardScaler(with_mean=False).fit(matrix.astype(np.float64)).var_


def fit_pca(matrix: Matrix, *, n_components: int, seed: int) -> PCA:
    """Fit principal components, as many as asked for or as there can be: ``min(n_cells, n_genes)``."""
    check_at_least(1, n_components=n_components)
    n_possible = min(matrix.shape)
    if n_components >= n_possible:
        matrix = dense(matrix)  # scikit-learn's sparse solver cannot give all of them
    return PCA(min(n_components, n_possible), random_state=seed).fit(matrix)
