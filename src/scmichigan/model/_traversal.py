"""Walks along one latent dimension at a time.

Legend: m generated cells, w walks, k latent dimensions, s steps, g genes.
"""

from __future__ import annotations

import numpy as np
from anndata import AnnData
from mudata import MuData
from scipy.stats import poisson

from scmichigan import _keys
from scmichigan._checks import check_at_least

from ._common import check_trained, rows_where
from ._transfer import draw_evenly

# Of the cells' latents, from low to high: the outermost are those of a few odd cells.
_ENDS = (0.01, 0.99)


class TraversalMixin:
    """Latent traversals for a GAN that knows the latents of cells; a base only."""

    def traverse(
        self,
        start: dict[str, str] | str | None = None,
        n_steps: int = 10,
        *,
        n_walks: int = 10,
        seed: int = 0,
    ) -> AnnData | MuData:
        """Walk along each latent dimension, from low to high, with all others held where a cell has them.

        Noise, covariates and total of a walk are the same at every step, and so is the random number that each count is
        drawn with: whatever changes, changes by the latent.

        Parameters
        ----------
        start
            Where walks cross: labels that the cells must have, for example ``{"cell_type": "B cells"}``, the name of one
            cell, or ``None`` for any cells.
        n_steps
            Steps of a walk, at equal distances between the first and the last percentile of the dimension in the
            registered cells.
        n_walks
            Walks along each dimension. They cross at as many cells, drawn at random, or at the one that is named; each
            has noise of its own.
        seed
            Of all draws.

        Returns
        -------
        AnnData as from :meth:`generate`, one cell for each dimension, walk and step. In obs: "dimension", "walk" and
        "step", counted from 1, "value", that of the dimension, and "michigan_source", the cell that is crossed.

        Raises
        ------
        RuntimeError
            If the model is untrained.
        KeyError, ValueError
            If no cell is named so or has the labels, or there are fewer than 2 steps or 1 walk.

        References
        ----------
        Yu and Welch 2021, "MichiGAN enables semantically meaningful latent traversals", Figure 5.

        Examples
        --------
        >>> walk = model.traverse({"cell_type": "B cells"})
        >>> mg.pl.traversal(model.get_normalized_expression(), walk)
        """
        check_trained(self)
        check_at_least(2, n_steps=n_steps)
        check_at_least(1, n_walks=n_walks)
        rng = np.random.default_rng(seed)
        rows = draw_evenly(self._cells_to_start_from(start), n_walks, rng)
        mean_nk, _ = self._posterior()
        value_sk = np.linspace(*np.quantile(mean_nk, _ENDS, axis=0), n_steps)
        dimension, walk, step = np.indices((self.n_latent, n_walks, n_steps)).reshape(3, -1)
        z = mean_nk[rows[walk]]
        z[np.arange(len(z)), dimension] = value_sk[step, dimension]
        output = self._render(z, rows[walk], self._draw_noise(n_walks, rng)[walk])
        totals = None
        if self.module.makes_counts:
            totals = self._totals()[rows[walk]]
            quantile_wg = rng.random((n_walks, output.shape[1]))
            output = poisson.ppf(quantile_wg[walk], self._expected(output, totals))
        named = {key: str(label) for key, label in start.items()} if isinstance(start, dict) else start or {}
        provenance = {
            "model": type(self).__name__,
            "latent": self._latent_source(),
            "start": named,
            "seed": seed,
        }
        cells = self._cells(output, totals, rows=None, latent=z, provenance=provenance)
        for key, numbers in ((_keys.DIMENSION, dimension), (_keys.WALK, walk), (_keys.STEP, step)):
            cells.obs[key] = numbers + 1
        cells.obs[_keys.VALUE] = z[np.arange(len(z)), dimension]
        cells.obs[_keys.SOURCE] = self.adata.obs_names.to_numpy()[rows[walk]]
        return self._as_registered(cells)

    def _cells_to_start_from(self, start: dict[str, str] | str | None) -> np.ndarray:
        """Rows of the registered cells with these labels, or of the one with this name."""
        if not isinstance(start, str):
            return rows_where(self._labelled, start, "start")
        found = np.flatnonzero(self.adata.obs_names == start)
        if not found.size:
            raise KeyError(
                f"start is {start!r}, but no cell is named so, the first is {self.adata.obs_names[0]!r}; give the name of "
                "a registered cell, or labels such as {'cell_type': 'B cells'}"
            )
        return found[:1]
