"""What one way of predicting gains on another, beside delta H. Legend: p predictions."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.stats import pearsonr, wilcoxon

from ._figure import BLUE, GREY, VERMILION, finish


def prediction_gain(
    errors: ArrayLike,
    other_errors: ArrayLike,
    delta_entropy: ArrayLike,
    *,
    hidden: ArrayLike | None = None,
    names: Sequence[str] = ("MichiGAN", "beta-TCVAE"),
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show the errors of two ways of predicting, and what one gains on the other beside delta H.

    The left title has the p value of the one-sided Wilcoxon test that ``errors`` are larger than ``other_errors``. The
    right one has the correlation of the gain, their difference, with delta H. Both only where they are defined. These
    are Figures 6 and 7 of Yu and Welch 2021.

    Parameters
    ----------
    errors, other_errors
        Errors of a random forest that classifies predicted and real cells
        (:func:`~scmichigan.metrics.random_forest_error`), one for each prediction, by either way; 0.5 is best.
    delta_entropy, hidden
        The :func:`~scmichigan.metrics.delta_entropy` of each prediction, and whether it is of a combination that was
        hidden from the fits; these are drawn as stars.
    names
        Names of the two ways.
    show, save, return_fig
        Arguments and result are as in :func:`real_vs_generated`.
    """
    errors_p, others_p, entropy_p = (
        np.asarray(values, dtype=float) for values in (errors, other_errors, delta_entropy)
    )
    hidden_p = np.zeros(len(errors_p), dtype=bool) if hidden is None else np.asarray(hidden, dtype=bool)
    shapes = {errors_p.shape, others_p.shape, entropy_p.shape, hidden_p.shape}
    if len(shapes) > 1 or errors_p.ndim != 1:
        raise ValueError(f"errors, other_errors, delta_entropy and hidden have shapes {shapes}: give a value for each")
    gain_p = errors_p - others_p
    ours, theirs = names

    fig, (on_errors, on_entropy) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    _scatter(on_errors, others_p, errors_p, hidden_p)
    on_errors.axline((0, 0), slope=1, color=GREY, linewidth=0.8, zorder=0)
    limits = (-0.02, max(0.52, errors_p.max(), others_p.max()))
    on_errors.set(xlim=limits, ylim=limits, xlabel=f"error, {theirs}", ylabel=f"error, {ours}")
    on_errors.set_title(f"random forest{_p_value(errors_p, others_p)}")
    _scatter(on_entropy, entropy_p, gain_p, hidden_p)
    on_entropy.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    on_entropy.set(xlabel="delta H", ylabel=f"error, {ours} - {theirs}")
    on_entropy.set_title(f"gain{_correlation(entropy_p, gain_p)}")
    for ax in (on_errors, on_entropy):
        ax.set(box_aspect=1)
        ax.spines[["top", "right"]].set_visible(False)
    if hidden_p.any():
        on_errors.legend(frameon=False, fontsize="small", loc="lower right")
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _scatter(ax: Axes, x_p: np.ndarray, y_p: np.ndarray, hidden_p: np.ndarray) -> None:
    for part_p, name, style in (
        (~hidden_p, "seen", {"marker": "o", "s": 18, "color": BLUE, "alpha": 0.6, "linewidths": 0}),
        (hidden_p, "hidden", {"marker": "*", "s": 110, "color": VERMILION, "edgecolors": "white", "linewidths": 0.5}),
    ):
        ax.scatter(x_p[part_p], y_p[part_p], label=name, **style)


def _p_value(errors_p: np.ndarray, others_p: np.ndarray) -> str:
    if not (errors_p != others_p).any():
        return ""
    return f", one-sided p = {wilcoxon(errors_p, others_p, alternative='greater').pvalue:.2g}"


def _correlation(x_p: np.ndarray, y_p: np.ndarray) -> str:
    if len(x_p) < 2 or np.ptp(x_p) == 0 or np.ptp(y_p) == 0:
        return ""
    return f", r = {pearsonr(x_p, y_p).statistic:.2f}"
