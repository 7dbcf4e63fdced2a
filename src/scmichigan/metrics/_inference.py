"""Factors of generated cells. Legend: m generated cells, n real cells, k principal components, j neighbours."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import mode
from sklearn.neighbors import NearestNeighbors

from scmichigan._arrays import dense
from scmichigan._cells import Cells
from scmichigan._checks import check_at_least, is_number

from ._basis import Basis, checked, fitted_pca


def infer_factors(
    real: Cells,
    generated: Cells,
    *,
    factors: pd.DataFrame,
    n_neighbors: int = 3,
    basis: Basis | None = None,
    n_components: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Infer factors of generated cells, such as their cell type, from the nearest real cells (Yu and Welch 2021).

    :func:`generator_disentanglement` compares them with the latents that the cells were made from. One row a generated
    cell, under its name where they are an AnnData, and the columns of ``factors``: floating-point means, or values of
    the column's own type.

    Parameters
    ----------
    real, generated
        As in :func:`e_distance`, with the same errors.
    factors
        One column a factor, one row a real cell in the order of ``real``. Numbers are averaged over neighbours. Of
        categories, strings and booleans the most frequent value is taken, and of equally frequent ones the first in
        their order. Cells with a missing value are no neighbours for that factor.
    n_neighbors
        Nearest real cells by Euclidean distance, not more than have a factor; the paper takes 3.
    basis, n_components, seed
        As in :func:`e_distance`, but without a basis, components are fitted on the real cells.
    """
    generated_ng, real_ng, basis = checked({"generated": generated, "real": real}, basis)
    n_real = real_ng.shape[0]
    check_at_least(1, n_neighbors=n_neighbors)
    if n_neighbors > n_real:
        raise ValueError(f"n_neighbors is {n_neighbors}: give at most the number of real cells, {n_real}")
    if len(factors) != n_real:
        raise ValueError(f"factors has {len(factors)} rows, real {n_real} cells: give one row for each real cell")
    for name, n_known in factors.notna().sum().items():
        if n_known < n_neighbors:
            raise ValueError(f"factor {name!r} is known of {n_known} cells: give n_neighbors={n_neighbors} or more")
    pca = fitted_pca(real_ng if basis is None else basis, n_components=n_components, seed=seed)
    real_nk, generated_mk = (pca.transform(dense(matrix)) for matrix in (real_ng, generated_ng))
    nearest, inferred = {}, {}
    for name, factor in factors.items():
        known = np.flatnonzero(factor.notna())
        if (cells := known.tobytes()) not in nearest:  # mostly the same for all factors
            neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(real_nk[known])
            nearest[cells] = neighbors.kneighbors(generated_mk, return_distance=False)
        inferred[name] = _inferred(factor.iloc[known], nearest[cells])
    index = generated.obs_names if isinstance(generated, AnnData) else pd.RangeIndex(len(generated_mk))
    return pd.DataFrame(inferred).set_axis(index)


def _inferred(factor: pd.Series, nearest_mj: np.ndarray) -> np.ndarray | pd.api.extensions.ExtensionArray:
    if is_number(factor):  # averaged over neighbours, others are voted on
        return factor.to_numpy(dtype=np.float64)[nearest_mj].mean(axis=1)
    category = factor.astype("category")
    voted = mode(category.cat.codes.to_numpy()[nearest_mj], axis=1).mode
    return pd.Series(pd.Categorical.from_codes(voted, dtype=category.dtype)).astype(factor.dtype).array
