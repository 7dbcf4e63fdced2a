"""What each latent knows of each factor.

Legend: k latents, f factors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scmichigan._keys import DISENTANGLEMENT, LATENT

from ._figure import BLUE, GREY, VERMILION, finish, panels


def mutual_information(
    adata: AnnData,
    *,
    latent_key: str = LATENT,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show bars of the mutual information of each latent with each factor.

    The gap between the latent that knows most of a factor (blue) and the next one (vermilion) is in the title; MIG is
    the mean of these gaps.

    Parameters
    ----------
    adata
        Cells that :func:`~scmichigan.metrics.disentanglement` was called with, which leaves the table in
        ``uns["michigan_disentanglement"]``.
    latent_key
        Which of the latents that were judged.
    show
        Whether to show the figure; None shows it unless it is saved or returned.
    save
        File to save the figure to.
    return_fig
        Whether to return the figure even if it is shown.

    Returns
    -------
    The figure if it is not shown, or asked for, else None. It is closed in pyplot; a notebook displays it as a cell's
    value. It may have several axes, so that there is no ``ax`` to draw in.

    Raises
    ------
    KeyError
        If there is no such table, or none of this latent.

    Examples
    --------
    >>> mg.metrics.disentanglement(adata, ["cell_type", "condition"], "X_scVI")
    >>> mg.pl.mutual_information(adata, latent_key="X_scVI")
    """
    information_kf = _table(adata, latent_key)
    fig, axes = panels(information_kf.shape[1])
    for ax, (factor, values_k) in zip(axes, information_kf.items(), strict=True):
        _bars(ax, values_k.to_numpy(dtype=float))
        second, first = np.sort(values_k)[-2:]
        ax.set(title=f"{factor}, gap {first - second:.2f}", xlabel="latent", ylim=(0, 1))
    axes[0].set_ylabel("mutual information / entropy")
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _table(adata: AnnData, latent_key: str) -> pd.DataFrame:
    if DISENTANGLEMENT not in adata.uns:
        raise KeyError(
            f"uns[{DISENTANGLEMENT!r}] is not in adata: call metrics.disentanglement(adata, factors, {latent_key!r}) first"
        )
    tables = adata.uns[DISENTANGLEMENT]["mutual_information"]
    if latent_key not in tables:
        raise KeyError(
            f"uns[{DISENTANGLEMENT!r}] has {sorted(tables)}, not {latent_key!r}: name one of them as latent_key, or call "
            f"metrics.disentanglement(adata, factors, {latent_key!r})"
        )
    return tables[latent_key]


def _bars(ax: Axes, values_k: np.ndarray) -> None:
    latents = np.arange(1, len(values_k) + 1)
    colours = np.full(len(values_k), GREY, dtype=object)
    colours[np.argsort(values_k)[-2:]] = VERMILION, BLUE
    ax.bar(latents, values_k, color=list(colours))
    ax.set_xticks(latents if len(latents) <= 15 else latents[4::5])
    ax.spines[["top", "right"]].set_visible(False)
