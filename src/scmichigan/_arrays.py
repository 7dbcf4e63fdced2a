"""Arithmetic of matrices of cells, dense or sparse. Legend: n cells, g genes."""

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from ._checks import check_at_least

Matrix = np.ndarray | sparse.csr_array

_BLOCK_VALUES = 1_000_000
_CHUNK_ROWS = 4096


def has_fractions(matrix: Matrix) -> bool:
    """Whether a value is no whole number."""
    value = np.ravel(stored_values(matrix))
    return any(np.mod(value[start : start + _BLOCK_VALUES], 1).any() for start in range(0, value.size, _BLOCK_VALUES))


def stored_values(matrix: Matrix) -> np.ndarray:
    """All values of a dense matrix; of a sparse one those that are stored."""
    return matrix.data if sparse.issparse(matrix) else matrix


def unit_of(values: np.ndarray, variance: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, and 1 for a column that does not vary; the rows may have variances."""
    mean = values.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(values.var(axis=0, dtype=np.float64) + variance)
    return mean, np.where(deviation > np.finfo(np.float32).eps * np.abs(mean), deviation, 1.0)


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


def in_chunks(n_rows: int, size: int | None = None) -> list[slice]:
    """Slices that cover ``n_rows`` rows, 4,096 at a time by default."""
    size = size or _CHUNK_ROWS
    return [slice(start, start + size) for start in range(0, n_rows, size)]
