"""Losses and other measures of a training."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._figure import OKABE_ITO, finish, panels

# What belongs together, under the name of its panel; everything else has one of its own.
_TOGETHER = {
    "critic_loss": "losses",
    "generator_loss": "losses",
    "latent_recovery": "latent recovery",
    "latent_recovery_gap": "latent recovery",
    "code_error": "code error",
    "code_error_real": "code error",
}
_EARLY_FRACTION = 10
_SETS = ("train", "validation")


def training(
    history: Mapping[str, pd.DataFrame],
    *,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show the losses of a training, and what else was measured in its epochs.

    Axes are fitted to the last nine tenths of the epochs.

    Parameters
    ----------
    history
        ``model.history``, of the models of this package or of scvi-tools. What was 0 in all epochs is left out.
    show, save, return_fig
        Arguments and result are as in :func:`real_vs_generated`.

    Notes
    -----
    The losses of a GAN need not fall: generator and critic are each measured against a better opponent. They should
    become stable. Two more curves are of the critic. ``score_gap`` is its mean score of real minus that of generated
    cells, 0 where it cannot classify them. ``gradient_penalty`` says how steep it is (of ``preset="paper"``, how far
    its slopes are from 1). Of MichiGAN, ``latent_recovery`` (1 is best) and ``latent_recovery_gap`` (0 is best) say
    whether cells follow their latents, see :meth:`MichiGAN.latent_recovery <scmichigan.MichiGAN.latent_recovery>`.

    Examples
    --------
    >>> mg.pl.training(model.history)
    >>> mg.pl.training(model.latent_model.history)
    """
    if not isinstance(history, Mapping):
        raise ValueError(
            f"history is a {type(history).__name__}: give model.history, which is None until a model was trained for 1 "
            "epoch or more"
        )
    curves = {name: _curve(values) for name, values in history.items()}
    curves = {name: curve for name, curve in curves.items() if curve.any()}
    if not curves:
        raise ValueError("history has nothing but zeros, or nothing at all: give model.history of a trained model")
    grouped: dict[str, dict[str, pd.Series]] = {}
    for name, curve in curves.items():
        grouped.setdefault(_panel(name), {})[name] = curve
    fig, axes = panels(len(grouped))
    for ax, (title, together) in zip(axes, grouped.items(), strict=True):
        ax.set(title=title, xlabel="epoch")
        _draw(ax, together)
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _curve(values: pd.DataFrame) -> pd.Series:
    """The one column as numbers, by epoch or step; scvi-tools keeps it as objects."""
    curve = values.iloc[:, 0].astype(float)
    return curve[np.isfinite(curve)]


def _panel(name: str) -> str:
    for which in _SETS:
        name = name.removesuffix(f"_{which}").removeprefix(f"{which}_")
    return _TOGETHER.get(name, name.replace("_", " "))


def _draw(ax: Axes, together: Mapping[str, pd.Series]) -> None:
    # Blue and vermilion first: they are far apart in any kind of sight.
    for colour, (name, curve) in zip(OKABE_ITO[::5] + OKABE_ITO[1:5], together.items(), strict=False):
        marker = "o" if len(curve) == 1 else None
        label = name.replace("_", " ").removeprefix(ax.get_title()).strip() or ax.get_title()
        ax.plot(curve.index, curve, color=colour, linewidth=1.2, marker=marker, label=label)
    # Losses fall far in the first epochs: drawn in full, they would leave a flat line of all others.
    later = np.concatenate([curve[len(curve) // _EARLY_FRACTION :] for curve in together.values()])
    margin = 0.1 * np.ptp(later)
    if margin > 0:
        ax.set_ylim(later.min() - margin, later.max() + margin)
    if len(together) > 1:
        ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
