"""What all plots share: colours that colour-blind readers can tell apart, and how a figure is handed over."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe and Ito 2008, "Color universal design"
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
GREY = "#9A9A9A"
BLUE = OKABE_ITO[0]
VERMILION = OKABE_ITO[5]
_PANELS_PER_ROW = 5
_PANEL_INCHES = 2.3


def finish(
    fig: Figure, *, show: bool | None, save: str | Path | None, return_fig: bool, is_ours: bool = True
) -> Figure | None:
    """Save and show a figure as asked; return it if it was not shown, or is to be returned."""
    if save is not None:
        fig.savefig(save, dpi=150, bbox_inches="tight")
    if show is None:
        show = save is None and not return_fig and is_ours
    if show:
        plt.show()
    if is_ours:
        plt.close(fig)  # else a notebook shows a returned figure twice
    return fig if return_fig or not show else None


def panels(n_panels: int, *, n_above: int = 0, beside_inches: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Square panels in rows; ``n_above`` of them in rows of their own, with ``beside_inches`` beside each."""
    wide = _PANEL_INCHES + 0.4 + beside_inches
    width = max(_PANEL_INCHES * min(n_panels, _PANELS_PER_ROW) + 1, wide if n_above else 0)
    blocks = [(n, min(n, most)) for n, most in ((n_above, int(width / wide)), (n_panels, _PANELS_PER_ROW)) if n]
    heights = [-(-n // n_columns) for n, n_columns in blocks]
    fig = plt.figure(figsize=(width, (_PANEL_INCHES + 0.4) * sum(heights)), layout="constrained")
    axes = []
    rooms = fig.add_gridspec(len(blocks), 1, height_ratios=heights)
    for room, n_rows, (n, n_columns) in zip(rooms, heights, blocks, strict=True):
        grid = room.subgridspec(n_rows, n_columns)
        axes += [fig.add_subplot(grid[divmod(i, n_columns)]) for i in range(n)]
    return fig, axes


def category_colours(n_categories: int) -> list[str]:
    """Okabe and Ito's colours, or steps of viridis where they do not suffice."""
    if n_categories <= len(OKABE_ITO):
        return list(OKABE_ITO[:n_categories])
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 1, n_categories))]


def point_size(n_cells: int) -> float:
    """Area of a point, smaller the more cells there are."""
    return float(np.clip(12_000 / n_cells, 1, 12))


def groups_scatter(
    ax: Axes, groups: dict[str, tuple[np.ndarray, str]], *, size: float, rng: np.random.Generator
) -> None:
    """Draw groups of cells, each its positions and colour, in random order so that none covers another."""
    positions = np.vstack([xy for xy, _ in groups.values()])
    colours = np.repeat([colour for _, colour in groups.values()], [len(xy) for xy, _ in groups.values()])
    order = rng.permutation(len(positions))
    ax.scatter(*positions[order].T, c=colours[order], s=size, linewidths=0, rasterized=True)
    named = {name: colour for name, (_, colour) in groups.items()}
    group_legend(ax, named, loc="upper center", at=(0.5, -0.08), ncols=len(named))


def group_legend(ax: Axes, colours: dict[str, str], *, loc: str, at: tuple[float, float], ncols: int) -> None:
    """Name groups of cells outside the axes."""
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=colour, label=name)
        for name, colour in colours.items()
    ]
    ax.legend(
        handles=handles,
        loc=loc,
        bbox_to_anchor=at,
        ncols=ncols,
        frameon=False,
        fontsize="small",
        handletextpad=0.1,
        columnspacing=0.8,
    )


def as_embedding(ax: Axes, name: str) -> None:
    """Axes of an embedding: names without ticks, as its units mean nothing."""
    ax.set(xticks=[], yticks=[], xlabel=f"{name}1", ylabel=f"{name}2", box_aspect=1)
    ax.spines[["top", "right"]].set_visible(False)
