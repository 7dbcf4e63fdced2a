"""The predicted and the real change of cells from control. Legend: n cells, g genes."""

from collections.abc import Callable

import numpy as np
from scipy.stats import linregress, ttest_ind_from_stats

from scmichigan._arrays import Matrix, mean_g, variance_g
from scmichigan._cells import Cells, matrices
from scmichigan._checks import check_at_least

from ._metric import PREDICTION, Metric, or_nan


def mean_change_correlation(real: Cells, predicted: Cells, control: Cells, *, n_top: int | None = None) -> float:
    """Pearson correlation over genes of the predicted and the real change of mean expression; 1 is best.

    From -1 to 1. It sees directions only: a change predicted at half its size has 1 too, see :func:`change_slope`.

    Parameters
    ----------
    real, predicted, control
        Real perturbed, predicted perturbed and unperturbed cells, as in :func:`e_distance`, with the same errors.
        Changes are taken from the mean of the control cells.
    n_top
        Use this many genes only: those with the largest real change, by the absolute t statistic of Welch's test
        between real and control cells, as scanpy ranks them. None uses all genes.

    Raises
    ------
    ValueError
        If there are fewer genes than ``n_top``, too few cells for a test, or one change is the same for all genes.
    """
    real_ng, predicted_ng, control_ng = matrices({"real": real, "predicted": predicted, "control": control})
    genes = slice(None) if n_top is None else _top_genes(real_ng, control_ng, n_top)
    predicted_g = _varying_change_g(predicted_ng, control_ng, "predicted", genes)
    return float(np.corrcoef(predicted_g, _varying_change_g(real_ng, control_ng, "real", genes))[0, 1])


def change_slope(real: Cells, predicted: Cells, control: Cells) -> float:
    """Size of the predicted change of mean expression relative to the real one; 1 is best.

    The least-squares slope of the predicted on the real change, over genes: any real number, below 1 where the
    predicted change is too weak, and 0 for control cells predicted unchanged. How far genes scatter about the line is
    seen by :func:`mean_change_correlation`, which has the same arguments and errors. Sampling noise of the real change
    moves the slope towards 0; that of few control cells is in both changes and moves it towards 1. :func:`split_half`
    shows what a perfect prediction reaches.
    """
    real_ng, predicted_ng, control_ng = matrices({"real": real, "predicted": predicted, "control": control})
    return float(linregress(_varying_change_g(real_ng, control_ng, "real"), _change_g(predicted_ng, control_ng)).slope)


def de_overlap(real: Cells, predicted: Cells, control: Cells, *, n_top: int = 100) -> float:
    """Fraction of the most differentially expressed genes that predicted and real cells have in common; 1 is best.

    From 0 to 1; by chance ``n_top / n_genes``. Genes that change in opposite directions count as common: show
    :func:`de_direction` too.

    Parameters
    ----------
    real, predicted, control
        As in :func:`mean_change_correlation`, with the same errors; 2 cells or more of each.
    n_top
        Genes of each side, chosen as there: fewer than there are and than change in the real cells. A gene that does
        not change at all is never among them.
    """
    real_ng, predicted_ng, control_ng = matrices({"real": real, "predicted": predicted, "control": control})
    if n_top >= real_ng.shape[1]:
        raise ValueError(f"n_top is {n_top}: give less than the {real_ng.shape[1]} genes, all would be shared")
    of_real = _top_genes(real_ng, control_ng, n_top)
    score_g = np.abs(_welch_g(predicted_ng, control_ng, "predicted"))
    of_predicted = np.argsort(-score_g, kind="stable")[:n_top]
    return len(np.intersect1d(of_real, of_predicted[score_g[of_predicted] > 0])) / n_top


