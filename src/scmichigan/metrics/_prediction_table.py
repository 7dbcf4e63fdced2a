"""How good a predicted perturbation is, by all measures at once, beside what it has to beat.

Legend: n cells, g genes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import PCA

from scmichigan import _keys
from scmichigan._arrays import Matrix, dense
from scmichigan._cells import Cells, keep
from scmichigan._checks import check_at_least

from ._basis import checked, fitted_pca
from ._change import change_slope, de_direction, de_overlap, mean_change_correlation
from ._discrimination import discriminate
from ._prediction import additive, additive_weighted, named_pairs, split_half
from ._rank import discrimination_rank
from ._realism import e_distance, mmd
from ._registry import PREDICTION
from ._remarks import CONTEXT, CONTROL, MADE, remark_on, remark_on_copies
from ._tables import Plan, Side, agreement_rows, computed, equal_number, metric_table, or_nan, warn, with_best

_N_COMPONENTS = 50
_TAKEN = ("predicted", "no change", "additive", "additive, weighted", "real cells", "best")
_OF_CHANGES = {
    "correlation of mean change": mean_change_correlation,
    "correlation of mean change, top 20": partial(mean_change_correlation, n_top=20),
    "correlation of mean change, top 100": partial(mean_change_correlation, n_top=100),
    "slope of change": change_slope,
    "DE overlap, top 100": partial(de_overlap, n_top=100),
    "DE direction, top 100": partial(de_direction, n_top=100),
}


def prediction(
    predicted: Cells,
    real: Cells,
    control: Cells,
    *,
    contexts: Sequence[tuple[Cells, Cells]] = (),
    others: Mapping[str, Cells] | None = None,
    basis: Cells | PCA | None = None,
    n_cells: int = 2000,
    n_trees: int = 200,
    seed: int = 0,
    n_jobs: int | None = None,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Judge a predicted perturbation by all measures at once, beside simple predictions and the best there can be.

    Parameters
    ----------
    predicted
        Predicted cells, shape ``(n_cells, n_genes)``: array, sparse matrix or AnnData (its X).
    real
        Real cells of what was predicted, 10 or more, hidden from every fit; the same genes and scale.
    control
        Unperturbed cells of the same context.
    contexts
        Unperturbed and perturbed cells of each other context, such as another cell type: what the additive predictions
        are made of.
    others
        Further predictions under their names, for columns of their own.
    basis
        Cells that principal components are fitted on, usually the training cells, or a fitted
        :class:`sklearn.decomposition.PCA`; for E-distance and MMD, which compare on the same basis only. By default
        ``control`` and ``contexts``: never the real cells of the prediction.
    n_cells
        Cells of each side at most.
    n_trees
        Trees of each random forest.
    seed
        Of all draws.
    n_jobs
        Processes that grow trees, as in scikit-learn.
    enable_progress_bar
        Whether to show how far it is.

    Returns
    -------
    One row a metric (:func:`registry` has ranges and sources). Columns: "predicted", the names of ``others``, "no
    change" (the control cells), with contexts "additive" and "additive, weighted" (:func:`additive` and
    :func:`additive_weighted`), "real cells" and "best". Everything is compared with one random half of the real cells,
    and "real cells" is the other half, what the best prediction reaches. E-distance, MMD and the random forest's AUROC,
    which depend on the number of cells, take the same number everywhere, ``attrs["n_cells"]``; the others take all.
    ``attrs["basis"]`` says which cells components were fitted on, and so does the name of the columns, and
    ``attrs["silent_in_control"]`` how many genes no control cell has (see the notes). A value that is not defined is NaN,
    as is the correlation of no change, or that over more genes than there are.

    Table and attributes are also written to ``predicted.uns["michigan_prediction"]`` where it is an AnnData and no view.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), too few, or log-normalised on one side and counts, or not logged, on
        the other; if a name of ``others`` is a column already, or the PCA is not fitted or has other genes.

    Warns
    -----
    UserWarning
        If components are fitted on ``control`` alone, there are fewer than 50 cells on a side (of ``real``, in each
        half), sides are counts, more than a twentieth of the genes are zero in all cells, or cells of ``predicted``,
        ``others``, ``control`` or ``contexts`` are real ones number for number.

    Notes
    -----
    A prediction that is no better than "no change" on E-distance moves cells in the wrong direction or too far, whatever
    its correlation, which forgives any size. One that is worse than "additive" is not worth its training. R2 of means is
    high for all predictions, as most genes do not change. The DE overlap takes a gene that is silent in all control cells
    and moved without noise, as the additive predictions do it, for the strongest change: theirs can be next to 0 for that
    reason alone, the more so the larger ``attrs["silent_in_control"]`` is.

    Examples
    --------
    >>> mg.metrics.prediction(predicted, truth, control, contexts=[(other_control, other_perturbed)])
    """
    plan = plan_prediction(
        predicted,
        real,
        control,
        contexts=contexts,
        others=others,
        basis=basis,
        n_cells=n_cells,
        n_trees=n_trees,
        seed=seed,
        n_jobs=n_jobs,
    )
    return computed({PREDICTION: plan}, enable_progress_bar=enable_progress_bar)[PREDICTION]


