"""One prediction of scGen, in the environment of pertpy; benchmarks/peers.py runs it.

    python _scgen.py CELLS.h5ad PREDICTED.npy CONTROL TREATED CELL_TYPE EPOCHS SEED

CELLS.h5ad has log-normalised expression in X, cell_type and condition in obs. Model and training are those of pertpy's
tutorial on these data but for the most epochs, of which it has 100.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

import numpy as np
import pertpy
from anndata import read_h5ad


def main() -> None:
    cells, out, control, treated, cell_type, epochs, seed = sys.argv[1:]
    adata = read_h5ad(cells)
    start = time.perf_counter()
    pertpy.tl.Scgen.setup_anndata(adata, batch_key="condition", labels_key="cell_type")
    model = pertpy.tl.Scgen(adata)
    model.train(max_epochs=int(epochs), batch_size=32, early_stopping=True, early_stopping_patience=25, seed=int(seed))
    predicted, _ = model.predict(ctrl_key=control, stim_key=treated, celltype_to_predict=cell_type)
    np.save(out, predicted.X)
    losses = model.history["validation_loss"]
    print(
        f"pertpy {version('pertpy')}, {cell_type}: {len(losses)} epochs, the best one {np.argmin(losses) + 1}, "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
