"""Table of predictions of a perturbation. Legend: n cells, g genes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from scmichigan import _keys
from scmichigan._arrays import Matrix, dense
from scmichigan._cells import Cells, keep
from scmichigan._checks import check_at_least, warn

from ._basis import Basis, checked, fitted_pca
from ._metric import PREDICTION, Comparison, Cost
from ._prediction import additive, additive_weighted, named_pairs, split_half
from ._remarks import CONTEXT, CONTROL, MADE, remark_on, remark_on_copies
from ._tables import Plan, Side, Tick, computed, equal_number, metric_table

_N_COMPONENTS = 50
_TAKEN = ("predicted", "no change", "additive", "additive, weighted", "real cells", "best")


def prediction(
    real: Cells,
    predicted: Cells,
    control: Cells,
    *,
    contexts: Sequence[tuple[Cells, Cells]] = (),
    others: Mapping[str, Cells] | None = None,
    basis: Basis | None = None,
    key_added: str = _keys.PREDICTION,
    n_cells: int = 2000,
    n_trees: int = 200,
    seed: int = 0,
    n_jobs: int | None = None,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Table of all metrics that say how good a predicted perturbation is, with simple predictions for comparison.

    Parameters
    ----------
    real, predicted, control
        Real cells of what was predicted, 10 or more, hidden from every fit; predicted cells; and unperturbed cells of
        the same context; as in :func:`e_distance`.
    contexts, others
        Unperturbed and perturbed cells of each other context, such as another cell type, for the additive predictions;
        further predictions under their names, for columns of their own.
    basis
        As in :func:`e_distance`, for it and for MMD. By default ``control`` and ``contexts``, never the real cells of
        the prediction.
    key_added
        Key of ``predicted.uns`` that the result is written to, where ``predicted`` is an AnnData and no view.
    n_cells, n_trees, seed, n_jobs, enable_progress_bar
        As in :func:`realism`, with the same errors and warnings. Also warns if components are fitted on ``control``
        alone, or other cells are real ones number for number.

    Returns
    -------
    One row a metric (:func:`registry` has ranges and sources). Columns: "predicted"; the names of ``others``; "no
    change" (the control cells); with contexts "additive" and "additive, weighted" (:func:`additive` and
    :func:`additive_weighted`); "real cells"; and "best". All are compared with one random half of the real cells. "real
    cells" is the other half, the value of the best possible prediction. E-distance, MMD and the random forest's AUROC
    depend on the number of cells, and take the same number everywhere, ``attrs["n_cells"]``; the others take all cells.
    ``attrs["basis"]`` and the name of the columns say which cells components were fitted on.
    ``attrs["silent_in_control"]`` is the number of genes that are zero in all control cells (see the notes). NaN where
    a value is not defined, such as the correlation of no change, or that over more genes than there are.

    Notes
    -----
    A prediction whose E-distance is no better than that of "no change" moves cells in the wrong direction or too far,
    whatever its correlation, which does not see the size of a change. One that is worse than "additive" is not worth
    its training. R2 of means is high for all predictions, as most genes do not change. A gene that is zero in all
    control cells and gets the same shift in all cells, as in the additive predictions, has the strongest test
    statistic: the more such genes (``attrs["silent_in_control"]``), the lower their DE overlap.

    Examples
    --------
    >>> mg.metrics.prediction(truth, predicted, control, contexts=[(other_control, other_perturbed)])
    """
    asked = {"contexts": contexts, "others": others, "basis": basis, "key_added": key_added}
    plan = plan_prediction(real, predicted, control, **asked, cost=Cost(n_cells, n_trees, seed, n_jobs))
    return computed({PREDICTION: plan}, enable_progress_bar=enable_progress_bar)[PREDICTION]


