"""What cells are warned of that can be compared, but to no purpose. Legend: n cells, g genes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scmichigan._arrays import Matrix, dense, has_fractions
from scmichigan._checks import warn

# What follows from copies, and the cure, by what they are given as.
MADE = "and get the values of real cells whatever the model is: leave them out of one of the two"
HELD_OUT = "so that a generator that knows them by heart passes: give cells that no fit has seen"
CONTROL = "so that the change is measured from what has changed: give unperturbed cells only"
CONTEXT = "so that the additive predictions have seen the answer: give other contexts only"
HIDDEN = "so that the model has seen the answer: leave them out of real, and fit it again"
_BLOCK_CELLS = 1000
# Silent genes are in most data, and raise R2 the more of them there are: below this fraction they hardly do.
_MAX_SILENT = 1 / 20


def remark_on(sides: Mapping[str, Matrix]) -> None:
    """Warn of counts, and of genes that no cell has where they are many."""
    _remark_on_silent_genes(sides)
    counts = {
        name: matrix.max()
        for name, matrix in sides.items()
        if matrix.max() > 1 and matrix.min() >= 0 and not has_fractions(matrix)
    }
    if not counts:
        return
    held = ", ".join(f"{name} (integers up to {largest:g})" for name, largest in counts.items())
    others = {name: matrix.max() for name, matrix in sides.items() if name not in counts and has_fractions(matrix)}
    if others:
        beside = ", ".join(f"{name} (up to {largest:.3g})" for name, largest in others.items())
        warn(
            f"these are counts: {held}; and these have fractions, as log-normalised expression has: {beside}; on two "
            "scales all values are of the scale, not of the cells: log-normalise all sides, as "
            "model.get_observed_expression() does"
        )
    else:
        warn(
            f"these are counts: {held}; distances and components of counts are those of totals and of the few largest "
            "genes: log-normalise all sides, as model.get_observed_expression() does"
        )


def _remark_on_silent_genes(sides: Mapping[str, Matrix]) -> None:
    n_held_g = sum(np.asarray((matrix != 0).sum(axis=0)).ravel() for matrix in sides.values())
    n_silent = np.count_nonzero(n_held_g == 0)
    if n_silent > _MAX_SILENT * len(n_held_g):
        warn(
            f"{n_silent} of {len(n_held_g)} genes are zero in all cells of {', '.join(sides)}, so that these agree on "
            "them whatever they are: leave such genes out of all, as real[:, seen] of seen = "
            "np.ravel(sum((x != 0).sum(axis=0) for x in matrices)) > 0, where matrices are the expression of all these"
        )


def remark_on_copies(sides: Mapping[str, Matrix], suspects: Mapping[tuple[str, str], str]) -> None:
    """Warn of cells of one side that are cells of another, for each pair of sides with what follows from that."""
    hashes = {name: _hashes(sides[name]) for name in dict.fromkeys(name for pair in suspects for name in pair)}
    for (name, real), what_follows in suspects.items():
        n_copies, n_cells = hashes[name].isin(hashes[real]).sum(), sides[name].shape[0]
        # Cells of few genes and counts are copies of each other by chance, among real cells as well.
        if n_copies / n_cells > 2 * hashes[real].duplicated(keep=False).sum() / sides[real].shape[0]:
            warn(f"{n_copies} of {n_cells} cells of {name} are cells of {real}, number for number, {what_follows}")


def _hashes(matrix: Matrix) -> pd.Series:
    """Hash of each cell, but of those whose genes are all the same, such as empty ones."""
    hashes = []
    for start in range(0, matrix.shape[0], _BLOCK_CELLS):
        block_ng = np.ascontiguousarray(dense(matrix[start : start + _BLOCK_CELLS]), dtype=np.float32)
        block_ng = block_ng[np.ptp(block_ng, axis=1) > 0]
        hashes += [hash(cell_g.tobytes()) for cell_g in block_ng + 0]  # no negative zeros
    return pd.Series(hashes, dtype=np.int64)
