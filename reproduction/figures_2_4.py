"""Figures 2, 4c, 4d and S13c of the paper: how real the cells of each model are while it is trained.

    python reproduction/figures_2_4.py [--data SET ...] [--seeds 0 1 2 3 4] [--epochs 1000] [--folder FOLDER] [--quick]

Half of the cells are trained on, and generated cells are compared with the other half: the error of a random forest on 50
principal components of the real cells, and the inception score by a forest that knows their types. The row of real cells
has those that were trained on in place of generated ones; an error beyond theirs says nothing. (In the paper, real
cells are those that were trained on.) Beside them are the area under the ROC curve of such a forest on genes, the energy
distance, which differs even where the forest's errors are all near 0, and the latent recovery.

VAEs and GANs as published are judged after every --every epochs, MichiGAN with this package's settings at its start and
after its training. MichiGANs have the latents of the beta-TCVAE of the same seed.

Decoders give the mean of each cell, as `BetaTCVAE.generate` does, and PCA and GMM add noise to each gene, which the paper
does not say of its own. The column "noise exchanged" has the forest's error the other way round: PCA and GMM within their
principal components, and decoders with normal noise of the variance of each gene that they leave out. GMM is fitted to 50
principal components, and once more to ten, as many as PCA has and a VAE has latents.

Results are in FOLDER/figures_2_4.csv, a plot beside it; a method that has all its rows is not run again. Without a seed
(--seeds with nothing after it), nothing is run and the results so far are shown.

Sets: tabula_muris_heart_10x and pancreas_endocrinogenesis are files in the data folder (SCMICHIGAN_DATA); tabula_muris and
tabula_muris_heart are downloaded (datasets.tabula_muris). --quick takes 100 epochs, one seed and 100 trees.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scvi
from _runs import data_file, is_kept, keep, keep_arrays, kept, markdown, mean_and_spread, quiet, recovered
from anndata import AnnData
from sklearn.decomposition import PCA

from scmichigan import GMM, PPCA, WGANGP, BetaTCVAE, MichiGAN, datasets, metrics

HERE = Path(__file__).parent
# Column of the labels, of the totals, and the paper's beta.
SETS = {
    "tabula_muris_heart_10x": ("cell_type", "library_size", 100),
    "pancreas_endocrinogenesis": ("clusters", "nCount_spliced", 50),
    "tabula_muris_heart": ("cell_type", "total_counts", 100),
    "tabula_muris": ("cell_type", "total_counts", 100),
}
REAL = "real cells"
# Real cells have the model whose expression they are compared in.
CLOSED_FORM = {REAL: (PPCA, {}), "PCA": (PPCA, {}), "GMM": (GMM, {}), "GMM, 10 PCs": (GMM, {"n_pcs": 10})}
VAES = ("VAE", "beta-TCVAE")
AS_PUBLISHED = ("WGAN-GP", "MichiGAN")
METHODS = (*CLOSED_FORM, *VAES, *AS_PUBLISHED, "MichiGAN, our settings")
MEASURES = (
    "random forest error",
    "random forest error, noise exchanged",
    "inception score",
    "inception score, real",
    "AUROC on genes",
    "E-distance",
    "latent recovery",
    "latent recovery, real cells",
)
NO_LATENT = {"latent recovery": np.nan, "latent recovery, real cells": np.nan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS)[:2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="*", help="0 to 4 by default")
    parser.add_argument("--epochs", type=int, help="of VAEs and of GANs as published, 1,000 by default")
    parser.add_argument("--every", type=int, help="epochs between two looks, a tenth of all by default")
    parser.add_argument("--trees", type=int, help="1,000 by default")
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.seeds is None:
        args.seeds = [0] if args.quick else [0, 1, 2, 3, 4]
    args.epochs = args.epochs or (100 if args.quick else 1000)
    args.every = args.every or max(1, args.epochs // 10)
    args.trees = args.trees or (100 if args.quick else 1000)
    quiet()

    path = args.folder / "figures_2_4.csv"
    for seed in args.seeds:
        for data in args.data:
            waiting = [
                m for m in args.methods if not is_kept(kept(path), {**describe(args, data, m, seed), "last": True})
            ]
            if waiting:
                halves = load(data, seed)
            for method in waiting:
                run_one(args, path, data, method, seed, *halves)
    if path.exists():
        # A run that was stopped on its way has begun anew.
        results = kept(path).drop_duplicates(["data", "method", "epochs", "trees", "seed", "epoch"], keep="last")
        print("\n" + markdown(summary(results)))
        draw(results, path.with_suffix(".png"))


def describe(args: argparse.Namespace, data: str, method: str, seed: int) -> dict[str, object]:
    """What tells a run from others."""
    return {
        "data": data,
        "method": method,
        "epochs": 0 if method in CLOSED_FORM else args.epochs,
        "trees": args.trees,
        "seed": seed,
    }


def load(data: str, seed: int) -> tuple[AnnData, AnnData]:
    """Cells to train on, and cells to compare with."""
    if data.endswith(("_10x", "_endocrinogenesis")):
        adata = data_file(data)
    else:
        adata = getattr(datasets, data)()
    adata = adata[adata.obs[SETS[data][0]].notna()]
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    return adata[order[::2]].copy(), adata[order[1::2]].copy()


def run_one(
    args: argparse.Namespace, path: Path, data: str, method: str, seed: int, train: AnnData, held_out: AnnData
) -> None:
    """Fit a method, and keep how real its cells are on the way."""
    run = describe(args, data, method, seed)
    print(f"{method} on {data}, seed {seed}", flush=True)
    scvi.settings.seed = seed
    labels, size_factor_key, beta = SETS[data]
    if method.startswith("MichiGAN"):
        train = with_latents(args, data, seed, train)
    for epoch, is_last, model, minutes in fits(args, method, train, size_factor_key, beta):
        if method == "beta-TCVAE" and is_last:
            keep_latents(args, data, seed, model)
        real = model.get_observed_expression(held_out)
        cells = model.get_observed_expression() if method == REAL else model.generate(held_out.n_obs, seed=seed).X
        forest = {"n_trees": args.trees, "seed": seed}
        inception = metrics.inception_score(real, cells, labels=held_out.obs[labels], **forest)
        row = {
            "epoch": epoch,
            "last": is_last,
            "minutes": minutes,
            "random forest error": metrics.random_forest_error(real, cells, **forest),
            "random forest error, noise exchanged": np.nan
            if method not in (*CLOSED_FORM, *VAES) or method == REAL
            else metrics.random_forest_error(real, noise_exchanged(model, cells, seed), **forest),
            "inception score": inception.generated,
            "inception score, real": inception.real,
            "AUROC on genes": metrics.discriminate(real, cells, n_components=None, **forest).auroc,
            "E-distance": metrics.e_distance(real, cells, seed=seed),
            **(recovered(model, seed) if isinstance(model, MichiGAN) else NO_LATENT),
        }
        keep(path, run | row)
        print(f"    epoch {epoch}: " + ", ".join(f"{name} {row[name]:.3f}" for name in MEASURES), flush=True)


def fits(
    args: argparse.Namespace, method: str, train: AnnData, size_factor_key: str | None, beta: float
) -> Iterator[tuple[int, bool, Any, float]]:
    """A model after so many epochs, whether these were the last, and the processor's minutes so far."""
    setup = {"size_factor_key": size_factor_key}
    if method in CLOSED_FORM:
        cls, arguments = CLOSED_FORM[method]
    elif method in VAES:
        cls, arguments = BetaTCVAE, {"beta": 0 if method == "VAE" else beta}
    elif method == "WGAN-GP":
        cls, arguments = WGANGP, {}
    else:
        cls, arguments = MichiGAN, {"preset": "paper"} if method in AS_PUBLISHED else {}
        setup |= {"latent_key": "Z", "latent_var_key": "V"}
    cls.setup_anndata(train, **setup)
    model, start = cls(train, **arguments), time.process_time()
    progress = {"enable_progress_bar": sys.stderr.isatty()}
    if cls in (PPCA, GMM):
        model.train(**(progress if cls is GMM else {}))
        yield 0, True, model, (time.process_time() - start) / 60
        return
    if method == "MichiGAN, our settings":
        steps = (0, None)
    else:
        steps = np.diff(np.unique([*range(0, args.epochs, args.every), args.epochs])).tolist()
    spent, epoch = 0.0, 0
    for number, epochs in enumerate(steps, 1):
        start = time.process_time()
        model.train(epochs, **progress, **({"train_size": 1.0} if cls is BetaTCVAE else {}))
        spent += (time.process_time() - start) / 60
        epoch = len(model.history["critic_loss"]) if epochs is None else epoch + epochs
        yield epoch, number == len(steps), model, spent


