"""Mean, variance and zeros of genes in generated beside real cells. Legend: g genes."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

from scmichigan._arrays import Matrix, mean_g, variance_g
from scmichigan._cells import Cells, matrices
from scmichigan._checks import counted

from ._figure import BLUE, GREY, VERMILION, finish

_MARGIN = 1.5  # factor between the outermost genes and the frame
_BEYOND = 1.04  # of a fraction of 1, for the dots there
_MOST_NAMES = 20  # features of an AnnData that are named


def realism(
    real: Cells, generated: Cells, *, show: bool | None = None, save: str | Path | None = None, return_fig: bool = False
) -> Figure | None:
    """Show mean, variance and fraction of non-zeros of each gene or protein, generated over real, on log scales.

    Features on the diagonal are as they should be. Log scales show the rare genes, which are most of them, and which
    :func:`real_vs_generated` has in one corner. A log scale has no zero: features that are 0 (or, of a mean, negative)
    on one side only are drawn on the frame, those that are 0 on both sides not at all.
    :func:`~scmichigan.metrics.gene_agreement` has the numbers.

    Arguments, result and errors are as in :func:`real_vs_generated`. Features of an AnnData are named where they are 20
    or fewer.
    """
    sides = matrices({"real": real, "generated": generated})
    statistics = {"mean": mean_g, "variance": variance_g, "fraction of non-zeros": _non_zero_g}
    fig, axes = plt.subplots(1, 3, figsize=(11.5, 4), layout="constrained")
    few = isinstance(real, AnnData) and real.n_vars <= _MOST_NAMES
    for ax, (name, statistic) in zip(axes, statistics.items(), strict=True):
        values = list(map(statistic, sides))
        _log_scatter(ax, *values, most=1 if statistic is _non_zero_g else np.inf)
        for feature, *at in zip(real.var_names, *values, strict=True) if few else ():
            if min(at) > 0:
                ax.annotate(feature, at, xytext=(3, 2), textcoords="offset points", fontsize="x-small")
        ax.set(title=f"{name} of each feature", xlabel="real", ylabel="generated", box_aspect=1)
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _non_zero_g(matrix: Matrix) -> np.ndarray:
    return np.asarray((matrix != 0).sum(axis=0)).ravel() / matrix.shape[0]


def _log_scatter(ax: Axes, real_g: np.ndarray, generated_g: np.ndarray, *, most: float) -> None:
    xy_g2 = np.column_stack([real_g, generated_g])
    positive_g2 = xy_g2 > 0
    xy_g2, positive_g2 = xy_g2[positive_g2.any(axis=1)], positive_g2[positive_g2.any(axis=1)]
    both_g = positive_g2.all(axis=1)
    shown = xy_g2[positive_g2] if len(xy_g2) else np.ones(1)
    limits = shown.min() / _MARGIN, min(shown.max() * _MARGIN, most * _BEYOND)
    ax.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(_locator(limits[1] / limits[0]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.axline((limits[0], limits[0]), (limits[1], limits[1]), color=GREY, linewidth=0.8, zorder=0)
    ax.scatter(*xy_g2[both_g].T, s=8, color=BLUE, alpha=0.6, linewidths=0, rasterized=True)
    on_frame_g2 = np.where(positive_g2, xy_g2, limits[0])[~both_g]
    if len(on_frame_g2):
        label = f"{counted(len(on_frame_g2), 'feature')} at 0 on one side"
        ax.scatter(*on_frame_g2.T, s=14, color=VERMILION, linewidths=0, clip_on=False, label=label)
        ax.legend(frameon=False, fontsize="small", loc="upper left", handletextpad=0.1)
    ax.spines[["top", "right"]].set_visible(False)


def _locator(ratio: float) -> Locator:
    """Powers of ten, or steps of one length where the ends are so near that there may be less than two of them."""
    if ratio < 5:
        return MaxNLocator(4)
    return LogLocator(subs=(1, 2, 5) if ratio < 100 else (1,))
