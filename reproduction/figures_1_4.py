"""Figures 1, 4a, 4b, S1 to S4 and S7 to S13 of the paper: cells, latents, and what each latent knows of each factor.

    python reproduction/figures_1_4.py 1 [--data SET ...] [--real ../shared/data] [--seed 0] [--epochs 1000] [--quick]

1    ten latents of cells on two paths: Figure 1 (non-linear steps) and S1 (linear ones)
S8   four latents of them: S8 and S9
S10  ten latents of branching trajectories: S10 to S12
S13  ten latents of the pancreas file in the data folder (SCMICHIGAN_DATA); --real is of no use there
4    what is generated from latents, beside those latents: Figure 4a and 4b, S2, and of other GANs S3, S4 and S7

For each set and method, FOLDER/figure_1/ (or figure_S8/ ...) has cells on a UMAP of the real ones, coloured by factors and by
each latent. Generated cells have the factors of their three nearest real cells, the colours of these, and the real cells behind
them in grey; their latents are samples, those of real cells posterior means. For each set it has bars of the rank correlation,
without its sign, and of the mutual information, divided by the factor's entropy, of each latent with each factor.
FOLDER/figure_1.csv has these as numbers; what prints is, for each factor, the latent that has most to do with it and the next
one. A factor without an order has no rank correlation.

Cells, latents and GANs are those of `tables.py`, with the same options, and are taken from the same folder where they are
there already. A method that is in the results and has its picture is not run again.
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
from _runs import is_kept, keep, kept, markdown, name_of, quiet
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
    parser.add_argument("--seed", type=int, default=0, help="of cells and training, 0 by default")
    parser.add_argument("--epochs", type=int, help="of the latents, 1,000 by default")
    parser.add_argument("--gan-epochs", type=int, help="of the GANs as published, 1,000 by default")
    parser.add_argument(
        "--quick", action="store_true", help="few epochs and, where they are simulated, a fifth of the cells"
    )
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
    shown = []
    for data in args.data or table.betas:
        runs = [describe(args, data, method, args.seed) for method in args.methods or table.methods]
        for run in runs:
            picture = pictures / f"{name_of(run.values())}.png"
            if is_kept(kept(path), run) and picture.exists():
                continue
            print(f"{run['method']} on {run['cells']} {data} cells, seed {args.seed}", flush=True)
            if not is_kept(kept(path), run):
                keep(path, *(run | row for row in related(args, table, run).reset_index().to_dict("records")))
            draw_run(args, table, run, picture)
        results = kept(path).merge(pd.DataFrame(runs))
        shown.append(results)
        for measure in MEASURES:
            of_set = (runs[0]["cells"], data, args.epochs, args.seed, measure)
            draw(results, measure, pictures / f"{name_of(of_set)}.png")
    print("\n" + markdown(summary(pd.concat(shown))) + f"\n\npictures in {pictures}")


def related(args: argparse.Namespace, table: Table, run: dict[str, object]) -> pd.DataFrame:
    """What each latent of a run has to do with each factor."""
    data, method = run["data"], run["method"]
    real = load(data, args.real, args.quick, args.seed)
    factors = real.obs[table.factors]
    if method in GANS:
        cells = generated_by(args, table, data, method, args.seed)
        metrics.generator_disentanglement(real, cells, keys=table.factors, seed=args.seed, enable_progress_bar=False)
        found = cells.uns["michigan_generator_disentanglement"]
        measured = {MEASURES[0]: found["spearman"], MEASURES[1]: found["mutual_information"]}
    else:
        mean, var, _ = latent_of(args, table, data, method, args.seed)
        with_order = [f for f in factors if pd.api.types.is_numeric_dtype(factors[f]) or factors[f].nunique() == 2]
        measured = {
            MEASURES[0]: metrics.spearman_correlation(mean, factors[with_order]),
            MEASURES[1]: metrics.mutual_information(mean, factors, var=var, seed=args.seed),
        }
    columns = {
        measure: values.set_axis(range(1, len(values) + 1)).rename_axis(index="latent", columns="factor").stack()
        for measure, values in measured.items()
    }
    return pd.DataFrame(columns).reindex(columns[MEASURES[1]].index)  # which has all factors, in their order


def draw_run(args: argparse.Namespace, table: Table, run: dict[str, object], path: Path) -> None:
    """Factors and latents of the cells of a run."""
    data, method = run["data"], run["method"]
    real = load(data, args.real, args.quick, args.seed)
    factors = real.obs[table.factors]
    embedded = np.random.default_rng(args.seed).permutation(real.n_obs)[:N_EMBEDDED]
    if method in GANS:
        cells = generated_by(args, table, data, method, args.seed)
        cells = cells[np.random.default_rng(args.seed).permutation(cells.n_obs)[:N_EMBEDDED]].copy()
        cells.obs, cells.obsm["latent"] = (
            metrics.infer_factors(real, cells, factors=factors, seed=args.seed),
            cells.obsm[LATENT],
        )
        real_n2, cells.obsm["X_umap"] = joint_umap(real.X[embedded].toarray(), [cells.X], seed=args.seed)
    else:
        mean, *_ = latent_of(args, table, data, method, args.seed)
        cells = real[embedded].copy()
        (real_n2,) = joint_umap(cells.X.toarray(), [], seed=args.seed)
        cells.obsm["X_umap"], cells.obsm["latent"] = real_n2, mean[embedded]
    draw_cells(cells, real_n2, factors, ", ".join(f"{name} {value}" for name, value in run.items()), path)


def draw_cells(cells: AnnData, real_n2: np.ndarray, factors: pd.DataFrame, title: str, path: Path) -> None:
    """Factors and latents of cells, where real cells are and in their colours."""
    fig = pl.latents(cells, latent_key="latent", color=list(factors), show=False, return_fig=True)
    panels = fig.axes[: factors.shape[1] + cells.obsm["latent"].shape[1]]
    for ax in panels:
        ax.scatter(*real_n2.T, color="0.9", s=2, linewidths=0, zorder=0, rasterized=True)
    for ax, factor in zip(panels, factors, strict=False):
        if pd.api.types.is_numeric_dtype(factors[factor]):
            ax.collections[0].set_clim(factors[factor].min(), factors[factor].max())
    fig.suptitle(title)
    fig.savefig(path, dpi=150)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Of each factor, the latent that has most to do with it, and what the next one has."""
    rows = []
    for (key, runs), measure in product(results.groupby(SETTINGS, sort=False), MEASURES):
        row = dict(zip(SETTINGS, key, strict=True)) | {"measure": measure}
        for factor, values in runs.groupby("factor", sort=False):
            most = values.set_index("latent")[measure].dropna().nlargest(2)
            row[factor] = f"{most.iloc[0]:.2f} (latent {most.index[0]}), {most.iloc[1]:.2f}" if len(most) else ""
        rows.append(row)
    table = pd.DataFrame(rows)
    return table if table["GAN epochs"].any() else table.drop(columns="GAN epochs")


def draw(results: pd.DataFrame, measure: str, path: Path) -> None:
    """Bars of the latents, a row of panels for each method and a column for each factor."""
    methods, factors = results["method"].unique(), results["factor"].unique()
    size = (2.4 * len(factors) + 1, 1.3 * len(methods) + 0.6)
    fig, axes = plt.subplots(
        len(methods), len(factors), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for (row, method), (column, factor) in product(enumerate(methods), enumerate(factors)):
        ax, values = axes[row, column], results.query("method == @method and factor == @factor")
        ax.bar(values["latent"], values[measure])
        if values[measure].isna().all():
            ax.text(0.5, 0.5, "no order", transform=ax.transAxes, ha="center")
        ax.set(
            ylim=(0, 1.05),
            xticks=values["latent"],
            title=factor if row == 0 else "",
            xlabel="latent" if row == len(methods) - 1 else "",
        )
        if column == 0:
            ax.set_ylabel(method.replace(", ", ",\n"), fontsize=8)
    fig.suptitle(f"{measure}, {path.stem}")
    fig.savefig(path, dpi=150)
    plt.close(fig)


if __name__ == "__main__":
    main()
