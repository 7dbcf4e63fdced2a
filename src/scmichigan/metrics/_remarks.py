"""What cells are warned of that can be compared, but to no purpose.

Legend: n cells, g genes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from scmichigan._cells import Matrix, dense, has_fractions

from ._tables import warn

_BLOCK_CELLS = 1000


def remark_on(sides: Mapping[str, Matrix], *, made: Iterable[str] = (), truth: Iterable[str] = ()) -> None:
    """Warn of counts, of genes that no cell has, and of made cells that are cells of the truth."""
    _remark_on_counts(sides)
    _remark_on_silent_genes(sides)
    of_truth = {name: _hashes(sides[name]) for name in truth}
    for name in made:
        of_made = _hashes(sides[name])
        for real, of_real in of_truth.items():
            _remark_on_copies(of_made, of_real, name, real)


def _remark_on_counts(sides: Mapping[str, Matrix]) -> None:
    counts = {name: matrix.max() for name, matrix in sides.items() if _are_counts(matrix)}
    if counts:
        held = ", ".join(f"{name} (integers up to {largest:g})" for name, largest in counts.items())
        warn(
            f"these are counts: {held}; distances and components of counts are those of totals and of the few largest "
            "genes: log-normalise all sides, as model.get_normalized_expression() does"
        )


def _are_counts(matrix: Matrix) -> bool:
    return matrix.max() > 1 and matrix.min() >= 0 and not has_fractions(matrix)


def _remark_on_silent_genes(sides: Mapping[str, Matrix]) -> None:
    n_held_g = sum(np.asarray((matrix != 0).sum(axis=0)).ravel() for matrix in sides.values())
    n_silent = np.count_nonzero(n_held_g == 0)
    if n_silent:
        warn(
            f"{n_silent} of {len(n_held_g)} genes are zero in all cells of {', '.join(sides)}, so that these agree on "
            "them whatever they are: leave such genes out of all"
        )


def _remark_on_copies(of_made: pd.Series, of_real: pd.Series, name: str, real: str) -> None:
    """Warn unless real cells are as often copies of each other, as cells of few genes and counts are."""
    n_copies = of_made.isin(of_real).sum()
    if n_copies / len(of_made) > 2 * of_real.duplicated(keep=False).mean():
        warn(
            f"{n_copies} of {len(of_made)} cells of {name} are cells of {real}, number for number, and get the values "
            "of real cells whatever the model is: leave them out of one of the two"
        )


def _hashes(matrix: Matrix) -> pd.Series:
    hashes = []
    for start in range(0, matrix.shape[0], _BLOCK_CELLS):
        block_ng = np.ascontiguousarray(dense(matrix[start : start + _BLOCK_CELLS]), dtype=np.float32)
        hashes += [hash(cell_g.tobytes()) for cell_g in block_ng + 0]  # no negative zeros
    return pd.Series(hashes)
