"""Predictions of combinations. Legend: g genes, c combinations, p predictors."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scmichigan._arrays import dense, mean_g
from scmichigan._cells import Cells, gene_names, matrices
from scmichigan._checks import check_at_least

from ._figure import BLUE, GREY, VERMILION, finish

_REAL = "real cells"
_LONG = ("predictor", "metric", "value")
# Of all other metrics of predictions, 1 is best.
_BEST = {"E-distance": 0.0, "MMD": 0.0, "random forest AUROC, genes": 0.5}
_BOXES = {"widths": 0.2, "whis": (5, 95), "showfliers": False, "showmeans": True, "patch_artist": True}
_DARK = 0.6  # fraction of the colours from which on white is easier to read


def prediction_scores(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("E-distance", "correlation of mean change"),
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show the scores of each prediction of each combination, as a heat map for each metric.

    Numbers are values, titles have the best possible one. Colours say how much farther from the best a value is than
    that of real cells, as a fraction of the worst in the row. White is at least as good as real cells.

    Parameters
    ----------
    table
        Long table of :func:`~scmichigan.benchmark_predictions`, or several of them in one: labels, "predictor",
        "metric" and "value"; a column "seed" is averaged over.
    metrics
        Names of metrics that the table has.
    show, save, return_fig
        Arguments and result are as in :func:`real_vs_generated`.
    """
    missing = [column for column in _LONG if column not in table]
    if missing:
        raise KeyError(f"table has no columns {missing}: give the table of benchmark_predictions")
    for metric in metrics:
        if metric not in set(table["metric"]):
            raise ValueError(f"table has no metric {metric!r}: choose from {sorted(set(table['metric']))}")
    factors = [column for column in table if column not in (*_LONG, "seed")]
    wide = table.pivot_table(index=factors, columns=["metric", "predictor"], values="value", dropna=False)
    wide = wide.loc[table.groupby(factors, sort=False).size().index]
    predictors = list(dict.fromkeys(table["predictor"]))
    n_rows, n_columns = len(wide) + 1, len(predictors)
    size = 2.5 + len(metrics) * (0.55 * n_columns + 0.3), 1.6 + 0.28 * n_rows
    fig, axes = plt.subplots(1, len(metrics), figsize=size, layout="constrained", sharey=True, squeeze=False)
    names = ["mean", *(", ".join(map(str, np.atleast_1d(labels))) for labels in wide.index)]
    for ax, metric in zip(axes.flat, metrics, strict=True):
        values_cp = wide[metric].reindex(columns=predictors).to_numpy(dtype=float)
        # A predictor without a value, as no change has no correlation, has no mean either.
        means_p = [np.nan if np.isnan(column).all() else np.nanmean(column) for column in values_cp.T]
        best = _BEST.get(metric, 1.0)
        _heat_map(ax, np.vstack([means_p, values_cp]), predictors, best)
        ax.set_title(f"{metric}\n({best:g} is best)", fontsize="medium")
    axes[0, 0].set_yticks(range(n_rows), names)
    white = "at least as good as real cells" if _REAL in predictors else "the best possible"
    fig.supxlabel(f"white: {white}, dark: the worst of the row", fontsize="small")
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _heat_map(ax: Axes, values_cp: np.ndarray, predictors: list[str], best: float) -> None:
    off_cp = np.abs(values_cp - best)
    real_c1 = off_cp[:, [predictors.index(_REAL)]] if _REAL in predictors else 0.0
    worse_cp = np.maximum(np.nan_to_num(off_cp - real_c1), 0)
    fraction_cp = worse_cp / np.maximum(worse_cp.max(axis=1, keepdims=True), np.finfo(float).tiny)
    shown_cp = np.ma.masked_where(np.isnan(values_cp), fraction_cp)
    ax.imshow(shown_cp, cmap=colormaps["Blues"].with_extremes(bad="#EEEEEE"), vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values_cp):
        if np.isfinite(value):
            colour = "white" if fraction_cp[row, column] > _DARK else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize="x-small", color=colour)
    ax.axhline(0.5, color="black", linewidth=0.8)
    ax.set_xticks(range(len(predictors)), predictors, rotation=45, ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def changes(
    real: Cells,
    predicted: Cells,
    control: Cells,
    *,
    n_genes: int = 10,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show the expression of the genes with the largest real changes, in control, real and predicted cells.

    Boxes go from quartile to quartile, whiskers from the 5th to the 95th percentile; dots are means. Genes are in the
    order of their absolute real change of the mean, the largest first.

    Parameters
    ----------
    real, predicted, control
        As in :func:`prediction`.
    n_genes
        Genes to show, 1 or more.
    ax
        Axes to draw in, of a figure that is then yours to show and close.
    show, save, return_fig
        Arguments, result and errors are as in :func:`real_vs_generated`, but a figure that is yours is neither shown
        unless asked for nor closed.
    """
    check_at_least(1, n_genes=n_genes)
    given = {"control": control, "real": real, "predicted": predicted}
    sides_ng = dict(zip(given, matrices(given), strict=True))
    change_g = mean_g(sides_ng["real"]) - mean_g(sides_ng["control"])
    genes = np.argsort(-np.abs(change_g), kind="stable")[:n_genes]
    is_ours = ax is None
    if is_ours:
        _, ax = plt.subplots(figsize=(1.5 + 0.75 * len(genes), 3.8), layout="constrained")
    colours = {"control": GREY, "real": BLUE, "predicted": VERMILION}
    for i, (name, matrix) in enumerate(sides_ng.items()):
        ax.boxplot(
            dense(matrix[:, genes]),
            positions=np.arange(len(genes)) + 0.27 * (i - 1),
            **_BOXES,
            boxprops={"facecolor": colours[name], "alpha": 0.5, "linewidth": 0},
            meanprops={"marker": "o", "markersize": 4, "markerfacecolor": colours[name], "markeredgecolor": "white"},
            **dict.fromkeys(("medianprops", "whiskerprops", "capprops"), {"color": colours[name]}),
        )
    names = map(str, gene_names(*given.values())[genes])
    ax.set_xticks(range(len(genes)), names, rotation=45, ha="right")
    ax.set(ylabel="expression", xlim=(-0.6, len(genes) - 0.4))
    ax.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=colour, alpha=0.5, label=name) for name, colour in colours.items()]
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")
    return finish(ax.figure, show=show, save=save, return_fig=return_fig, is_ours=is_ours)
