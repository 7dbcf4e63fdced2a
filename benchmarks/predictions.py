"""How good predictions of hidden combinations are, on two perturbation data sets, beside simple ones.

    python benchmarks/predictions.py [--folder RUNS] [--seeds 0 1 2] [--sets kang_pbmc_ifnb celllines_crispr] [--quick]

Each cell type's (or line's) cells under each treatment are hidden in turn from everything: gene selection, latent and
generator are fitted again without them. The files are those of ../shared/data, or where SCMICHIGAN_DATA points.
--quick leaves the generator at its closed form and the beta-TCVAE at few epochs; the default prediction hardly depends
on either, "as published" and the decoder do. A run that was stopped goes on where it was with the same --folder.

The correlation of the change has a ceiling: that of real cells, one half against the other. Where it is low, there is
little to predict; and both halves are compared with the same control cells, whose noise counts for the prediction, too.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd
from anndata import read_h5ad

from scmichigan import benchmark_predictions

SETS = {
    "kang_pbmc_ifnb": {
        "control": {"condition": "ctrl"},
        "n_genes": 2000,
        "setup_kwargs": {"size_factor_key": "total_counts"},
    },
    "celllines_crispr": {
        "control": {"condition": "control"},
        "n_genes": 500,
        "setup_kwargs": {"size_factor_key": "ncounts"},
    },
}
FACTORS = ["cell_type", "condition"]
SHOWN = [
    "E-distance",
    "correlation of mean change",
    "correlation of mean change, top 20",
    "slope of change",
    "DE overlap, top 100",
    "random forest AUROC, genes",
]
BASELINE = "additive, weighted"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()

    data = Path(os.environ.get("SCMICHIGAN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    train_kwargs = {"max_epochs": 0, "latent_kwargs": {"max_epochs": 5}} if args.quick else {}
    for name in args.sets:
        adata = read_h5ad(data / f"{name}.h5ad")
        tables = {
            seed: benchmark_predictions(
                adata,
                FACTORS,
                **SETS[name],
                train_kwargs=train_kwargs,
                judge_kwargs={"n_cells": 500, "n_trees": 100, "n_jobs": -1},
                folder=None if args.folder is None else args.folder / f"{name}_{seed}",
                seed=seed,
            )
            for seed in args.seeds
        }
        show(name, pd.concat(tables, names=["seed"]).reset_index("seed"))


def show(name: str, table: pd.DataFrame) -> None:
    order = table["predictor"].unique()
    means = table.pivot_table(index="metric", columns="predictor", values="value")
    print(f"\n{name}: means over combinations and seeds\n{means.reindex(SHOWN)[order].round(3).T.to_string()}")
    distance = table[table["metric"] == "E-distance"]
    each = distance.pivot_table(index=FACTORS, columns="predictor", values="value")[order]
    print(f"\n{name}: E-distance of each combination\n{each.round(2).to_string()}")
    print(f"\nMichiGAN is closer than {BASELINE!r} in {(each['MichiGAN'] < each[BASELINE]).sum()} of {len(each)}")


if __name__ == "__main__":
    main()
