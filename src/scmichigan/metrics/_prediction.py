"""How good predicted perturbations are, and the plain predictions that every claim is shown beside.

Legend: n cells, g genes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scmichigan._cells import Cells, Matrix, check_at_least, dense, matrices, mean_g


def mean_change_correlation(predicted: Cells, real: Cells, control: Cells) -> float:
    """Pearson correlation over genes of the predicted and the real change of mean expression.

    Parameters
    ----------
    predicted, real
        Predicted and real perturbed cells, shape ``(n_cells, n_genes)`` with the same genes: array, sparse matrix or
        AnnData (its X). Numbers of cells may differ.
    control
        Unperturbed cells on the same scale; changes are taken from their mean.

    Returns
    -------
    Correlation from -1 to 1; 1 is best. It sees directions only: a change predicted at half its size scores 1.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), or one change is the same for all genes, as of control cells
        predicted unchanged: the correlation is then not defined.
    """
    matrix_of = matrices({"predicted": predicted, "real": real, "control": control})
    predicted_g, real_g, control_g = (mean_g(matrix) for matrix in matrix_of)
    changes = {"predicted": predicted_g - control_g, "real": real_g - control_g}
    rounding = np.finfo(np.float32).eps * max(np.abs(mean).max() for mean in (predicted_g, real_g, control_g))
    for name, change_g in changes.items():
        if np.ptp(change_g) <= rounding:
            raise ValueError(
                f"{name} differs from control by {change_g[0]:.3g} in every gene, so that no correlation is defined: "
                f"check that {name} and control are different cells"
            )
    return float(np.corrcoef(changes["predicted"], changes["real"])[0, 1])


def no_change(control: Cells, *, n_samples: int | None = None, seed: int = 0) -> np.ndarray:
    """Predict that a perturbation does nothing: the control cells themselves.

    Parameters
    ----------
    control
        Unperturbed cells of the context to predict, shape ``(n_cells, n_genes)``: array, sparse matrix or AnnData
        (its X).
    n_samples
        Cells to return, drawn at random, with replacement only where there are fewer control cells; None returns
        them all in their order.
    seed
        Seed of the draw.

    Returns
    -------
    Dense float32 array of shape ``(n_samples, n_genes)``, a copy.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), or ``n_samples`` is below 1.
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

    Parameters
    ----------
    control
        Unperturbed cells of the context to predict, shape ``(n_cells, n_genes)``: array, sparse matrix or AnnData
        (its X).
    changes
        For each other context, such as another cell type, its unperturbed and its perturbed cells.
    weights
        Weights of those contexts, 0 or more; None weighs them equally.
    n_samples
        Cells to return, drawn at random, with replacement only where there are fewer control cells; None returns
        them all in their order.
    seed
        Seed of the draw.

    Returns
    -------
    Dense float32 array of shape ``(n_samples, n_genes)``: control cells plus the weighted mean over contexts of the
    mean perturbed minus the mean unperturbed cell. Values may be negative.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), there is no context, weights do not fit the contexts, or
        ``n_samples`` is below 1.
    """
    if len(changes) == 0:
        raise ValueError("changes is empty: give the (unperturbed, perturbed) cells of at least one other context")
    named = {"control": control}
    for i, pair in enumerate(changes):
        if len(pair) != 2:
            raise ValueError(f"changes[{i}] has {len(pair)} members: give a pair (unperturbed, perturbed)")
        named |= {f"changes[{i}][0]": pair[0], f"changes[{i}][1]": pair[1]}
    control_ng, *others = matrices(named)
    change_cg = [mean_g(after) - mean_g(before) for before, after in zip(others[::2], others[1::2], strict=True)]
    change_g = np.average(change_cg, axis=0, weights=_checked_weights(weights, len(changes)))
    return _draw(control_ng, n_samples, seed) + change_g.astype(np.float32)


def split_half(real: Cells, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split real cells into two random halves: one scored against the other shows the best a prediction can do.

    Parameters
    ----------
    real
        Real cells, shape ``(n_cells, n_genes)``: array, sparse matrix or AnnData (its X).
    seed
        Seed of the split.

    Returns
    -------
    Two dense float32 arrays without a cell in common, of ``n_cells // 2`` and of the remaining cells.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), or fewer than 2.
    """
    (real_ng,) = matrices({"real": real})
    n_cells = real_ng.shape[0]
    if n_cells < 2:
        raise ValueError("real has 1 cell: give 2 or more to split")
    order = np.random.default_rng(seed).permutation(n_cells)
    first, second = (_float32(real_ng[half]) for half in (order[: n_cells // 2], order[n_cells // 2 :]))
    return first, second


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
