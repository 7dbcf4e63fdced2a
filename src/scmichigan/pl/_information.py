"""Mutual information of each latent with each factor. Legend: k latents, f factors."""

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
    key: str = DISENTANGLEMENT,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show bars of the mutual information of each latent with each factor.

    The latent with the most information on a factor is blue, the next one vermilion. The gap between them is in the
    title; MIG is the mean of these gaps.

    Parameters
    ----------
    adata, latent_key, key
        Cells that :func:`~scmichigan.metrics.disentanglement` was called with, the key of a latent that was judged, and
        the key of ``uns`` where the result is (``key_added`` of that function). A ``KeyError`` where there is none.
    show, save, return_fig
        Arguments and result are as in :func:`real_vs_generated`.

    Examples
    --------
    >>> mg.metrics.disentanglement(adata, keys=["cell_type", "condition"], latent_key="X_scVI")
    >>> mg.pl.mutual_information(adata, latent_key="X_scVI")
    """
    information_kf = _table(adata, latent_key, key)
    fig, axes = panels(information_kf.shape[1])
    for ax, (factor, values_k) in zip(axes, information_kf.items(), strict=True):
        _bars(ax, values_k.to_numpy(dtype=float))
        second, first = np.sort(values_k)[-2:]
        ax.set(title=f"{factor}, gap {first - second:.2f}", xlabel="latent", ylim=(0, 1))
    axes[0].set_ylabel("mutual information / entropy")
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _table(adata: AnnData, latent_key: str, key: str) -> pd.DataFrame:
    call = f"metrics.disentanglement(adata, keys=keys, latent_key={latent_key!r})"
    if key not in adata.uns:
        raise KeyError(f"uns[{key!r}] is not in adata: call {call} first")
    tables = adata.uns[key]["mutual_information"]
    if latent_key not in tables:
        raise KeyError(
            f"uns[{key!r}] has {sorted(tables)}, not {latent_key!r}: name one of them as latent_key, or call {call}"
        )
    return tables[latent_key]


def _bars(ax: Axes, values_k: np.ndarray) -> None:
    latents = np.arange(1, len(values_k) + 1)
    colours = np.full(len(values_k), GREY, dtype=object)
    colours[np.argsort(values_k)[-2:]] = VERMILION, BLUE
    ax.bar(latents, values_k, color=list(colours))
    ax.set_xticks(latents if len(latents) <= 15 else latents[4::5])
    ax.spines[["top", "right"]].set_visible(False)
