"""Inception score. Legend: n cells, g genes, y labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import rel_entr
from sklearn.ensemble import RandomForestClassifier

from scmichigan._arrays import dense, draw_rows, sample_rows
from scmichigan._cells import Cells, matrices
from scmichigan._checks import check_at_least, counted

from ._metric import REALISM, Comparison, Metric, once

_N_LEAST = 5
_N_TREES = 1000


@dataclass(frozen=True)
class InceptionScore:
    """Result of :func:`inception_score`, from 1 to the number of labels. The best is the score of the real cells."""

    generated: float
    real: float


def inception_score(
    real: Cells,
    generated: Cells,
    *,
    labels: Sequence | pd.Series | np.ndarray,
    n_cells: int = 3000,
    n_trees: int = _N_TREES,
    seed: int = 0,
    n_jobs: int | None = None,
) -> InceptionScore:
    r"""Inception score: is each cell clearly of one type, and are all types there? As high as in real cells is best.

    .. math:: \exp(E_x KL(p(y | x) || p(y)))

    with the probabilities :math:`p(y | x)` of labels y, by a random forest that was fitted on the real cells, and their
    mean :math:`p(y)` over the cells scored (Salimans et al. 2016, section 4).

    Parameters
    ----------
    real, generated
        As in :func:`e_distance`, with the same errors; 5 real cells or more.
    labels
        Type of each real cell, 2 types or more, none missing.
    n_trees
        Trees of the forest, which works on the genes themselves. Fewer raise all scores, see the notes.
    n_cells, seed, n_jobs
        As in :func:`realism`.

    Notes
    -----
    A real cell is scored by the trees that have not seen it, a generated one by those that have not seen a random real
    one, so that both are new to equally many trees. (The paper scores generated cells by all trees, and real cells not
    at all.) Trees differ by chance, which counts as certainty and raises all scores by a fraction that falls as 1 /
    ``n_trees``: for the eight types of 1,200 pancreas cells about a third at 20 trees, and 1 in 100 at 1,000.

    One cell of each type, repeated, has the highest score. Where generated cells are cleaner than real ones, theirs is
    above the real score.
    """
    real_ng, generated_ng = matrices({"real": real, "generated": generated})
    check_at_least(_N_LEAST, n_cells=n_cells)
    check_at_least(1, n_trees=n_trees)
    if real_ng.shape[0] < _N_LEAST:
        raise ValueError(f"real has {real_ng.shape[0]} cells: give {_N_LEAST} or more, they are scored out of bag")
    rng = np.random.default_rng(seed)
    drawn = draw_rows(real_ng.shape[0], n_cells, rng)
    label_n = _codes(labels, real_ng.shape[0])[drawn]
    sides = {"generated": sample_rows(generated_ng, n_cells, rng), "real": dense(real_ng[drawn])}
    sides = {name: np.ascontiguousarray(cells_ng, dtype=np.float32) for name, cells_ng in sides.items()}
    forest = RandomForestClassifier(n_trees, random_state=seed, n_jobs=n_jobs).fit(sides["real"], label_n)
    new_to = {"generated": rng.integers(len(drawn), size=len(sides["generated"])), "real": np.arange(len(drawn))}
    votes = {name: np.zeros((len(cells_ng), len(forest.classes_))) for name, cells_ng in sides.items()}
    for tree, seen in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        is_new = ~np.isin(np.arange(len(drawn)), seen)
        for name, cells_ng in sides.items():
            votes[name] += is_new[new_to[name], None] * tree.predict_proba(cells_ng, check_input=False)
    return InceptionScore(**{name: _score(votes_ny) for name, votes_ny in votes.items()})


def _codes(labels: Sequence | pd.Series | np.ndarray, n_cells: int) -> np.ndarray:
    codes, values = pd.factorize(pd.Series(labels))
    if len(codes) != n_cells:
        raise ValueError(f"labels has {len(codes)} values, real {n_cells} cells: give one label for each cell")
    if (codes < 0).any():
        raise ValueError(f"labels is missing for {np.sum(codes < 0)} cells: leave these cells out")
    if len(values) < 2:
        raise ValueError(f"labels has {counted(len(values), 'different value')}: give cells of 2 or more types")
    return codes


def _score(votes_ny: np.ndarray) -> float:
    n_trees_n = votes_ny.sum(axis=1, keepdims=True)
    # Of few trees, all may have seen a cell.
    probability_ny = (votes_ny / np.maximum(n_trees_n, 1))[n_trees_n[:, 0] > 0]
    return float(np.exp(rel_entr(probability_ny, probability_ny.mean(axis=0)).sum(axis=1).mean()))


@once
def _scores(column: Comparison) -> InceptionScore | None:
    """Scores of the generated cells of a column, and of the real cells compared with, for its ceiling."""
    if column.ceiling_of is not None:
        return _scores(column.ceiling_of)
    if column.labelled is None:
        return None
    real_ng, labels = column.labelled
    return inception_score(real_ng, column.cells_ng, labels=labels, **column.cost._asdict() | {"n_trees": _N_TREES})


def _of_column(column: Comparison) -> float | None:
    scores = _scores(column)
    return scores and (scores.generated if column.ceiling_of is None else scores.real)


_best = lambda column: _scores(column).real
ROWS = (Metric("inception score", (REALISM,), inception_score, _of_column, 1, np.inf, _best, "Salimans et al. 2016"),)