def noise_exchanged(model: PPCA | GMM | BetaTCVAE, cells: np.ndarray, seed: int) -> np.ndarray:
    """Cells of components without the noise off them, those of a decoder with the noise of each gene that it leaves out."""
    x = model.get_observed_expression().toarray()
    if isinstance(model, BetaTCVAE):
        rng = np.random.default_rng(seed)
        mean, var = model.get_latent_representation(return_dist=True)
        left_ng = x - model.generate(latent=rng.normal(mean, np.sqrt(var)), seed=seed).X
        return cells + rng.normal(0, left_ng.std(axis=0), cells.shape)
    n_components = model.n_latent if isinstance(model, PPCA) else model.n_pcs
    components = PCA(min(n_components, *x.shape), random_state=seed).fit(x)
    return components.inverse_transform(components.transform(cells))


def latents_file(args: argparse.Namespace, data: str, seed: int) -> Path:
    return args.folder / "latents" / f"figures_2_4_{data}_{args.epochs}_{seed}.npz"


def keep_latents(args: argparse.Namespace, data: str, seed: int, model: BetaTCVAE) -> None:
    mean, var = model.get_latent_representation(return_dist=True)
    keep_arrays(latents_file(args, data, seed), mean=mean, var=var)


def with_latents(args: argparse.Namespace, data: str, seed: int, train: AnnData) -> AnnData:
    """The cells with the latents of the beta-TCVAE, which is trained where it was not yet."""
    path = latents_file(args, data, seed)
    if not path.exists():
        _, size_factor_key, beta = SETS[data]
        *_, (_, _, model, _) = fits(args, "beta-TCVAE", train.copy(), size_factor_key, beta)
        keep_latents(args, data, seed, model)
    latent = np.load(path)
    train = train.copy()
    train.obsm["Z"], train.obsm["V"] = latent["mean"], latent["var"]
    return train


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """After the last epoch: means of the seeds, and their standard deviations."""
    groups = results[results["last"]].groupby(["data", "epochs", "trees", "method"], sort=False)
    table = groups[[*MEASURES, "minutes"]].agg(mean_and_spread).assign(seeds=groups.size()).reset_index()
    order = dict(zip(METHODS, range(len(METHODS)), strict=True))
    table["inception score"] += " (real " + table.pop("inception score, real") + ")"
    return table.sort_values(["data", "method"], key=lambda c: c.map(order) if c.name == "method" else c, kind="stable")


