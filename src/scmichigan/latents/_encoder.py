"""An encoder for latents that came without one."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import RidgeCV

from scmichigan._arrays import dense

_N_CELLS = 3000
_RIDGES = np.logspace(0, 4, 9)


class RidgeEncoder:
    """Ridge regression of latents on log-normalised expression, fitted once.

    Parameters
    ----------
    seed
        Random seed of the cells that it is fitted to.
    """

    name = "ridge regression"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.ridge: RidgeCV | None = None

    def fit(self, x: np.ndarray | sp.csr_matrix, mean_nk: np.ndarray) -> None:
        """Fit to cells with their latents, 3,000 of them at most."""
        rows = np.random.default_rng(self.seed).permutation(x.shape[0])[:_N_CELLS]
        # One ridge for all would be that of the latent with the largest unit.
        self.ridge = RidgeCV(_RIDGES, alpha_per_target=True).fit(dense(x[rows]), mean_nk[rows])

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Latents of log-normalised expression, shape ``(n_cells, n_latent)``."""
        return self.ridge.predict(x).reshape(len(x), -1)  # of one latent it has no columns
