"""Figures 1, 4a, 4b, S1 to S4 and S7 to S13 of the paper: cells, latents, and what each latent knows of each factor.

    python reproduction/figures_1_4.py 1 [--data SET ...] [--real ../shared/data] [--seed 0] [--epochs 1000] [--quick]

1    ten latents of cells on two paths: Figure 1 (non-linear steps) and S1 (linear ones)
S8   four latents of them: S8 and S9
S10  ten latents of branching trajectories: S10 to S12
S13  ten latents of the pancreas file in the data folder (SCMICHIGAN_DATA)
4    what is generated from latents, beside those latents: Figure 4a and 4b, S2, and of other GANs S3, S4 and S7

For each set and method, FOLDER/figure_1/ (or S8 ...) has cells on a UMAP of the real ones, coloured by factors and by each
latent; factors of generated cells are those of their three nearest real cells. For each set it has bars of the rank
correlation and of the mutual information of each latent with each factor. FOLDER/figure_1.csv has these as numbers; what
prints is, for each factor, the latent that has most to do with it and the next one. A factor without an order has no rank
correlation.

Cells, latents and GANs are those of `tables.py`, with the same options, and are taken from the same folder where they are
there already. A method that is in the results is not run again.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _cells import PANCREAS
from _runs import is_kept, keep, kept, markdown, quiet
from anndata import AnnData
from tables import GANS, HERE, LATENT, REAL_CELLS, TABLES, Table, describe, generated_by, latent_of, load

from scmichigan import metrics, pl
from scmichigan.pl._embedding import joint_umap

FIGURES = {
    "1": TABLES[1],
    "S8": TABLES[2],
    "S10": TABLES[3],
    "S13": Table({REAL_CELLS: 50}, PANCREAS),
    "4": TABLES[4],
}
MEASURES = ("Spearman correlation", "mutual information")
SETTINGS = ["cells", "data", "method", "epochs", "GAN epochs", "seed"]
N_EMBEDDED = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--real", type=Path, help="folder with files of the original simulators")
    parser.add_argument("--data", nargs="+", help="data sets, all of the figure by default")
    parser.add_argument("--methods", nargs="+", help="methods, all of the figure by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="of the latents, 1,000 by default")
    parser.add_argument("--gan-epochs", type=int, help="of the GANs as published, 1,000 by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    args = parser.parse_args()
    args.epochs = args.epochs or (60 if args.quick else 1000)
    args.gan_epochs = args.gan_epochs or (10 if args.quick else 1000)
    table = FIGURES[args.figure]
    for name, known in (("data", table.betas), ("methods", table.methods)):
        unknown = [given for given in getattr(args, name) or () if given not in known]
        if unknown:
            parser.error(f"figure {args.figure} has no {name} {unknown}; choose from {list(known)}")
    quiet()

    path = args.folder / f"figure_{args.figure}.csv"
    pictures = path.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    for data in args.data or table.betas:
        for method in args.methods or table.methods:
            run = describe(args, data, method, args.seed)
            if is_kept(kept(path), run):
                continue
            print(f"{method} on {run['cells']} {data} cells, seed {args.seed}", flush=True)
            cells, related = judged(args, table, data, method)
            pl.latents(
                cells, latent_key=LATENT, color=table.factors, show=False, save=pictures / f"{picture(run, method)}.png"
            )
            keep(path, *(run | row for row in related.reset_index().to_dict("records")))
    results = kept(path)
    print("\n" + markdown(summary(results)))
    for _, runs in results.groupby(["cells", "data", "seed"], sort=False):
        for measure in MEASURES:
            draw(runs, measure, pictures / f"{picture(runs.iloc[0], measure)}.png")


def picture(run: dict[str, object] | pd.Series, of: str) -> str:
    return "_".join(str(part) for part in (run["cells"], run["data"], run["seed"], of)).replace(" ", "-")


def judged(args: argparse.Namespace, table: Table, data: str, method: str) -> tuple[AnnData, pd.DataFrame]:
    """Cells with their latents, factors and places, and what each latent has to do with each factor."""
    real = load(data, args.real, args.quick, args.seed)
    x = real.X.toarray()
    embedded = np.random.default_rng(args.seed).permutation(real.n_obs)[:N_EMBEDDED]
    if method in GANS:
        cells = generated_by(args, table, data, method, args.seed)
        metrics.generator_disentanglement(cells, real, table.factors, seed=args.seed, enable_progress_bar=False)
        found = cells.uns["michigan_generator_disentanglement"]
        related = {MEASURES[0]: found["spearman"], MEASURES[1]: found["mutual_information"]}
        cells.obs = cells.obsm["michigan_inferred_factors"]
        cells = cells[np.random.default_rng(args.seed).permutation(cells.n_obs)[:N_EMBEDDED]].copy()
        cells.obsm["X_umap"] = joint_umap(x[embedded], [cells.X], seed=args.seed)[1]
    else:
        mean, var, _ = latent_of(args, table, data, method, args.seed)
        factors = real.obs[table.factors]
        with_order = [f for f in factors if pd.api.types.is_numeric_dtype(factors[f]) or factors[f].nunique() == 2]
        related = {
            MEASURES[0]: metrics.spearman_correlation(mean, factors[with_order]),
            MEASURES[1]: metrics.mutual_information(mean, factors, var=var, seed=args.seed),
        }
        cells = real[embedded].copy()
        cells.obsm["X_umap"] = joint_umap(x[embedded], [], seed=args.seed)[0]
        cells.obsm[LATENT] = mean[embedded]
    columns = {
        measure: values.set_axis(range(1, len(values) + 1)).rename_axis(index="latent", columns="factor").stack()
        for measure, values in related.items()
    }
    return cells, pd.DataFrame(columns).reindex(columns[MEASURES[1]].index)  # which has all factors, in their order


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Of each factor, the latent that has most to do with it, and what the next one has."""
    rows = []
    for key, runs in results.groupby(SETTINGS, sort=False):
        for measure in MEASURES:
            row = dict(zip(SETTINGS, key, strict=True)) | {"measure": measure}
            for factor, values in runs.dropna(subset=measure).groupby("factor", sort=False):
                first, second = values.set_index("latent")[measure].nlargest(2).items()
                row[factor] = f"{first[1]:.2f} (latent {first[0]}), {second[1]:.2f}"
            rows.append(row)
    table = pd.DataFrame(rows).fillna("")
    return table if table["GAN epochs"].any() else table.drop(columns="GAN epochs")


def draw(runs: pd.DataFrame, measure: str, path: Path) -> None:
    """Bars of the latents, a row of panels for each method and a column for each factor."""
    runs = runs.dropna(subset=measure).drop_duplicates(["method", "latent", "factor"], keep="last")
    methods, factors = runs["method"].unique(), runs["factor"].unique()
    size = (2.4 * len(factors) + 1, 1.3 * len(methods) + 0.6)
    fig, axes = plt.subplots(
        len(methods), len(factors), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for (row, method), (column, factor) in product(enumerate(methods), enumerate(factors)):
        ax, values = axes[row, column], runs.query("method == @method and factor == @factor")
        ax.bar(values["latent"], values[measure])
        ax.set(
            ylim=(0, 1),
            xticks=values["latent"],
            title=factor if row == 0 else "",
            xlabel="latent" if row == len(methods) - 1 else "",
        )
        if column == 0:
            ax.set_ylabel(method.replace(", ", ",\n"), fontsize=8)
    fig.suptitle(measure)
    fig.savefig(path, dpi=150)
    plt.close(fig)


if __name__ == "__main__":
    main()
