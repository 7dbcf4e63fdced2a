"""Rank of the own real cells of a prediction. Legend: n cells, g genes, p predicted targets, t real targets."""

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from scmichigan._arrays import mean_g
from scmichigan._cells import Cells, matrices

from ._metric import PREDICTION, Comparison, Metric


def discrimination_rank(real: Mapping[Hashable, Cells], predicted: Mapping[Hashable, Cells]) -> pd.Series:
    r"""Whether predicted cells are closer to their own real cells than to those of other targets; 1 is best.

    .. math:: 1 - (\#\{s: d_s < d_t\} + \#\{s \ne t: d_s = d_t\} / 2) / (T - 1)

    with the Euclidean distances :math:`d_s` of the mean predicted cell of target t from the mean real cells of all T
    targets s. One value for each predicted target, from 0 to 1; 0.5 by chance, and on average over all targets where
    one prediction is given for all of them. cell-eval's discrimination score divides by T rather than T - 1, and leaves
    the gene of the target's name out; of PerturBench's rank (Wu et al. 2024), 0 is best.

    Parameters
    ----------
    real, predicted
        Real cells, as in :func:`e_distance`, with the same errors, of 2 or more targets, such as perturbations, under
        their names; predicted cells of one or more of these (a ``KeyError`` for any other).
    """
    if len(predicted) == 0:
        raise ValueError("predicted is empty: give the predicted cells of at least one target")
    if len(real) < 2:
        raise ValueError(f"real has {len(real)} targets: give 2 or more to rank")
    for target in predicted:
        if target not in real:
            raise KeyError(f"predicted has the target {target!r}, real has not: give its real cells, or leave it out")
    named = {f"predicted[{target!r}]": cells for target, cells in predicted.items()}
    named |= {f"real[{target!r}]": cells for target, cells in real.items()}
    means = np.stack([mean_g(matrix) for matrix in matrices(named)])
    distance_pt = cdist(means[: len(predicted)], means[len(predicted) :])
    order = list(real)
    own_p1 = distance_pt[np.arange(len(predicted)), [order.index(target) for target in predicted]][:, None]
    closer_p = (distance_pt < own_p1).sum(axis=1) + ((distance_pt == own_p1).sum(axis=1) - 1) / 2
    index = pd.Index(list(predicted), tupleize_cols=False)
    return pd.Series(1 - closer_p / (len(real) - 1), index=index, name="discrimination_rank")


def _rank(column: Comparison) -> float | None:
    own = ()  # no target's name is an empty tuple
    if not column.targets:
        return None
    return discrimination_rank({own: column.reference_ng, **column.targets}, {own: column.cells_ng}).iloc[0]


ROWS = (Metric("discrimination rank", (PREDICTION,), discrimination_rank, _rank, 0, 1, 1, "Wu et al. 2024"),)
