"""Pancreas endocrinogenesis: cells that become hormone-producing cells."""

from pathlib import Path

import numpy as np
from anndata import AnnData, read_h5ad
from scipy import sparse

from ._download import RemoteFile, cache_folder, fetch, reading

FILE = RemoteFile(
    "endocrinogenesis_day15.h5ad",
    "https://github.com/theislab/scvelo_notebooks/raw/master/data/Pancreas/endocrinogenesis_day15.h5ad",
)


def pancreas(*, folder: Path | str | None = None) -> AnnData:
    """Cells of the mouse pancreas at embryonic day 15.5, 3,696 cells x 27,998 genes.

    The file is that of scVelo's tutorials. It does not have the latent time of scVelo's dynamical model, which the paper
    uses. Continue with :func:`scvelo_recipe`.

    Parameters
    ----------
    folder
        Folder of downloaded files; the user's cache by default.

    Returns
    -------
    Spliced counts in X (CSR, float32), ``layers["spliced"]`` and ``layers["unspliced"]``. In obs: ``clusters``,
    ``clusters_coarse``, ``S_score``, ``G2M_score`` and ``total_counts``. The rest of the file, such as its UMAP, is
    unchanged.

    Raises
    ------
    ImportError, ConnectionError, ValueError
        If pooch is not installed; a file cannot be downloaded (the message says which files to put where by hand); a file
        is not the expected one.

    References
    ----------
    Bastidas-Ponce et al. 2019, doi:10.1242/dev.173849; Bergen et al. 2020, doi:10.1038/s41587-020-0591-3.
    """
    (path,) = fetch(cache_folder(folder), FILE)
    with reading(path):
        adata = read_h5ad(path)
        _ = adata.layers["unspliced"], adata.obs[["clusters", "clusters_coarse", "S_score", "G2M_score"]]
        adata.X = sparse.csr_matrix(adata.layers["spliced"], dtype=np.float32)
    adata.obs["total_counts"] = adata.X.sum(axis=1).A1.astype(np.float32)
    return adata
