"""How good predictions of hidden combinations are, beside those of scGen (as pertpy has it).

    python benchmarks/peers.py --peer-python PERTPY/bin/python --out peers.csv [--epochs 100] [--cell-types "B cells" ...]

pertpy lives in an environment of its own, made with `pip install 'pertpy[scgen]'`: it takes JAX, and other versions of
what there is. On kang_pbmc_ifnb, each cell type's stimulated cells are hidden in turn from everything, the selection of
genes included, as in benchmarks/predictions.py, and judged with its settings; scGen is given the remaining cells,
log-normalised. pertpy samples the cells of its mean change without a seed: the last digits change from run to run.
Tables of finished combinations lie in peers.csv.runs/; a run that was stopped goes on where it was with the same --out.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from anndata import AnnData, read_h5ad
from predictions import FACTORS, OURS, SETS, show

from scmichigan import CombinationPredictor, MichiGAN, benchmark_predictions

NAME = "kang_pbmc_ifnb"
CONTROL, TREATED = "ctrl", "stim"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("peers.csv"))
    parser.add_argument("--epochs", type=int, default=100, help="at most; the tutorial of scGen has 100")
    parser.add_argument("--cell-types", nargs="+", help="all by default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("scvi").setLevel(logging.ERROR)

    data = Path(os.environ.get("SCMICHIGAN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    adata = read_h5ad(data / f"{NAME}.h5ad")
    cell_types = args.cell_types or sorted(adata.obs["cell_type"].unique())
    table = benchmark_predictions(
        adata,
        FACTORS,
        **SETS[NAME],
        hold_out=[dict(zip(FACTORS, (cell_type, TREATED), strict=True)) for cell_type in cell_types],
        fit=fit,
        predictors={
            OURS: lambda fitted, labels: fitted[0].predict(labels),
            "scGen": lambda fitted, labels: scgen(fitted[1], labels, args),
        },
        judge_kwargs={"n_cells": 500, "n_trees": 100},
        folder=args.out.with_name(f"{args.out.name}.runs") / f"{args.epochs}_{args.seed}",
        seed=args.seed,
    )
    table.to_csv(args.out, index=False)
    show(NAME, table)


def fit(train: AnnData, keys: Sequence[str]) -> tuple[CombinationPredictor, AnnData]:
    """What predicts without a model, and the log-normalised cells for scGen."""
    setup = SETS[NAME]["setup_kwargs"]
    MichiGAN.setup_anndata(train, **setup)
    x = MichiGAN(train, n_latent=1).get_observed_expression()
    return CombinationPredictor(train, keys, **setup), AnnData(x, train.obs[FACTORS], train.var[[]])


def scgen(cells: AnnData, target: dict[str, str], args: argparse.Namespace) -> AnnData:
    """Cells as scGen predicts them, in pertpy's environment."""
    with tempfile.TemporaryDirectory() as folder:
        given, predicted = Path(folder) / "cells.h5ad", Path(folder) / "predicted.npy"
        cells.write_h5ad(given)
        script = Path(__file__).with_name("_scgen.py")
        labels = [CONTROL, target["condition"], target["cell_type"]]
        command = [args.peer_python, script, given, predicted, *labels, args.epochs, args.seed]
        subprocess.run([str(part) for part in command], check=True)
        return AnnData(np.load(predicted), var=cells.var)


if __name__ == "__main__":
    main()
