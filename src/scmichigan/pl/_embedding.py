"""One embedding for cells that are compared. Legend: n cells, g genes."""

import warnings
from collections.abc import Sequence

import numpy as np

from scmichigan._arrays import fit_pca

_N_COMPONENTS = 50
_CELLS_PER_COMPONENT = 10
_N_NEIGHBORS = 15


def joint_umap(reference_ng: np.ndarray, others: Sequence[np.ndarray], *, seed: int) -> list[np.ndarray]:
    """Fit PCA and UMAP (McInnes et al. 2018) on the reference cells; give all positions, ``(n_cells, 2)`` each."""
    if len(reference_ng) < 10:
        raise ValueError(f"the embedding would be fitted on {len(reference_ng)} cells: give 10 or more")
    # More components than one for every 10 cells would describe the noise of the reference.
    n_components = min(_N_COMPONENTS, len(reference_ng) // _CELLS_PER_COMPONENT)
    pca = fit_pca(reference_ng, n_components=max(2, n_components), seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # umap reports that tensorflow is absent
        from umap import UMAP  # slow to import, and for these plots only
    n_neighbors = min(_N_NEIGHBORS, len(reference_ng) - 1)
    umap = UMAP(n_neighbors=n_neighbors, n_jobs=1, random_state=seed, transform_seed=seed)
    with warnings.catch_warnings():
        # of clusters far apart, whose places to each other mean nothing in any UMAP
        warnings.filterwarnings("ignore", "Graph is not fully connected", UserWarning)
        reference_n2 = umap.fit_transform(pca.transform(reference_ng))
    umap.n_epochs = 3  # transform takes a third; more drive projected cells to the rim, even held-out real ones
    return [reference_n2, *(umap.transform(pca.transform(cells)) for cells in others)]
