"""How far generated cells are from real ones.

Legend: n cells, g genes, k principal components.
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import pairwise_distances_chunked
from sklearn.model_selection import StratifiedKFold, cross_val_score

from scmichigan._cells import Cells, Matrix, check_at_least, fit_pca, matrices, sample_rows

_WORKING_MEMORY_MIB = 64


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
    Mean error over the folds, from 0 to about 0.5. 0.5 is best: the forest can only guess. Values clearly above
    mean that generated cells repeat single real ones, so that each cell's nearest neighbour is its copy.

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
    real_ng, generated_ng, basis = _checked({"real": real, "generated": generated}, basis)
    check_at_least(1, n_trees=n_trees)
    check_at_least(2, n_folds=n_folds)
    n_each = min(n_cells, real_ng.shape[0], generated_ng.shape[0])
    if n_each < n_folds:
        raise ValueError(f"{n_each} cells of each side are too few for n_folds={n_folds}: give more cells")
    rng = np.random.default_rng(seed)
    sides = [sample_rows(matrix, n_each, rng) for matrix in (real_ng, generated_ng)]
    if n_components is not None:
        pca = _fitted_pca(real_ng if basis is None else basis, real_ng, n_components=n_components, seed=seed)
        sides = [pca.transform(side) for side in sides]
    forest = RandomForestClassifier(n_trees, random_state=seed, n_jobs=n_jobs)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    is_real = np.repeat([1, 0], n_each)
    accuracy = cross_val_score(forest, np.vstack(sides), is_real, cv=folds, error_score="raise")
    return float(1 - accuracy.mean())


def e_distance(
    x: Cells,
    y: Cells,
    *,
    basis: Cells | PCA | None = None,
    n_components: int = 50,
    n_cells: int = 2000,
    seed: int = 0,
) -> float:
    r"""Energy distance between two populations of cells.

    .. math:: 2 E||X - Y|| - E||X - X'|| - E||Y - Y'||

    with Euclidean norms, not squared ones: these would see a difference of the means only.

    Parameters
    ----------
    x, y
        Cells on the same scale, shape ``(n_cells, n_genes)`` with the same genes: array, sparse matrix or AnnData
        (its X).
    basis
        Cells that principal components are fitted on, usually the training cells, with the same genes; or a fitted
        :class:`sklearn.decomposition.PCA`, which saves time over several calls. None takes distances in gene space.
        Values are comparable only on the same basis.
    n_components
        Principal components, lowered to the number of cells or genes of the basis where there are fewer; not used
        with a fitted PCA, which brings its own.
    n_cells
        Cells of each side at most; more are sampled without replacement.
    seed
        Seed of that sample and of the components.

    Returns
    -------
    Distance in the unit of the cells, 0 or more; 0 is best and means the same cells. Unlike
    :func:`scipy.stats.energy_distance` it is not the square root.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), or the PCA is not fitted or has other genes.

    Notes
    -----
    The V-statistic: each cell's zero distance to itself counts. It is therefore never negative, and of two samples
    of one population it is not 0 but :math:`E||X - X'|| (1/n_x + 1/n_y)` on average: compare values at the same
    numbers of cells, beside the value of :func:`split_half`.

    References
    ----------
    Székely and Rizzo 2013, "Energy statistics: a class of statistics based on distances"; Peidli et al. 2024,
    "scPerturb: harmonized single-cell perturbation data".
    """
    check_at_least(1, n_cells=n_cells)
    x_ng, y_ng, basis = _checked({"x": x, "y": y}, basis)
    rng = np.random.default_rng(seed)
    sides = [sample_rows(matrix, n_cells, rng) for matrix in (x_ng, y_ng)]
    if basis is not None:
        pca = _fitted_pca(basis, x_ng, n_components=n_components, seed=seed)
        sides = [pca.transform(side) for side in sides]
    x_nk, y_nk = (np.asarray(side, dtype=np.float64) for side in sides)
    centre_k = x_nk.mean(axis=0)  # cells far from the origin would lose digits
    x_nk, y_nk = x_nk - centre_k, y_nk - centre_k
    distance = 2 * _mean_distance(x_nk, y_nk) - _mean_distance(x_nk) - _mean_distance(y_nk)
    return max(0.0, distance)


def _checked(sides: dict[str, Cells], basis: Cells | PCA | None) -> tuple:
    if basis is None or isinstance(basis, PCA):
        return *matrices(sides), basis
    return tuple(matrices(sides | {"basis": basis}))


def _fitted_pca(basis: Matrix | PCA, cells_ng: Matrix, *, n_components: int, seed: int) -> PCA:
    if not isinstance(basis, PCA):
        return fit_pca(basis, n_components=n_components, seed=seed)
    if not hasattr(basis, "components_"):
        raise ValueError("basis is a PCA that is not fitted: call its fit, or give the cells to fit it on")
    if basis.n_features_in_ != cells_ng.shape[1]:
        raise ValueError(
            f"basis was fitted on {basis.n_features_in_} genes, the cells have {cells_ng.shape[1]}: "
            "fit it on the same genes"
        )
    return basis


def _mean_distance(x_nk: np.ndarray, y_nk: np.ndarray | None = None) -> float:
    row_means = pairwise_distances_chunked(
        x_nk, y_nk, reduce_func=lambda chunk, start: chunk.mean(axis=1), working_memory=_WORKING_MEMORY_MIB
    )
    return float(np.concatenate(list(row_means)).mean())
