"""How well a random forest tells real from generated cells.

Legend: n cells, g genes, k principal components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from scmichigan._arrays import dense, draw_rows
from scmichigan._cells import Cells
from scmichigan._checks import check_at_least

from ._basis import checked, fitted_pca

_BLOCK_CELLS = 4096


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Discrimination:
    """How well a random forest told real from generated cells; what :func:`discriminate` returns.

    Parameters
    ----------
    error
        Mean error over the folds, from 0 to about 0.5, which is best.
    auroc
        Mean area under the receiver operating characteristic over the folds: the probability that the forest takes a
        real cell rather than a generated one for real. From about 0.5, which is best, to 1.
    realness_of_real, realness_of_generated
        The forest's probability that a cell is real, for every cell given, in its order: shapes ``(n_real,)`` and
        ``(n_generated,)``. Each is from forests that were not fitted on the cell.
    """

    error: float
    auroc: float
    realness_of_real: np.ndarray
    realness_of_generated: np.ndarray


def discriminate(
    real: Cells,
    generated: Cells,
    *,
    basis: Cells | PCA | None = None,
    n_components: int | None = 50,
    n_cells: int = 3000,
    n_trees: int = 1000,
    n_folds: int = 5,
    seed: int = 0,
    n_jobs: int | None = None,
) -> Discrimination:
    """Tell real from generated cells with a cross-validated random forest.

    Equal random numbers of real and generated cells go to the forest. Give real cells that the generator has not
    seen, or say that it has.

    Parameters
    ----------
    real, generated
        Cells on the same scale, shape ``(n_cells, n_genes)`` with the same genes: array, sparse matrix or AnnData
        (its X).
    basis
        Cells that principal components are fitted on, with the same genes, or a fitted
        :class:`sklearn.decomposition.PCA`. None fits them on all real cells given; see the notes.
    n_components
        Principal components, lowered to the number of cells or genes of the basis where there are fewer; not used
        with a fitted PCA, which brings its own. None classifies on the genes themselves.
    n_cells
        Cells of each side at most.
    n_trees, n_folds
        Trees of the forest, and folds of the stratified cross-validation.
    seed
        Seed of the random choice of cells, the folds, the components and the forest.
    n_jobs
        Processes that grow trees, as in scikit-learn.

    Returns
    -------
    Error, area under the ROC curve, and each cell's probability of being real. For a cell that went to the forest,
    that is by the forest of the fold it was left out of; for one that did not, the mean over the folds' forests.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), fewer than ``n_folds`` on one side, or the PCA is not fitted or
        has other genes.

    Notes
    -----
    Components fit the cells they were fitted on better than any others, and the forest finds that out: unless there
    are many more real cells than genes, even cells from the same source score far below 0.5 on components of the
    real cells. Show the value of two halves of the real cells (:func:`split_half`) beside yours, or fit the
    components on cells of neither side with ``basis``, which takes the bias away.

    References
    ----------
    Marouf et al. 2020, "Realistic in silico generation and augmentation of single-cell RNA-seq data using generative
    adversarial networks"; Yu and Welch 2021, Methods, "Random forest error".
    """
    real_ng, generated_ng, basis = checked({"real": real, "generated": generated}, basis)
    check_at_least(1, n_trees=n_trees)
    check_at_least(2, n_folds=n_folds)
    n_real, n_generated = real_ng.shape[0], generated_ng.shape[0]
    n_each = min(n_cells, n_real, n_generated)
    if n_each < n_folds:
        raise ValueError(f"{n_each} cells of each side are too few for n_folds={n_folds}: give more cells")
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([draw_rows(n_real, n_each, rng), n_real + draw_rows(n_generated, n_each, rng)])
    rest = np.setdiff1d(np.arange(n_real + n_generated), drawn)
    pca = None
    if n_components is not None:
        pca = fitted_pca(real_ng if basis is None else basis, n_components=n_components, seed=seed)

    def features(rows: np.ndarray) -> np.ndarray:
        cells_ng = np.vstack([dense(real_ng[rows[rows < n_real]]), dense(generated_ng[rows[rows >= n_real] - n_real])])
        return cells_ng if pca is None else pca.transform(cells_ng)

    cells_nk, is_real = features(drawn), np.repeat([1, 0], n_each)
    realness = np.zeros(n_real + n_generated)
    errors, aurocs = [], []
    for train, test in StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(cells_nk, is_real):
        forest = RandomForestClassifier(n_trees, random_state=seed, n_jobs=n_jobs).fit(cells_nk[train], is_real[train])
        probability = forest.predict_proba(cells_nk[test])
        realness[drawn[test]] = probability[:, 1]
        errors.append(np.mean(probability.argmax(axis=1) != is_real[test]))
        aurocs.append(roc_auc_score(is_real[test], probability[:, 1]))
        for start in range(0, len(rest), _BLOCK_CELLS):
            rows = rest[start : start + _BLOCK_CELLS]
            realness[rows] += forest.predict_proba(features(rows))[:, 1] / n_folds
    return Discrimination(float(np.mean(errors)), float(np.mean(aurocs)), realness[:n_real], realness[n_real:])


def random_forest_error(
    real: Cells,
    generated: Cells,
    *,
    basis: Cells | PCA | None = None,
    n_components: int | None = 50,
    n_cells: int = 3000,
    n_trees: int = 1000,
    n_folds: int = 5,
    seed: int = 0,
    n_jobs: int | None = None,
) -> float:
    """Cross-validated error of a random forest that tells real from generated cells.

    The ``error`` of :func:`discriminate`, which takes the same arguments and has more to tell.

    Parameters
    ----------
    real, generated
        Cells on the same scale, shape ``(n_cells, n_genes)`` with the same genes: array, sparse matrix or AnnData
        (its X).
    basis, n_components
        Space that the forest works in; None fits principal components on all real cells given, which is biased: see
        :func:`discriminate`.
    n_cells
        Cells of each side at most.
    n_trees, n_folds
        Trees of the forest, and folds of the stratified cross-validation.
    seed
        Seed of the random choice of cells, the folds, the components and the forest.
    n_jobs
        Processes that grow trees, as in scikit-learn.

    Returns
    -------
    Mean error over the folds, from 0 to about 0.5. 0.5 is best: the forest can only guess. Values clearly above
    mean that generated cells repeat single real ones, so that each cell's nearest neighbour is its copy.

    Raises
    ------
    ValueError
        As :func:`discriminate`.

    References
    ----------
    Marouf et al. 2020, "Realistic in silico generation and augmentation of single-cell RNA-seq data using generative
    adversarial networks"; Yu and Welch 2021, Methods, "Random forest error".
    """
    return discriminate(
        real,
        generated,
        basis=basis,
        n_components=n_components,
        n_cells=n_cells,
        n_trees=n_trees,
        n_folds=n_folds,
        seed=seed,
        n_jobs=n_jobs,
    ).error
