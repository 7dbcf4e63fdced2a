"""Tables 1 to 4 of the paper: ours beside the published values.

    python reproduction/tables.py 1 [--real ../shared/data] [--seeds 0 1 2 3 4] [--epochs 1000] [--quick]

1  disentanglement of 10 latents of cells on two paths (Splatter)
2  the same with 4 latents
3  disentanglement of 10 latents of branching trajectories (PROSSTT)
4  rank correlation of latents and of what is generated from them with the factors (Splatter)

The cells are simulated, as many as in the paper and anew for each seed, or read from files of the original simulators
(--real). The defaults are the paper's: five seeds, 1,000 epochs in minibatches of 128 cells (32 for the GANs), the beta of
each set. --quick takes a fifth of the cells, a single seed and few epochs. Every run is kept in FOLDER/table_N.csv as soon
as it is done, and not run again; latents and generated cells are kept, too, and shared by the tables (and by
figures_1_4.py). Without a seed (--seeds with nothing after it), nothing is run and the results so far are printed.

The plot beside it, FOLDER/table_N_CELLS.png, has each seed as a point and the paper's value as a line.

No methods of the paper, and only run when named (--methods): "VAE, KL x 4" and "VAE, KL x 16" weigh the KL divergence of a
VAE; "beta-TCVAE, best of 2" is the one of lower total correlation, which knows no factor, of two trainings on the same cells.

Minutes are those of the processor, all cores together, for training alone. The Spearman gap of a GAN is that of the
latents that cells were generated from with the factors of their three nearest real cells. "Spearman gap, its latents" is
what the same latents, samples or means, have with the factors of the cells that they are of: what a generator that obeys
them perfectly would have.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scvi
from _cells import PROSSTT, SPLATTER, pancreas, simulated_cells
from _runs import is_kept, keep, keep_arrays, kept, markdown, mean_and_spread, name_of, obeyed, quiet, whole
from anndata import AnnData, read_h5ad

from scmichigan import CWGANGP, PPCA, WGANGP, BetaTCVAE, InfoWGANGP, MichiGAN, SemiSupervisedInfoWGANGP, metrics

HERE = Path(__file__).parent
LATENT = "X_michigan"
LATENTS = ("PCA", "VAE", "beta-TCVAE")
# No rows of the paper: what a VAE makes of cells whose noise weighs less in its loss.
WEIGHTS_OF_KL = {"VAE, KL x 4": 4.0, "VAE, KL x 16": 16.0}
BEST_OF = {"beta-TCVAE, best of 2": 2}
_SEEDS_APART = 1000
REAL_CELLS = "pancreas"
DISENTANGLEMENT = {
    "Spearman gap": lambda z, factors, var, seed: metrics.spearman_gap(metrics.spearman_correlation(z, factors)),
    "FactorVAE metric": lambda z, factors, var, seed: metrics.factor_vae_score(z, factors, seed=seed),
    "FactorVAE metric, 2 cells a vote": lambda z, factors, var, seed: metrics.factor_vae_score(
        z, factors, n_cells_per_vote=2, seed=seed
    ),
    "MIG": lambda z, factors, var, seed: metrics.mutual_information_gap(
        metrics.mutual_information(z, factors, var=var, seed=seed)
    ),
    "DCI disentanglement": lambda z, factors, var, seed: metrics.dci(z, factors, seed=seed).disentanglement,
    "SAP": lambda z, factors, var, seed: metrics.sap(z, factors, seed=seed),
}


@dataclass(frozen=True)
class Table:
    """Data sets with the beta of each, latents, factors, methods and the metrics that are shown."""

    betas: dict[str, float]
    factors: list[str]
    n_latent: int = 10
    methods: tuple[str, ...] = LATENTS
    shown: tuple[str, ...] = tuple(DISENTANGLEMENT)


@dataclass(frozen=True)
class Gan:
    """A GAN with the arguments that differ from its defaults, its latent, sampled or means, and whether as published."""

    model: type
    arguments: dict[str, Any] = field(default_factory=dict)
    latent: str | None = "beta-TCVAE"
    sampled: bool = True
    published: bool = True


GANS = {
    "MichiGAN, our settings": Gan(MichiGAN, published=False),
    "MichiGAN, means, our settings": Gan(MichiGAN, sampled=False, published=False),
    "MichiGAN-VAE, our settings": Gan(MichiGAN, latent="VAE", published=False),
    "MichiGAN-PCA, our settings": Gan(MichiGAN, latent="PCA", published=False),
    "MichiGAN": Gan(MichiGAN, {"preset": "paper"}),
    "MichiGAN, means": Gan(MichiGAN, {"preset": "paper"}, sampled=False),
    "MichiGAN-PCA": Gan(MichiGAN, {"preset": "paper"}, latent="PCA"),
    "WGAN-GP": Gan(WGANGP, {"n_latent": 10}, latent=None),
    "InfoWGAN-GP": Gan(InfoWGANGP, latent=None),
    "ssInfoWGAN-GP": Gan(SemiSupervisedInfoWGANGP),
    "CWGAN-GP": Gan(CWGANGP),
}
TABLES = {
    1: Table({"linear": 10, "non-linear": 10}, SPLATTER),
    2: Table({"linear": 5, "non-linear": 10}, SPLATTER, n_latent=4),
    3: Table({f"{n} trajectories": 50 for n in (3, 4, 5)}, PROSSTT, shown=tuple(DISENTANGLEMENT)[1:]),
    4: Table(
        {"linear": 10, "non-linear": 10},
        SPLATTER,
        methods=(*LATENTS, *GANS),
        shown=(
            "Spearman gap",
            "Spearman gap, its latents",
            "MIG, nearest neighbours",
            "obedience",
            "obedience, real cells",
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=int, choices=TABLES)
    parser.add_argument("--real", type=Path, help="folder with files of the original simulators")
    parser.add_argument("--data", nargs="+", help="data sets, all of the table by default")
    parser.add_argument("--methods", nargs="+", help="methods, all of the table by default")
    parser.add_argument("--seeds", type=int, nargs="*", help="0 to 4 by default")
    parser.add_argument("--epochs", type=int, help="of the latents, 1,000 by default")
    parser.add_argument("--gan-epochs", type=int, help="of the GANs as published, 1,000 by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if args.seeds is None:
        args.seeds = [0] if args.quick else [0, 1, 2, 3, 4]
    if args.epochs is None:
        args.epochs = 60 if args.quick else 1000
    if args.gan_epochs is None:
        args.gan_epochs = 10 if args.quick else 1000
    quiet()

    table, path = TABLES[args.table], args.folder / f"table_{args.table}.csv"
    for name, known in (("data", table.betas), ("methods", (*table.methods, *WEIGHTS_OF_KL, *BEST_OF))):
        unknown = [given for given in getattr(args, name) or () if given not in known]
        if unknown:
            parser.error(f"table {args.table} has no {name} {unknown}; choose from {list(known)}")
    runs = [
        (seed, data, method)
        for seed in args.seeds
        for data in args.data or table.betas
        for method in args.methods or table.methods
    ]
    for number, (seed, data, method) in enumerate(runs, 1):
        run = describe(args, data, method, seed)
        if is_kept(kept(path), run):
            continue
        print(f"{number} of {len(runs)}: {method} on {run['cells']} {data} cells, seed {seed}", flush=True)
        values = measure(args, table, data, method, seed)
        keep(path, run | values)
        print("    " + ", ".join(f"{name} {values[name]:.3f}" for name in table.shown if name in values), flush=True)
    if path.exists():
        print("\n" + markdown(summary(kept(path), args.table, table.shown)))
        draw(kept(path), args.table, table.shown, path.with_suffix(".png"))
    else:
        print(f"no results in {path}; those that were measured: --folder {HERE / 'measured'}")


def describe(args: argparse.Namespace, data: str, method: str, seed: int) -> dict[str, object]:
    """What tells a run from others."""
    epochs = 0 if method == "PCA" else args.epochs
    gan = GANS.get(method)
    if data == REAL_CELLS:
        cells = "real"
    else:
        cells = "original" if args.real is not None else "quick" if args.quick else "simulated"
    return {
        "cells": cells,
        "data": data,
        "method": method,
        "epochs": epochs,
        "GAN epochs": args.gan_epochs if gan is not None and (gan.published or args.quick) else 0,
        "seed": seed,
    }


def measure(args: argparse.Namespace, table: Table, data: str, method: str, seed: int) -> dict[str, float]:
    cells = load(data, args.real, args.quick, seed)
    if method not in GANS:
        mean, var, minutes = latent_of(args, table, data, method, seed)
        judged = {
            name: metric(mean, cells.obs[table.factors], var, seed)
            for name, metric in DISENTANGLEMENT.items()
            if name in table.shown
        }
        return {"minutes": minutes} | judged
    gan = GANS[method]
    generated = generated_by(args, table, data, method, seed)
    judged = metrics.generator_disentanglement(
        cells, generated, keys=table.factors, seed=seed, enable_progress_bar=False
    )
    values = generated.uns["training"] | judged[LATENT].to_dict()
    if gan.latent is not None:
        asked, var, _ = latent_of(args, table, data, gan.latent, seed)
        if gan.sampled:
            asked = np.random.default_rng(seed).normal(asked, np.sqrt(var))
        correlation = metrics.spearman_correlation(asked, cells.obs[table.factors])
        values["Spearman gap, its latents"] = metrics.spearman_gap(correlation)
    return values


@lru_cache(maxsize=2)
def load(data: str, folder: Path | None, quick: bool, seed: int) -> AnnData:
    return pancreas() if data == REAL_CELLS else simulated_cells(data, folder, quick=quick, seed=seed)


def latent_of(
    args: argparse.Namespace, table: Table, data: str, method: str, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Means and variances of a latent of the table, and the minutes that it took."""
    if method in BEST_OF:
        fits = [
            fitted_latent(args, data, "beta-TCVAE", table.n_latent, table.betas[data], seed, again=again)
            for again in range(BEST_OF[method])
        ]
        mean, var, _ = min(fits, key=lambda fit: metrics.total_correlation(*fit[:2], seed=seed))
        return mean, var, sum(minutes for *_, minutes in fits)
    return fitted_latent(args, data, method, table.n_latent, table.betas[data] if method == "beta-TCVAE" else 0, seed)


