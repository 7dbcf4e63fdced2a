"""Generated or predicted cells beside real ones. Legend: n cells, g genes."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.isotonic import isotonic_regression

from scmichigan._arrays import mean_g, sample_rows, variance_g
from scmichigan._cells import Cells, gene_names, matrices
from scmichigan._checks import check_at_least

from ._embedding import joint_umap
from ._figure import BLUE, GREY, VERMILION, as_embedding, finish, groups_scatter, point_size

_N_NAMED_GENES = 10


def real_vs_generated(
    real: Cells,
    generated: Cells,
    *,
    n_cells: int = 2000,
    seed: int = 0,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show real and generated cells on one UMAP, and mean and variance of each gene or protein in both.

    The UMAP is fitted on 50 principal components of the real cells (fewer for less than 500 cells), and generated cells
    are projected onto it. A projected cell lies among its nearest real ones, however far these are: generated cells in
    the wrong places are seen, unrealistic ones are not.

    Parameters
    ----------
    real, generated
        Cells on the same scale, usually log-normalised, shape ``(n_cells, n_genes)`` with the same genes: array, sparse
        matrix or AnnData (its X).
    n_cells, seed
        Cells of each side to embed at most; means and variances are those of all. Random seed.
    show, save, return_fig
        Whether to show the figure (None shows it unless it is saved or returned), a file to save it to, and whether to
        return it even if it is shown.

    Returns
    -------
    The figure if it is not shown, or asked for, else None. It is closed in pyplot; a notebook displays it as a cell's
    value. It may have several axes, so that there is no ``ax`` to draw in.

    Raises
    ------
    ValueError
        If the cells are unusable (see the message), or there are fewer than 10 cells to fit the UMAP on.
    """
    check_at_least(1, n_cells=n_cells)
    real_ng, generated_ng = matrices({"real": real, "generated": generated})
    rng = np.random.default_rng(seed)
    sampled = [sample_rows(matrix, n_cells, rng) for matrix in (real_ng, generated_ng)]
    real_n2, generated_n2 = joint_umap(sampled[0], sampled[1:], seed=seed)

    fig, (on_umap, means, variances) = plt.subplots(1, 3, figsize=(11.5, 4.5), layout="constrained")
    groups = {"real": (real_n2, BLUE), "generated": (generated_n2, VERMILION)}
    groups_scatter(on_umap, groups, size=point_size(sum(map(len, sampled))), rng=rng)
    as_embedding(on_umap, "UMAP")
    on_umap.set_title("cells")
    for ax, statistic, name in ((means, mean_g, "mean"), (variances, variance_g, "variance")):
        _identity_scatter(ax, statistic(real_ng), statistic(generated_ng))
        ax.set(title=f"{name} of each feature", xlabel="real", ylabel="generated", box_aspect=1)
    return finish(fig, show=show, save=save, return_fig=return_fig)


def prediction(
    real: Cells,
    predicted: Cells,
    control: Cells,
    *,
    n_cells: int = 2000,
    seed: int = 0,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show control, real and predicted cells on one UMAP, and real and predicted mean changes of genes.

    The UMAP is fitted on control and real cells, and predicted cells are projected onto it, as in
    :func:`real_vs_generated`. The ten genes with the largest real changes are named. The title has the changes'
    correlation, :func:`~scmichigan.metrics.mean_change_correlation`, where it is defined.

    Parameters
    ----------
    real, predicted, control
        Real perturbed, predicted perturbed and unperturbed cells, as there. Genes of arrays are named by their
        position.
    n_cells, seed, show, save, return_fig
        Arguments, result and errors are as in :func:`real_vs_generated`. Mean changes are those of all cells.
    """
    check_at_least(1, n_cells=n_cells)
    control_ng, real_ng, predicted_ng = matrices({"control": control, "real": real, "predicted": predicted})
    rng = np.random.default_rng(seed)
    sampled = [sample_rows(matrix, n_cells, rng) for matrix in (control_ng, real_ng, predicted_ng)]
    seen_n2, predicted_n2 = joint_umap(np.vstack(sampled[:2]), sampled[2:], seed=seed)
    control_n2, real_n2 = np.split(seen_n2, [len(sampled[0])])

    fig, (on_umap, changes) = plt.subplots(1, 2, figsize=(11.5, 4.6), layout="constrained", width_ratios=(1, 1.35))
    groups = {"control": (control_n2, GREY), "real": (real_n2, BLUE), "predicted": (predicted_n2, VERMILION)}
    groups_scatter(on_umap, groups, size=point_size(sum(map(len, sampled))), rng=rng)
    as_embedding(on_umap, "UMAP")
    on_umap.set_title("cells")
    real_g, predicted_g = (mean_g(matrix) - mean_g(control_ng) for matrix in (real_ng, predicted_ng))
    names = [f"gene {name}" if isinstance(name, int) else name for name in gene_names(control, real, predicted)]
    _changes_scatter(changes, real_g, predicted_g, names)
    both_vary = np.ptp(real_g) > 0 and np.ptp(predicted_g) > 0
    correlation = f", r = {np.corrcoef(real_g, predicted_g)[0, 1]:.3f}" if both_vary else ""
    changes.set(title=f"mean change of each gene{correlation}", xlabel="real", ylabel="predicted")
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _identity_scatter(ax: Axes, x_g: np.ndarray, y_g: np.ndarray) -> tuple[float, float]:
    both = np.concatenate([x_g, y_g])
    low, high = both.min(), both.max()
    margin = 0.05 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    ax.axline((low, low), slope=1, color=GREY, linewidth=0.8, zorder=0)
    ax.scatter(x_g, y_g, s=8, color=BLUE, alpha=0.6, linewidths=0, rasterized=True)
    ax.set(xlim=limits, ylim=limits)
    ax.spines[["top", "right"]].set_visible(False)
    return limits


def _changes_scatter(ax: Axes, real_g: np.ndarray, predicted_g: np.ndarray, names: list[str]) -> None:
    low, high = _identity_scatter(ax, real_g, predicted_g)
    width = 0.4 * (high - low)  # bands at both sides for the names
    ax.set(xlim=(low - width, high + width), aspect="equal")
    ax.axhline(0, color=GREY, linewidth=0.5, zorder=0)
    ax.axvline(0, color=GREY, linewidth=0.5, zorder=0)
    most_changed = np.argsort(-np.abs(real_g))[:_N_NAMED_GENES]
    for side, x_names, align, line_from in ((-1, low, "right", 1), (1, high, "left", 0)):
        genes = [g for g in most_changed if np.sign(real_g[g]) == side]
        heights = _spread(predicted_g[genes], gap=0.055 * (high - low), limits=(low, high))
        for g, height in zip(genes, heights, strict=True):
            ax.annotate(
                names[g],
                (real_g[g], predicted_g[g]),
                (x_names, height),
                ha=align,
                va="center",
                fontsize="small",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "relpos": (line_from, 0.5)},
            )


def _spread(y: np.ndarray, *, gap: float, limits: tuple[float, float]) -> np.ndarray:
    """Heights as close to y as can be, in its order, inside the limits and at least a gap apart."""
    if len(y) == 0:
        return y
    order = np.argsort(y)
    steps = gap * np.arange(len(y))
    heights = np.empty(len(y))
    heights[order] = isotonic_regression(y[order] - steps, y_min=limits[0], y_max=limits[1] - steps[-1]) + steps
    return heights
