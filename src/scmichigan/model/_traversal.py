"""Walks along one latent dimension at a time.

Legend: m generated cells, w walks, k latent dimensions, s steps, g genes.
"""

import numpy as np
from anndata import AnnData
from mudata import MuData
from scipy.stats import poisson

from scmichigan import _keys
from scmichigan._checks import check_at_least, check_trained
from scmichigan.combinations import sample_evenly
from scmichigan.data import RegisteredCells
from scmichigan.latents import posterior_to_sample

# Of the cells' latents, from low to high: the outermost are those of a few odd cells.
_ENDS = (0.01, 0.99)


def traverse(
    self,
    labels: dict[str, str] | None = None,
    n_steps: int = 10,
    *,
    cell: str | None = None,
    n_walks: int = 10,
    seed: int = 0,
) -> AnnData | MuData:
    """Generate cells along each latent dimension, from low to high, with all others held where a cell has them.

    Noise, covariates and total of a walk are the same at every step, and so is the random number that each count is
    sampled with: whatever changes, changes by the latent (Yu and Welch 2021, Figure 5).

    Parameters
    ----------
    labels
        Labels of the registered cells that walks go through, for example ``{"cell_type": "B cells"}``; any cells by default.
    n_steps
        Steps of a walk, at equal distances between the first and the last percentile of the dimension in the
        registered cells.
    cell
        Name of the one registered cell that walks go through, in place of ``labels``.
    n_walks
        Walks along each dimension. They go through as many cells, sampled at random, or through the one that is named; each
        has noise of its own.
    seed
        Random seed.

    Returns
    -------
    AnnData as from :meth:`generate`, one cell for each dimension, walk and step. In obs: "dimension", "walk" and
    "step", counted from 1, "value", that of the dimension, and "michigan_source", the cell that a walk goes through.

    Raises
    ------
    RuntimeError, KeyError, ValueError
        If the model is untrained, no cell is named so or has the labels, both are given, or there are fewer than 2 steps.

    Examples
    --------
    >>> walk = model.traverse({"cell_type": "B cells"})
    >>> mg.pl.traversal(model.get_observed_expression(), walk)
    """
    check_trained(self)
    check_at_least(2, n_steps=n_steps)
    check_at_least(1, n_walks=n_walks)
    rng, cells = np.random.default_rng(seed), self.cells
    rows = sample_evenly(_rows_to_start_from(cells, labels, cell), n_walks, rng)
    mean_nk, _ = posterior_to_sample(self.latent, self.latent_sampling)
    value_sk = np.linspace(*np.quantile(mean_nk, _ENDS, axis=0), n_steps)
    dimension, walk, step = np.indices((self.n_latent, n_walks, n_steps)).reshape(3, -1)
    z = mean_nk[rows[walk]]
    z[np.arange(len(z)), dimension] = value_sk[step, dimension]
    output = self._render(z, rows[walk], self._sample_noise(n_walks, rng)[walk])
    totals = None
    if self.module.makes_counts:
        totals = cells.totals()[rows[walk]]
        quantile_wg = rng.random((n_walks, output.shape[1]))
        output = poisson.ppf(quantile_wg[walk], cells.expected(output, totals))
    provenance = {
        "model": type(self).__name__,
        "latent": self.latent.name,
        "start": cell or {key: str(label) for key, label in (labels or {}).items()},
        "seed": seed,
    }
    made = cells.generated(output, totals, rows=None, latent=z, provenance=provenance)
    for key, numbers in ((_keys.DIMENSION, dimension), (_keys.WALK, walk), (_keys.STEP, step)):
        made.obs[key] = numbers + 1
    made.obs[_keys.VALUE] = z[np.arange(len(z)), dimension]
    made.obs[_keys.SOURCE] = self.adata.obs_names.to_numpy()[rows[walk]]
    return cells.as_registered(made)


def _rows_to_start_from(cells: RegisteredCells, labels: dict[str, str] | None, cell: str | None) -> np.ndarray:
    """Rows of the registered cells with these labels, or of the one with this name."""
    if cell is None:
        return cells.rows_where(labels)
    if labels is not None:
        raise ValueError(f"labels and cell are given, {labels} and {cell!r}; leave one of them out")
    found = np.flatnonzero(cells.adata.obs_names == cell)
    if not found.size:
        raise KeyError(
            f"cell is {cell!r}, but no cell is named so, the first is {cells.adata.obs_names[0]!r}; give the name of "
            "a registered cell, or labels such as {'cell_type': 'B cells'}"
        )
    return found[:1]
