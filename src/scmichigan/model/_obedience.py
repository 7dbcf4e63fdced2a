"""Whether generated cells have the latents that they were asked for.

Legend: n cells, g genes, k latents, m cells to draw from.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.linear_model import RidgeCV

from scmichigan._cells import dense

_N_CELLS_OF_ENCODER = 3000
_LEAST_VARIANCE = 1e-6
_RIDGES = np.logspace(0, 4, 9)


def correlation_k(given_nk: np.ndarray, found_nk: np.ndarray) -> np.ndarray:
    """Pearson correlation of each latent with what was found of it; 0 where either does not vary."""
    given_nk, found_nk = (z.astype(np.float64) - z.mean(axis=0, dtype=np.float64) for z in (given_nk, found_nk))
    size_k = np.sqrt((given_nk**2).sum(axis=0) * (found_nk**2).sum(axis=0))
    return np.divide((given_nk * found_nk).sum(axis=0), size_k, out=np.zeros_like(size_k), where=size_k > 0)


def linear_encoder(x: np.ndarray | sp.csr_matrix, mean_nk: np.ndarray, rng: np.random.Generator) -> RidgeCV:
    """Ridge regression of stored latents on expression: an encoder for latents that came without one."""
    rows = rng.permutation(x.shape[0])[:_N_CELLS_OF_ENCODER]
    return RidgeCV(_RIDGES).fit(dense(x[rows]), mean_nk[rows])


def draw_owners(
    given_nk: np.ndarray,
    mean_mk: np.ndarray,
    var_mk: np.ndarray,
    rng: np.random.Generator,
    *,
    not_nm: np.ndarray | None,
) -> np.ndarray:
    """For each latent one of m cells, with probability in proportion to the density of the latent in its posterior.

    Where all cells are as likely, these are exact draws from the distribution of cells given the latent. Cells for
    which ``not_nm`` is true are never drawn.
    """
    given_nk, mean_mk = given_nk.astype(np.float64), mean_mk.astype(np.float64)
    var_mk = np.maximum(var_mk.astype(np.float64), _LEAST_VARIANCE)
    precision_mk = 1 / var_mk
    logq_nm = given_nk @ (mean_mk * precision_mk).T - 0.5 * (given_nk**2) @ precision_mk.T
    logq_nm -= 0.5 * (mean_mk**2 * precision_mk + np.log(var_mk)).sum(axis=1)
    if not_nm is not None:
        logq_nm[not_nm] = -np.inf
    below_nm = softmax(logq_nm, axis=1).cumsum(axis=1)
    return (below_nm < rng.uniform(size=(len(given_nk), 1)) * below_nm[:, -1:]).sum(axis=1)


def gap(table: pd.DataFrame) -> float:
    """By how far the least obedient latent is behind what real cells give; NaN where nothing says what they give."""
    return float((table[["replicates", "real"]].min(axis=1) - table["generated"]).max())