def plan_prediction(
    predicted: Cells,
    real: Cells,
    control: Cells,
    *,
    contexts: Sequence[tuple[Cells, Cells]] = (),
    others: Mapping[str, Cells] | None = None,
    basis: Cells | PCA | None = None,
    fitted_on: str = "the basis given",
    name_of_real: str = "real",
    targets: Mapping[str, Cells] | None = None,
    n_cells: int,
    n_trees: int,
    seed: int,
    n_jobs: int | None,
) -> Plan:
    """Check what :func:`prediction` is given, and real cells of other targets for a discrimination rank."""
    check_at_least(1, n_trees=n_trees)
    if not isinstance(others, Mapping | None):
        raise ValueError(f"others is a {type(others).__name__}: give a dict of names and cells, as {{'linear': cells}}")
    others = dict(others or {})
    sides_ng, pairs_ng, basis_ng = _checked(predicted, {name_of_real: real}, control, contexts, others, basis)
    contexts_ng = list(pairs_ng.values())
    predicted_ng, real_ng, control_ng, *others_ng = sides_ng.values()
    numbers = {name: Side(matrix.shape[0], 2 if name == name_of_real else 1) for name, matrix in sides_ng.items()}
    n_each = equal_number(n_cells, numbers, beside="real cells")
    made = dict.fromkeys([name for name in sides_ng if name not in (name_of_real, "control")], MADE)
    given = {"control": CONTROL} | dict.fromkeys(pairs_ng, CONTEXT)
    remark_on(sides_ng)
    remark_on_copies(sides_ng | pairs_ng, {(name, name_of_real): what for name, what in (made | given).items()})
    if basis is None:
        fitted_on = "control and contexts" if contexts_ng else "control"
        if not contexts_ng:
            warn(
                "components are fitted on the control cells alone, and what the perturbation changes may not be in them: "
                "give the training cells as basis, or contexts"
            )
    attributes = {"n_cells": n_each, "basis": fitted_on, "silent_in_control": _n_silent(control_ng)}

    def compute(tick: Callable[[], object]) -> pd.DataFrame:
        columns_ng = {"predicted": predicted_ng, **dict(zip(others, others_ng, strict=True)), "no change": control_ng}
        if contexts_ng:
            changes = list(zip(contexts_ng[::2], contexts_ng[1::2], strict=True))
            columns_ng["additive"] = additive(control_ng, changes)
            columns_ng["additive, weighted"] = additive_weighted(control_ng, changes)
        columns_ng["real cells"], reference_ng = split_half(real_ng, seed=seed)
        pca = fitted_pca(
            _stacked([control_ng, *contexts_ng]) if basis is None else basis_ng, n_components=_N_COMPONENTS, seed=seed
        )
        of_distance = {"basis": pca, "n_cells": n_each, "seed": seed}
        of_forest = {"n_components": None, "n_cells": n_each, "n_trees": n_trees, "seed": seed, "n_jobs": n_jobs}

        def rows(cells_ng: Matrix) -> dict[str, float]:
            sides = (cells_ng, reference_ng, control_ng)
            values = {
                "random forest AUROC, genes": discriminate(reference_ng, cells_ng, **of_forest).auroc,
                "E-distance": e_distance(cells_ng, reference_ng, **of_distance),
                "MMD": or_nan(mmd, cells_ng, reference_ng, **of_distance),
                **agreement_rows(reference_ng, cells_ng, ("R2 of means", "R2 of variances")),
                **{name: or_nan(metric, *sides) for name, metric in _OF_CHANGES.items()},
            }
            if targets:
                real_of = {(): reference_ng, **targets}  # no target's name is an empty tuple
                values["discrimination rank"] = discrimination_rank({(): cells_ng}, real_of).iloc[0]
            tick()
            return values

        columns = {name: rows(cells_ng) for name, cells_ng in columns_ng.items()}
        table = with_best(PREDICTION, metric_table(PREDICTION, columns))
        keep(predicted, "uns", _keys.PREDICTION, {"table": table.copy()} | attributes)
        table.attrs |= attributes
        return table.rename_axis(columns=f"components of {fitted_on}")

    return Plan(3 + len(others) + 2 * bool(contexts_ng), compute)


def _checked(
    predicted: Cells,
    real: Mapping[str, Cells],
    control: Cells,
    contexts: Sequence[tuple[Cells, Cells]],
    others: Mapping[str, Cells],
    basis: Cells | PCA | None,
) -> tuple[dict[str, Matrix], dict[str, Matrix], Matrix | PCA | None]:
    """Cells of each side; those of the contexts, before and after by turns; and what components are fitted on."""
    for name in others:
        if name in _TAKEN or "/" in name:
            raise ValueError(f"others has the name {name!r}: give one without a slash that no column has, {_TAKEN}")
    sides = {"predicted": predicted, **real, "control": control}
    sides |= {f"others[{name!r}]": cells for name, cells in others.items()}
    pairs = named_pairs(contexts, "contexts")
    *checked_ng, basis = checked(sides | pairs, basis)
    n_sides = len(sides)
    return (
        dict(zip(sides, checked_ng[:n_sides], strict=True)),
        dict(zip(pairs, checked_ng[n_sides:], strict=True)),
        basis,
    )


def _n_silent(matrix: Matrix) -> int:
    return int(np.count_nonzero(np.ravel((matrix != 0).sum(axis=0)) == 0))


def _stacked(parts: list[Matrix]) -> Matrix:
    if all(map(sparse.issparse, parts)):
        return sparse.vstack(parts, format="csr")
    return np.vstack([dense(part) for part in parts])