def de_direction(real: Cells, predicted: Cells, control: Cells, *, n_top: int = 100) -> float:
    """Fraction of the most differentially expressed genes that change in the predicted direction; 1 is best.

    From 0 to 1; 0.5 by guessing, and 0 for control cells predicted unchanged. Genes are those of the real cells,
    arguments and errors those of :func:`de_overlap`.
    """
    real_ng, predicted_ng, control_ng = matrices({"real": real, "predicted": predicted, "control": control})
    genes = _top_genes(real_ng, control_ng, n_top)
    signs = [np.sign(_change_g(cells_ng, control_ng)[genes]) for cells_ng in (predicted_ng, real_ng)]
    return float(np.mean(np.equal(*signs)))


def _change_g(cells_ng: Matrix, control_ng: Matrix) -> np.ndarray:
    """Change of each gene's mean; 0 within rounding, so that a copy in single precision has not changed."""
    change_g = mean_g(cells_ng) - mean_g(control_ng)
    return np.where(np.abs(change_g) > _rounding(cells_ng, control_ng), change_g, 0.0)


def _rounding(*sides: Matrix) -> float:
    return np.finfo(np.float32).eps * max(np.abs(mean_g(matrix)).max() for matrix in sides)


def _varying_change_g(
    cells_ng: Matrix, control_ng: Matrix, name: str, genes: np.ndarray | slice = slice(None)
) -> np.ndarray:
    change_g = _change_g(cells_ng, control_ng)[genes]
    if np.ptp(change_g) <= _rounding(cells_ng, control_ng):
        raise ValueError(
            f"{name} differs from control by {change_g[0]:.3g} in every gene, so that neither correlation nor slope is "
            f"defined: check that {name} and control are different cells"
        )
    return change_g


def _welch_g(cells_ng: Matrix, control_ng: Matrix, name: str) -> np.ndarray:
    """Welch's t of each gene: 0 where nothing changes, infinite where only the mean does."""
    for side, matrix in {name: cells_ng, "control": control_ng}.items():
        if matrix.shape[0] < 2:
            raise ValueError(f"{side} has 1 cell: give 2 or more to test genes for differential expression")
    moments = []
    for mean, matrix in ((_change_g(cells_ng, control_ng), cells_ng), (0.0, control_ng)):
        n_cells = matrix.shape[0]
        moments += [mean, np.sqrt(variance_g(matrix) * n_cells / (n_cells - 1)), n_cells]
    return np.nan_to_num(ttest_ind_from_stats(*moments, equal_var=False).statistic, posinf=np.inf, neginf=-np.inf)


def _top_genes(real_ng: Matrix, control_ng: Matrix, n_top: int) -> np.ndarray:
    """Numbers of the real cells' most differentially expressed genes, by absolute t."""
    check_at_least(1, n_top=n_top)
    if n_top > real_ng.shape[1]:
        raise ValueError(f"n_top is {n_top}: give at most the number of genes, {real_ng.shape[1]}")
    score_g = np.abs(_welch_g(real_ng, control_ng, "real"))
    n_changed = np.count_nonzero(score_g)
    if n_changed < n_top:
        raise ValueError(
            f"n_top is {n_top}, but {n_changed} genes of real differ from control: give at most that many, or check "
            "that real and control are different cells"
        )
    return np.argsort(-score_g, kind="stable")[:n_top]


def _row(name: str, metric: Callable[..., float], low: float, high: float, source: str, **options: int) -> Metric:
    compute = lambda column: or_nan(metric, column.reference_ng, column.cells_ng, column.control_ng, **options)
    return Metric(name, (PREDICTION,), metric, compute, low, high, 1, source)


_CORRELATION = (mean_change_correlation, -1, 1, "Pearson over genes")
_TOP_GENES = (0, 1, "fraction of Welch's top genes")
ROWS = (
    _row("correlation of mean change", *_CORRELATION),
    _row("correlation of mean change, top 20", *_CORRELATION, n_top=20),
    _row("correlation of mean change, top 100", *_CORRELATION, n_top=100),
    _row("slope of change", change_slope, -np.inf, np.inf, "least squares over genes"),
    _row("DE overlap, top 100", de_overlap, *_TOP_GENES, n_top=100),
    _row("DE direction, top 100", de_direction, *_TOP_GENES, n_top=100),
)