def draw(results: pd.DataFrame, path: Path) -> None:
    """Errors and inception scores while models are trained, a column for each set."""
    sets, shown = results["data"].unique(), ("random forest error", "inception score")
    fig, axes = plt.subplots(2, len(sets), figsize=(5 * len(sets) + 2, 6), squeeze=False, layout="constrained")
    colors = dict(zip(METHODS, ["black", *plt.rcParams["axes.prop_cycle"].by_key()["color"]], strict=False))
    for column, data in enumerate(sets):
        for row, measure in enumerate(shown):
            ax = axes[row, column]
            for method, runs in results.query("data == @data").groupby("method", sort=False):
                by_epoch = runs.groupby("epoch")[measure].agg(["mean", "std"])
                style = {"color": colors[method], "label": method}
                if method in CLOSED_FORM:
                    ax.axhline(by_epoch["mean"].iloc[0], linestyle="--", **style)
                elif method not in AS_PUBLISHED and method.startswith("MichiGAN"):
                    # Its epochs are others: what it has after its training.
                    ax.axhline(by_epoch["mean"].iloc[-1], **style)
                else:
                    ax.errorbar(by_epoch.index, by_epoch["mean"], by_epoch["std"].fillna(0), marker="o", **style)
            ax.set(xlabel="epoch", ylabel=measure, title=data if row == 0 else "")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fig.savefig(path, dpi=150)
    plt.close(fig)


if __name__ == "__main__":
    main()
