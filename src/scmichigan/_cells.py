"""What metrics and plots take: cells, checked in one place. Legend: n cells, g genes."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from ._arrays import Matrix, has_fractions, stored_values
from ._checks import counted

Cells = np.ndarray | sparse.sparray | sparse.spmatrix | AnnData
"""Cells x genes; of an AnnData its X."""

# log2 of a million: logarithms of expression do not exceed it, counts do.
_MAX_LOGARITHM = 20.0


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
    n_bad = np.size(stored := stored_values(matrix)) - np.count_nonzero(np.isfinite(stored))
    if n_bad:
        verb = "is" if n_bad == 1 else "are"
        raise ValueError(f"{name} has {counted(n_bad, 'value')} that {verb} NaN or infinite: remove or replace them")
    return matrix


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
        f"{raw} holds counts (integers up to {largest:g}), {beside} model.get_observed_expression() as {raw} or in a "
        f"layer of it, or with counts as {logged}"
    )


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


def gene_names(*cells: Cells) -> pd.Index:
    """Names of the genes from the first AnnData among the cells; their numbers where there is none."""
    named = [each.var_names for each in cells if isinstance(each, AnnData)]
    return named[0] if named else pd.RangeIndex(cells[0].shape[1])
