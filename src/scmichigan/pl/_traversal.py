"""Walks along latent dimensions among real cells.

Legend: n cells, s steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from anndata import AnnData
from matplotlib.figure import Figure

from scmichigan._arrays import dense, sample_rows
from scmichigan._cells import Cells, matrices
from scmichigan._checks import check_anndata, check_at_least, check_obs_keys
from scmichigan._keys import DIMENSION, STEP, VALUE

from ._embedding import joint_umap
from ._figure import GREY, as_embedding, finish, panels, point_size


def traversal(
    walk: AnnData,
    real: Cells,
    *,
    n_cells: int = 2000,
    seed: int = 0,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show what walks along each latent dimension pass by, on an embedding of real cells.

    The embedding is a UMAP of 50 principal components of the real cells (fewer for less than 500 cells), in grey. Cells
    of the walks are projected onto it and coloured by where they are between the ends of the dimension, which its title
    has: each lies among its nearest real ones, however far these are. A line links the medians of the steps. A dimension
    that means nothing leaves its cells where they start.

    Parameters
    ----------
    walk
        As :meth:`MichiGAN.traverse` gives it.
    real
        Real cells on its scale, such as ``model.get_normalized_expression()``: array, sparse matrix or AnnData (its X)
        with the same genes.
    n_cells
        Real cells to embed at most.
    seed
        Seed of the choice of cells and of the embedding.
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
        If ``walk`` is no traversal.
    ValueError
        If the cells are unusable (see the message), or there are fewer than 10 real cells to embed.

    References
    ----------
    Yu and Welch 2021, Figure 5.
    """
    check_at_least(1, n_cells=n_cells)
    check_anndata(walk=walk)
    check_obs_keys(walk, (DIMENSION, STEP, VALUE), "walk")
    walk_ng, real_ng = matrices({"walk": walk, "real": real})
    rng = np.random.default_rng(seed)
    real_n2, walk_n2 = joint_umap(sample_rows(real_ng, n_cells, rng), [dense(walk_ng)], seed=seed)
    dimensions = np.unique(walk.obs[DIMENSION])
    value_n, step_n = walk.obs[VALUE].to_numpy(), walk.obs[STEP].to_numpy()
    fig, axes = panels(len(dimensions))
    for dimension, ax in zip(dimensions, axes, strict=True):
        here = rng.permutation(np.flatnonzero(walk.obs[DIMENSION] == dimension))  # no end covers the other
        size = point_size(len(real_n2))
        ax.scatter(*real_n2.T, color=GREY, alpha=0.3, s=size, linewidths=0, rasterized=True)
        low, high = value_n[here].min(), value_n[here].max()
        share_n = (value_n[here] - low) / ((high - low) or 1)
        points = ax.scatter(*walk_n2[here].T, c=share_n, cmap="viridis", vmin=0, vmax=1, s=3 * size, linewidths=0)
        medians_s2 = [np.median(walk_n2[here[step_n[here] == step]], axis=0) for step in np.unique(step_n[here])]
        ax.plot(*np.transpose(medians_s2), color="black", linewidth=0.8)
        ax.set_title(f"latent {dimension}, {low:.2g} to {high:.2g}", fontsize="medium")
        as_embedding(ax, "UMAP")
    bar = fig.colorbar(points, ax=axes, ticks=[0, 1], label="value of the latent", shrink=0.6, aspect=30)
    bar.set_ticklabels(["low", "high"])
    return finish(fig, show=show, save=save, return_fig=return_fig)
