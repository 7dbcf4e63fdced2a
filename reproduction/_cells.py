"""Cells of Tables 1 to 4, made anew or read from files of the original simulators, and those of Figure S13."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scanpy as sc
from _runs import data_file
from anndata import AnnData, read_h5ad

from scmichigan.datasets import SplatterParameters, prosstt, splatter

SPLATTER = ["batch", "path", "step", "library size"]
PROSSTT = ["branch", "time", "library size"]
PANCREAS = ["cluster", "G2M - S"]
FILES = {
    "linear": "splatter_linear_small.h5ad",
    "non-linear": "splatter_nonlinear_small.h5ad",
    "3 trajectories": "prosstt_3_small.h5ad",
    "4 trajectories": "prosstt_4_small.h5ad",
    "5 trajectories": "prosstt_5_small.h5ad",
}
_N_GENES, _N_DETECTED = 2000, 4000  # as in the files of the original simulator
# Branches as in the files, and cells of each time of each branch: 10,500, 10,800 and 11,000 cells in the paper.
_TREES = {
    "3 trajectories": ([(0, 1), (0, 2)], 70),
    "4 trajectories": ([(0, 1), (0, 2), (0, 3)], 54),
    "5 trajectories": ([(0, 1), (0, 2), (1, 3), (1, 4)], 44),
}
_N_TIMES = 50
_QUICKLY = 5  # cells, one in so many


def simulated_cells(name: str, folder: Path | None, *, quick: bool, seed: int) -> AnnData:
    """Log counts, and the factors in obs under the names of SPLATTER or PROSSTT.

    Counts are not scaled to one total for all cells: the library size is one of the factors.
    """
    if folder is not None:
        path = folder / FILES[name]
        if not path.exists():
            raise SystemExit(f"{path} is not there: --real takes the folder with files of the original simulators")
        adata = read_h5ad(path)
    else:
        adata = (_trajectories if name in _TREES else _paths)(name, quick=quick, seed=seed)
    totals = "total_counts_all_genes" if "total_counts_all_genes" in adata.obs else "total_counts"
    adata.obs["library size"] = adata.obs[totals].astype(float)
    if "pseudotime" in adata.obs:
        adata.obs["time"] = adata.obs["pseudotime"].astype(float)
    adata.X = adata.X.astype(np.float32).log1p()
    adata.layers.clear()
    return adata


def _paths(name: str, *, quick: bool, seed: int) -> AnnData:
    n_cells = 10_000 // (_QUICKLY if quick else 1)
    parameters = SplatterParameters(
        n_genes=5000,
        batch_cells=(n_cells // 2, n_cells // 2),
        group_prob=(0.5, 0.5),
        de_prob=0.5,
        de_fac_loc=0.01,
        de_fac_scale=0.5,
        bcv_common=0.1,
        path_n_steps=20,
        path_nonlinear_prob=float(name == "non-linear"),
    )
    adata = splatter(parameters, seed=seed)
    n_cells_g = np.asarray((adata.X > 0).sum(axis=0)).ravel()
    adata = adata[:, np.sort(np.argsort(-n_cells_g, kind="stable")[:_N_DETECTED])].copy()
    logged = sc.pp.log1p(sc.pp.normalize_total(adata, target_sum=1e4, copy=True), copy=True)
    sc.pp.highly_variable_genes(logged, n_top_genes=_N_GENES)
    return adata[:, logged.var["highly_variable"].to_numpy()].copy()


def _trajectories(name: str, *, quick: bool, seed: int) -> AnnData:
    tree, n_each = _TREES[name]
    n_each = n_each // _QUICKLY if quick else n_each
    return prosstt(tree, _N_GENES, n_each * _N_TIMES * (len(tree) + 1), n_times=_N_TIMES, seed=seed)


def pancreas() -> AnnData:
    """Log-normalised expression, with clusters and the cell cycle in obs under the names of PANCREAS."""
    adata = data_file("pancreas_endocrinogenesis")
    adata.X = adata.X.multiply(1e4 / adata.obs["nCount_spliced"].to_numpy()[:, None]).tocsr().astype(np.float32).log1p()
    adata.obs["cluster"] = adata.obs["clusters"]
    adata.obs["G2M - S"] = (adata.obs["G2M_score"] - adata.obs["S_score"]).astype(float)
    return adata
