"""Whether generated cells have the latents that they were asked for.

Legend: n cells, k latents.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.linear_model import RidgeCV

from scmichigan._arrays import dense

_N_CELLS_OF_ENCODER = 3000
_RIDGES = np.logspace(0, 4, 9)


def correlation_k(given_nk: np.ndarray, found_nk: np.ndarray, var_nk: np.ndarray | None = None) -> np.ndarray:
    """Pearson correlation of each latent with what was found of it; 0 where either does not vary.

    With variances, it is the one expected of samples around what is given, which what was found knows nothing of.
    """
    noise_k = 0.0 if var_nk is None else var_nk.sum(axis=0, dtype=np.float64)
    given_nk, found_nk = (z.astype(np.float64) - z.mean(axis=0, dtype=np.float64) for z in (given_nk, found_nk))
    size_k = np.sqrt(((given_nk**2).sum(axis=0) + noise_k) * (found_nk**2).sum(axis=0))
    return np.divide((given_nk * found_nk).sum(axis=0), size_k, out=np.zeros_like(size_k), where=size_k > 0)


def linear_encoder(x: np.ndarray | sp.csr_matrix, mean_nk: np.ndarray, rng: np.random.Generator) -> RidgeCV:
    """Ridge regression of stored latents on expression: an encoder for latents that came without one."""
    rows = rng.permutation(x.shape[0])[:_N_CELLS_OF_ENCODER]
    # One ridge for all would be that of the latent with the largest unit.
    return RidgeCV(_RIDGES, alpha_per_target=True).fit(dense(x[rows]), mean_nk[rows])


def gap(table: pd.DataFrame) -> float:
    """By how far the least obedient latent is behind replicates of real cells or, without counts, real cells."""
    return float((table["replicates"].fillna(table["real"]) - table["generated"]).max())