def plan_prediction(
    real: Cells,
    predicted: Cells,
    control: Cells,
    *,
    contexts: Sequence[tuple[Cells, Cells]] = (),
    others: Mapping[str, Cells] | None = None,
    basis: Basis | None = None,
    fitted_on: str = "the basis given",
    name_of_real: str = "real",
    targets: Mapping[str, Cells] | None = None,
    key_added: str,
    cost: Cost,
) -> Plan:
    """Check what :func:`prediction` is given, and real cells of other targets for a discrimination rank."""
    check_at_least(1, n_trees=cost.n_trees)
    if not isinstance(others, Mapping | None):
        raise ValueError(f"others is a {type(others).__name__}: give a dict of names and cells, as {{'linear': cells}}")
    others = dict(others or {})
    for name in others:
        if name in _TAKEN or "/" in name:
            raise ValueError(f"others has the name {name!r}: give one without a slash that no column has, {_TAKEN}")
    sides = {"predicted": predicted, name_of_real: real, "control": control}
    sides |= {f"others[{name!r}]": cells for name, cells in others.items()}
    pairs = named_pairs(contexts, "contexts")
    *all_ng, basis_ng = checked(sides | pairs, basis)
    given_ng = dict(zip(sides | pairs, all_ng, strict=True))
    sides_ng = {name: given_ng[name] for name in sides}
    contexts_ng = [given_ng[name] for name in pairs]
    predicted_ng, real_ng, control_ng, *others_ng = sides_ng.values()
    numbers = {name: Side(matrix.shape[0], 2 if name == name_of_real else 1) for name, matrix in sides_ng.items()}
    n_each = equal_number(cost.n_cells, numbers, beside="real cells")
    made = dict.fromkeys([name for name in sides_ng if name not in (name_of_real, "control")], MADE)
    given = {"control": CONTROL} | dict.fromkeys(pairs, CONTEXT)
    remark_on(sides_ng)
    remark_on_copies(given_ng, {(name, name_of_real): what for name, what in (made | given).items()})
    if basis is None:
        fitted_on = "control and contexts" if contexts_ng else "control"
        if not contexts_ng:
            warn(
                "components are fitted on the control cells alone, and what the perturbation changes may not be in them: "
                "give the training cells as basis, or contexts"
            )
    n_silent = np.count_nonzero(np.ravel((control_ng != 0).sum(axis=0)) == 0)
    attributes = {"n_cells": n_each, "basis": fitted_on, "silent_in_control": int(n_silent)}

    def compute(tick: Tick) -> pd.DataFrame:
        cells = {"predicted": predicted_ng, **dict(zip(others, others_ng, strict=True)), "no change": control_ng}
        if contexts_ng:
            changes = list(zip(contexts_ng[::2], contexts_ng[1::2], strict=True))
            cells["additive"] = additive(control_ng, changes)
            cells["additive, weighted"] = additive_weighted(control_ng, changes)
        cells["real cells"], reference_ng = split_half(real_ng, seed=cost.seed)
        fitted_on_ng = _stacked([control_ng, *contexts_ng]) if basis is None else basis_ng
        shared = {
            "reference_ng": reference_ng,
            "control_ng": control_ng,
            "targets": targets or {},
            "pca": fitted_pca(fitted_on_ng, n_components=_N_COMPONENTS, seed=cost.seed),
            "cost": cost._replace(n_cells=n_each),
        }
        columns = {name: Comparison(cells_ng=cells_ng, **shared) for name, cells_ng in cells.items()}
        table = metric_table(PREDICTION, columns, tick)
        keep(predicted, "uns", key_added, {"table": table.copy()} | attributes)
        table.attrs |= attributes
        return table.rename_axis(columns=f"components of {fitted_on}")

    return Plan(3 + len(others) + 2 * bool(contexts_ng), compute)


def _stacked(parts: list[Matrix]) -> Matrix:
    if all(map(sparse.issparse, parts)):
        return sparse.vstack(parts, format="csr")
    return np.vstack([dense(part) for part in parts])