def fitted_latent(
    args: argparse.Namespace, data: str, method: str, n_latent: int, beta: float, seed: int, *, again: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Means and variances of any latent, and the minutes that it took; ``again`` is a further training on the same cells."""
    run = describe(args, data, method, seed)
    parts = [run["cells"], data, method, n_latent, beta, run["epochs"], seed, *([f"again-{again}"] if again else [])]
    path = args.folder / "latents" / f"{name_of(parts)}.npz"
    if not path.exists():
        cells = load(data, args.real, args.quick, seed).copy()
        start = time.process_time()
        scvi.settings.seed = seed + _SEEDS_APART * again
        if method == "PCA":
            PPCA.setup_anndata(cells)
            model = PPCA(cells, n_latent=n_latent)
            model.train(seed=seed)
        else:
            BetaTCVAE.setup_anndata(cells)
            model = BetaTCVAE(cells, n_latent=n_latent, beta=beta, kl_weight=WEIGHTS_OF_KL.get(method, 1.0))
            model.train(args.epochs, train_size=1.0, **on_terminal())
        mean, var = model.get_latent_representation(return_dist=True)
        keep_arrays(path, mean=mean, var=var, minutes=(time.process_time() - start) / 60)
    latent = np.load(path)
    return latent["mean"], latent["var"], float(latent["minutes"])


def generated_by(args: argparse.Namespace, table: Table, data: str, method: str, seed: int) -> AnnData:
    """As many cells of a GAN as there are real ones; its minutes, beside those of its latent, and obedience in uns."""
    run, gan, cells = describe(args, data, method, seed), GANS[method], load(data, args.real, args.quick, seed).copy()
    path = args.folder / "generated" / f"{name_of(run.values())}.h5ad"
    if not path.exists():
        setup = {}
        if gan.latent is not None:
            cells.obsm["Z"], cells.obsm["V"], _ = latent_of(args, table, data, gan.latent, seed)
            setup = {"latent_key": "Z"} | ({"latent_var_key": "V"} if gan.sampled else {})
        start = time.process_time()
        scvi.settings.seed = seed
        gan.model.setup_anndata(cells, **setup)
        model = gan.model(cells, **gan.arguments)
        model.train(args.gan_epochs if gan.published or args.quick else None, **on_terminal())
        minutes = (time.process_time() - start) / 60
        generated = model.generate(cells.n_obs, seed=seed)
        of_model = obeyed(model, seed) if hasattr(model, "obedience") else {}
        generated.uns = {"training": {"minutes": minutes} | of_model}
        with whole(path) as part:
            generated.write_h5ad(part, compression="gzip")
    return read_h5ad(path)


def on_terminal() -> dict[str, bool]:
    return {"enable_progress_bar": sys.stderr.isatty()}


def summary(results: pd.DataFrame, number: int, shown: tuple[str, ...]) -> pd.DataFrame:
    """Means of the seeds with their standard deviations and, in brackets, the paper's and the difference."""
    published = pd.read_csv(HERE / "published.csv").query("table == @number").set_index(["data", "method", "metric"])
    rows = []
    settings = ["cells", "data", "method", "epochs", "GAN epochs"]
    for key, runs in results.groupby(settings, sort=False):
        row = dict(zip(settings, key, strict=True)) | {"seeds": len(runs)}
        for metric in shown:
            row[metric] = _beside(runs.get(metric, pd.Series(dtype=float)), published, (*key[1:3], metric))
        rows.append(row | {"minutes": f"{runs['minutes'].mean():.1f}"})
    table = pd.DataFrame(rows).sort_values(["cells", "data"], kind="stable")
    return table if table["GAN epochs"].any() else table.drop(columns="GAN epochs")


def draw(results: pd.DataFrame, number: int, shown: tuple[str, ...], path: Path) -> None:
    """Values of all seeds as points, one panel a data set and metric, and the paper's as lines."""
    published = pd.read_csv(HERE / "published.csv").query("table == @number").set_index(["data", "method", "metric"])
    metrics_shown = [metric for metric in shown if metric in results]
    for cells, runs in results.groupby("cells", sort=False):
        sets, methods = runs["data"].unique(), list(runs["method"].unique())
        size = (1 + (0.5 + 0.35 * len(methods)) * len(metrics_shown), 2.2 * len(sets))
        fig, axes = plt.subplots(
            len(sets), len(metrics_shown), figsize=size, sharex=True, sharey="col", squeeze=False, layout="constrained"
        )
        for (row, data), (column, metric) in product(enumerate(sets), enumerate(metrics_shown)):
            ax, of_set = axes[row, column], runs.query("data == @data")
            ax.plot(of_set["method"].map(methods.index), of_set[metric], "o", alpha=0.6)
            for place, method in enumerate(methods):
                if (data, method, metric) in published.index:
                    ax.hlines(published.loc[(data, method, metric), "mean"], place - 0.35, place + 0.35, color="black")
            ax.set(xticks=range(len(methods)), xlim=(-0.6, len(methods) - 0.4), ylim=(0, 1.05))
            ax.set_xticklabels(methods, rotation=60, ha="right")
            if row == 0:
                ax.set_title(metric.replace(", ", ",\n"), fontsize=9)
            if column == 0:
                ax.set_ylabel(data)
        fig.savefig(path.with_stem(f"{path.stem}_{cells}"), dpi=150)
        plt.close(fig)


def _beside(values: pd.Series, published: pd.DataFrame, key: tuple[str, str, str]) -> str:
    ours = mean_and_spread(values, 2)
    if not ours or key not in published.index:
        return ours
    paper = published.loc[key, "mean"]
    return f"{ours} ({paper:.2f}, {values.mean() - paper:+.2f})"


if __name__ == "__main__":
    main()
