"""How good predictions of hidden combinations are, on two perturbation data sets, beside simple ones.

    python benchmarks/predictions.py --out results.csv [--seeds 0 1 2] [--sets kang_pbmc_ifnb celllines_crispr]
        [--latent-seeds 0] [--jobs 1] [--train-generator] [--quick]

Each cell type's (or line's) cells under each treatment are hidden in turn from everything: gene selection, latent and
generator are fitted again without them. The files are those of ../shared/data, or where SCMICHIGAN_DATA points. Tables
of finished combinations lie in results.csv.runs/; a run that was stopped goes on where it was with the same --out.

A beta-TCVAE is fitted for each hidden combination, with the first seed or those given as --latent-seeds: the decoder
and the paper's arithmetic need it. MichiGAN's default prediction takes nothing from it. It is the only one of the other
seeds beside the simple predictions, by a CombinationPredictor without any training. The generator stays at its closed form, as only the paper's arithmetic would use a
trained one; --train-generator has that row as well. --quick takes five epochs for the beta-TCVAE: the rows of the
decoder and of the paper's arithmetic are not reliable then.

The correlation of the change has a ceiling: that of real cells, one half against the other. Where it is low, there is
little to predict; and both halves are compared with the same control cells, whose noise counts for the prediction, too.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path

import pandas as pd
from anndata import AnnData, read_h5ad

import scmichigan as mg

SETS = {
    "kang_pbmc_ifnb": {
        "control_labels": {"condition": "ctrl"},
        "n_genes": 2000,
        "setup_kwargs": {"size_factor_key": "total_counts"},
    },
    "celllines_crispr": {
        "control_labels": {"condition": "control"},
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
OURS = "MichiGAN"
PUBLISHED = "MichiGAN, as published"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("predictions.csv"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--latent-seeds", type=int, nargs="*", help="the first seed by default")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--train-generator", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)

    data = Path(os.environ.get("SCMICHIGAN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    latent_seeds = args.seeds[:1] if args.latent_seeds is None else args.latent_seeds
    tables = []
    for seed in args.seeds:
        for name in args.sets:
            start = time.perf_counter()
            given = {
                **SETS[name],
                "judge_kwargs": {"n_cells": 500, "n_trees": 100},
                "folder": args.out.with_name(f"{args.out.name}.runs") / f"{name}_{seed}",
                "n_jobs": args.jobs,
                "seed": seed,
            }
            adata = read_h5ad(data / f"{name}.h5ad")
            table = (of_models if seed in latent_seeds else of_cells)(args, adata, given)
            tables.append(table.assign(set=name, seed=seed))
            pd.concat(tables).to_csv(args.out, index=False)
            print(f"{name}, seed {seed}: {(time.perf_counter() - start) / 60:.0f} minutes", flush=True)
    for name, table in pd.concat(tables).groupby("set", sort=False):
        show(name, table)


def of_cells(args: argparse.Namespace, adata: AnnData, given: dict) -> pd.DataFrame:
    """The default prediction, which takes nothing from a model."""
    predictors = {OURS: lambda predictor, labels: predictor.predict(labels)}
    return mg.benchmark_predictions(adata, FACTORS, predictors=predictors, **given)


def of_models(args: argparse.Namespace, adata: AnnData, given: dict) -> pd.DataFrame:
    """That of a model, the published one, and the decoder's."""
    train_kwargs = {"accelerator": "cpu", "max_epochs": None if args.train_generator else 0}
    if args.quick:
        train_kwargs["latent_kwargs"] = {"max_epochs": 5}
    table = mg.MichiGAN.benchmark_predictions(adata, FACTORS, train_kwargs=train_kwargs, **given)
    return table if args.train_generator else table.replace({"predictor": {PUBLISHED: "paper's arithmetic"}})


def show(name: str, table: pd.DataFrame) -> None:
    order = table["predictor"].unique()
    means = table.pivot_table(index="metric", columns="predictor", values="value")
    print(f"\n{name}: means over combinations and seeds\n{means.reindex(SHOWN)[order].round(3).T.to_string()}")
    for metric in ("E-distance", "random forest AUROC, genes"):
        each = table[table["metric"] == metric].pivot_table(index=FACTORS, columns="predictor", values="value")[order]
        print(f"\n{name}: {metric} of each combination\n{each.round(2).to_string()}")
        print(f"\n{OURS} is below {BASELINE!r} in {(each[OURS] < each[BASELINE]).sum()} of {len(each)}")


if __name__ == "__main__":
    main()
