"""Walks along latent dimensions among real cells. Legend: n cells, s steps."""

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
    real: Cells,
    walk: AnnData,
    *,
    n_cells: int = 2000,
    seed: int = 0,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Figure | None:
    """Show where walks along each latent dimension go, on a UMAP of real cells.

    The UMAP is fitted on the real cells, in grey, and cells of the walks are projected onto it, as in
    :func:`real_vs_generated`. Their colour is the value of the latent, from the lower to the upper end of the walk,
    which the title has. A line links the medians of the steps (Figure 5 of Yu and Welch 2021). Along a dimension
    without meaning, cells stay where they start.

    Parameters
    ----------
    real
        Real cells on the scale of the walk, such as ``model.get_observed_expression()``, with the same genes.
    walk
        Result of :meth:`MichiGAN.traverse`; a ``KeyError`` for anything else.
    n_cells, seed, show, save, return_fig
        Arguments, result and errors are as in :func:`real_vs_generated`.
    """
    check_at_least(1, n_cells=n_cells)
    check_anndata(walk=walk)
    if DIMENSION not in walk.obs and isinstance(real, AnnData) and DIMENSION in real.obs:
        raise ValueError("real is a traversal, walk is not: give the real cells first, pl.traversal(real, walk)")
    check_obs_keys(walk.obs, (DIMENSION, STEP, VALUE), "walk")
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
        fraction_n = (value_n[here] - low) / ((high - low) or 1)
        points = ax.scatter(*walk_n2[here].T, c=fraction_n, cmap="viridis", vmin=0, vmax=1, s=3 * size, linewidths=0)
        medians_s2 = [np.median(walk_n2[here[step_n[here] == step]], axis=0) for step in np.unique(step_n[here])]
        ax.plot(*np.transpose(medians_s2), color="black", linewidth=0.8)
        ax.set_title(f"latent {dimension}, {low:.2g} to {high:.2g}", fontsize="medium")
        as_embedding(ax, "UMAP")
    bar = fig.colorbar(points, ax=axes, ticks=[0, 1], label="value of the latent", shrink=0.6, aspect=30)
    bar.set_ticklabels(["low", "high"])
    return finish(fig, show=show, save=save, return_fig=return_fig)
