"""Latent dimensions on an embedding. Legend: n cells, k latent dimensions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scmichigan._checks import is_number, obsm_matrix
from scmichigan._keys import LATENT

from ._figure import GREY, as_embedding, category_colours, finish, group_legend, panels, point_size

_LEGEND_ROWS = 10  # more would be higher than a panel


def latents(
    adata: AnnData,
    *,
    latent_key: str = LATENT,
    color: str | Sequence[str] | None = None,
    basis: str = "X_umap",
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show an embedding of cells, coloured by each latent dimension.

    All latents share one colour scale, symmetrical around 0 up to the 99th percentile of their sizes: an inactive
    latent stays pale.

    Parameters
    ----------
    adata
        Cells with an embedding and latents.
    latent_key, basis
        Keys of ``obsm``: latents, shape ``(n_cells, n_latent)``; an embedding, of which the first two columns are
        drawn.
    color
        Columns of ``obs`` that are shown in panels of their own above the latents.
    show, save, return_fig
        Arguments and result are as in :func:`real_vs_generated`.

    Raises
    ------
    KeyError, ValueError
        If a key is not in ``obsm`` or ``obs``, the embedding has one column only, or latents or embedding are NaN for
        all cells.
    """
    position_n2 = _array(adata, basis, "run scanpy.tl.umap, or name another embedding as basis")
    latent_nk = _array(adata, latent_key, "store latents there, or name others as latent_key")
    if position_n2.shape[1] < 2:
        raise ValueError(f"obsm[{basis!r}] has 1 column: an embedding needs 2, name another one as basis")
    keys = [color] if isinstance(color, str) else list(color or [])
    for key in keys:
        if key not in adata.obs:
            raise KeyError(f"obs[{key!r}] is not in adata: colour by one of {sorted(adata.obs.columns)}")

    beside = max([_legend_inches(_categories(adata.obs[key])) for key in keys], default=0.0)
    fig, axes = panels(latent_nk.shape[1], n_above=len(keys), beside_inches=beside)
    for ax, key in zip(axes, keys, strict=False):
        _draw_column(ax, position_n2, adata.obs[key])
    limit = float(np.nanpercentile(np.abs(latent_nk), 99)) or 1.0
    for k, ax in enumerate(axes[len(keys) :]):
        points = _scatter(ax, position_n2, latent_nk[:, k], cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(f"latent {k + 1}")
    fig.colorbar(points, ax=axes[len(keys) :], label=latent_key, extend="both", shrink=0.6, aspect=30)
    for ax in axes:
        as_embedding(ax, basis.removeprefix("X_").upper())
    for ax in axes[: len(keys)]:
        ax.set_anchor("W")  # what is left of the room is for the legend
    return finish(fig, show=show, save=save, return_fig=return_fig)


def _array(adata: AnnData, key: str, cure: str) -> np.ndarray:
    values = obsm_matrix(adata, key, cure)
    if not np.isfinite(values).any():
        raise ValueError(f"obsm[{key!r}] has no finite value: {cure}")
    return values


def _categories(values: pd.Series) -> list[str]:
    """Names of a column's categories in their order; none of a continuous one."""
    if is_number(values):
        return []
    return list(values.astype("category").cat.remove_unused_categories().cat.categories.astype(str))


def _legend_inches(names: list[str]) -> float:
    """Width that the legend of a column takes beside its panel; without names there is a bar of colours."""
    return 0.35 + 0.075 * max(map(len, names), default=0) * (-(-len(names) // _LEGEND_ROWS) or 1)


def _draw_column(ax: Axes, position_n2: np.ndarray, values: pd.Series) -> None:
    ax.set_title(values.name)
    names = _categories(values)
    if not names:
        points = _scatter(ax, position_n2, values.to_numpy(dtype=float), cmap="viridis")
        ax.figure.colorbar(points, cax=ax.inset_axes((1.05, 0.1, 0.05, 0.8)))
        return
    code_n = values.astype("category").cat.remove_unused_categories().cat.codes
    colours = category_colours(len(names))
    _scatter(ax, position_n2, np.array([*colours, GREY])[code_n])  # the code of a missing value is -1
    named = dict(zip(names, colours, strict=True)) | ({"missing": GREY} if (code_n < 0).any() else {})
    group_legend(ax, named, loc="center left", at=(1, 0.5), ncols=-(-len(named) // _LEGEND_ROWS))


def _scatter(ax: Axes, position_n2: np.ndarray, colour_n: np.ndarray, **how):
    order = np.random.default_rng(0).permutation(len(position_n2))  # stored order would cover one group by another
    size = point_size(len(position_n2))
    return ax.scatter(*position_n2[order, :2].T, c=colour_n[order], s=size, linewidths=0, rasterized=True, **how)
