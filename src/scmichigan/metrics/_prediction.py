"""Simple predictions that others have to be better than, and the best possible one. Legend: n cells, g genes."""

from collections.abc import Sequence

import numpy as np
from anndata import AnnData
from scipy import sparse

from scmichigan._arrays import Matrix, dense, mean_g
from scmichigan._cells import Cells, matrices
from scmichigan._checks import check_at_least, counted


def no_change(control: Cells, *, n_samples: int | None = None, seed: int = 0) -> np.ndarray:
    """Predict that a perturbation does nothing: return control cells, as a dense float32 copy of cells x genes.

    Parameters
    ----------
    control
        Unperturbed cells of the context to predict, as in :func:`e_distance`, with the same errors.
    n_samples, seed
        Cells to return, 1 or more, sampled at random, with replacement only where there are fewer control cells; None
        returns them all in their order. Random seed.
    """
    (control_ng,) = matrices({"control": control})
    return _draw(control_ng, n_samples, seed)


def additive(
    control: Cells,
    changes: Sequence[tuple[Cells, Cells]],
    *,
    weights: Sequence[float] | None = None,
    n_samples: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Predict that a perturbation shifts mean expression as it does in other contexts.

    Control cells plus the weighted mean over contexts of the mean perturbed minus the mean unperturbed cell, as
    :func:`no_change` returns them. Values may be negative.

    Parameters
    ----------
    control, n_samples, seed
        As in :func:`no_change`, with the same errors.
    changes
        For each other context, such as another cell type, its unperturbed and its perturbed cells; one or more.
    weights
        Weights of those contexts, 0 or more; None weighs them equally.
    """
    control_ng, before_cg, after_cg = _contexts(control, changes)
    change_g = np.average(after_cg - before_cg, axis=0, weights=_checked_weights(weights, len(changes)))
    return _draw(control_ng, n_samples, seed) + change_g.astype(np.float32)


def additive_weighted(
    control: Cells, changes: Sequence[tuple[Cells, Cells]], *, n_samples: int | None = None, seed: int = 0
) -> np.ndarray:
    r"""Predict as :func:`additive`, with more weight on contexts with similar unperturbed cells.

    .. math:: w_c \propto 1 / ||m_c - m||^2

    with the mean unperturbed cells :math:`m_c` of another context and :math:`m` of the one to predict. Contexts with
    the same mean, up to rounding in single precision, get all the weight. Arguments and errors are those of
    :func:`additive`.
    """
    control_ng, before_cg, _ = _contexts(control, changes)
    mean = mean_g(control_ng)
    squared_c = np.sum((before_cg - mean) ** 2, axis=1)
    same_c = squared_c <= np.sum((np.finfo(np.float32).eps * mean) ** 2)
    weights = same_c if same_c.any() else squared_c.min() / squared_c
    return additive(control, changes, weights=weights, n_samples=n_samples, seed=seed)


def split_half(real: Cells, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split real cells into two random halves. One compared with the other has the value of a perfect prediction.

    ``real`` are 2 cells or more, as in :func:`e_distance`. Returns two dense float32 arrays without a cell in common,
    of ``n_cells // 2`` and of the remaining cells.
    """
    (real_ng,) = matrices({"real": real})
    n_cells = real_ng.shape[0]
    if n_cells < 2:
        raise ValueError("real has 1 cell: give 2 or more to split")
    order = np.random.default_rng(seed).permutation(n_cells)
    return _float32(real_ng[order[: n_cells // 2]]), _float32(real_ng[order[n_cells // 2 :]])


def _contexts(control: Cells, changes: Sequence[tuple[Cells, Cells]]) -> tuple[Matrix, np.ndarray, np.ndarray]:
    """Control cells, and the means of each other context before and after."""
    if len(changes) == 0:
        raise ValueError("changes is empty: give the (unperturbed, perturbed) cells of at least one other context")
    control_ng, *others = matrices({"control": control} | named_pairs(changes, "changes"))
    means = np.stack([mean_g(matrix) for matrix in others])
    return control_ng, means[::2], means[1::2]


def named_pairs(pairs: Sequence[tuple[Cells, Cells]], name: str) -> dict[str, Cells]:
    """Cells of each pair (unperturbed, perturbed) by turns, under the names that errors call them by."""
    named = {}
    for i, pair in enumerate(pairs):
        if isinstance(pair, AnnData) or sparse.issparse(pair) or (isinstance(pair, np.ndarray) and pair.ndim == 2):
            raise ValueError(
                f"{name} is one pair: give a list of pairs, [(unperturbed, perturbed)]"
                if len(pairs) == 2
                else f"{name}[{i}] is cells: give a pair of them, (unperturbed, perturbed)"
            )
        if len(pair) != 2:
            raise ValueError(f"{name}[{i}] has {counted(len(pair), 'member')}: give a pair (unperturbed, perturbed)")
        named |= {f"{name}[{i}][{j}]": cells for j, cells in enumerate(pair)}
    return named


def _checked_weights(weights: Sequence[float] | None, n_changes: int) -> np.ndarray | None:
    if weights is None:
        return None
    checked = np.asarray(weights, dtype=np.float64)
    if checked.shape != (n_changes,):
        raise ValueError(f"weights has shape {checked.shape}: give one for each of the {n_changes} changes")
    if not (np.isfinite(checked).all() and (checked >= 0).all() and checked.sum() > 0):
        raise ValueError(f"weights are {checked.tolist()}: give finite values of 0 or more, not all 0")
    return checked


def _draw(matrix: Matrix, n_samples: int | None, seed: int) -> np.ndarray:
    if n_samples is None:
        return _float32(matrix)
    check_at_least(1, n_samples=n_samples)
    n_cells = matrix.shape[0]
    return _float32(matrix[np.random.default_rng(seed).choice(n_cells, n_samples, replace=n_samples > n_cells)])


def _float32(matrix: Matrix) -> np.ndarray:
    return np.array(dense(matrix), dtype=np.float32)
