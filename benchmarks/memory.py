"""Peak memory of training on many cells, over that of the imports.

    python benchmarks/memory.py [--n-cells 100000] [--n-genes 4000]

Sparse counts of which 5 % are not zero, a stored latent, the closed form in full and the first minibatches of training.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time
import warnings

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from scmichigan import MichiGAN

DENSITY, N_LATENT, N_STEPS = 0.05, 10, 4  # of the trainer, with five minibatches each


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def make_cells(n_cells: int, n_genes: int) -> AnnData:
    rng = np.random.default_rng(0)
    n_nonzero = round(DENSITY * n_genes)
    latent = rng.normal(size=(n_cells, N_LATENT)).astype(np.float32)
    # Distinct genes of each cell: as many strides from a random one.
    starts = rng.integers(n_genes, size=(n_cells, 1), dtype=np.int32)
    indices = np.sort((starts + np.arange(n_nonzero, dtype=np.int32) * (n_genes // n_nonzero)) % n_genes, axis=1)
    counts = (rng.poisson(1.0, indices.shape) + 1).astype(np.float32)
    indptr = np.arange(0, indices.size + 1, n_nonzero)
    x = sp.csr_matrix((counts.ravel(), indices.ravel(), indptr), shape=(n_cells, n_genes))
    return AnnData(x, obsm={"Z": latent})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-cells", type=int, default=100_000)
    parser.add_argument("--n-genes", type=int, default=4000)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    imports = peak()
    adata = make_cells(args.n_cells, args.n_genes)
    print(f"{'cells':24s}{peak() - imports:6.2f} GB")
    MichiGAN.setup_anndata(adata, latent_key="Z")
    model = MichiGAN(adata)
    print(f"{'model':24s}{peak() - imports:6.2f} GB")
    for stage, kwargs in {
        "closed form": {"max_epochs": 0},
        "training": {"max_epochs": 1, "limit_train_batches": N_STEPS, "enable_progress_bar": False},
    }.items():
        start = time.perf_counter()
        model.train(**kwargs)
        print(f"{stage:24s}{peak() - imports:6.2f} GB after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
