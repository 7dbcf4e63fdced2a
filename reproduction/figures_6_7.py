r"""Figures 6, 7 and S15 of the paper: predictions of unseen combinations, and what they owe to the latent arithmetic.

    python reproduction/figures_6_7.py [--data celllines_crispr] [--preset paper] [--beta 100] [--folder FOLDER] [--quick]

First round (Figures 6 and 7a): three combinations, one of each of three cell types, are hidden from a beta-TCVAE and
from two MichiGANs on its latents, posterior means and samples. Every combination, hidden or not, is predicted from each
cell type that was seen with its treatment, by the decoder and by MichiGAN from the same arithmetic. Where the error of a
random forest that tells predicted from real cells is larger for MichiGAN, its cells are better (one-sided Wilcoxon
test); delta H, the difference of the latent entropies of predicted and of real cells, is put beside this gain. Second
round (Figures 7b and 7c): the same with the three combinations hidden that had the lowest delta H.

Genes, latents and generators are those of the training cells. Results are in FOLDER/predictions_N.csv, a row for each
prediction, plots beside it; a round that has its table is not run again. --quick takes few epochs, the default preset
with the generator at its closed form, and 200 cells a side.

The paper's sci-Plex cells are not among the data sets here. From a file with their raw counts and these columns:

    python reproduction/figures_6_7.py --data SCIPLEX.h5ad --factors cell_type condition \
        --size-factor-key total_counts --hold-out A549,S1628 K562,S1096 MCF7,S7259

With --beta 0, a VAE takes the place of the beta-TCVAE (Figure S15).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
import scvi
from _runs import data_file, quiet, whole
from anndata import AnnData, read_h5ad
from scipy.stats import pearsonr, wilcoxon
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import scmichigan as mg

HERE = Path(__file__).parent
SETS = {"celllines_crispr": ("ncounts", 500), "kang_pbmc_ifnb": ("total_counts", 2000)}
KINDS = ("mean", "sample")
GAN = "MichiGAN"
LEAST_CELLS = 20
ARITHMETIC = {"weights": "equal", "residual": "fresh"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="celllines_crispr", help=f"{', '.join(SETS)} or a file")
    parser.add_argument("--factors", nargs=2, default=["cell_type", "condition"], help="columns: cell type, treatment")
    parser.add_argument("--size-factor-key")
    parser.add_argument("--genes", type=int)
    parser.add_argument("--hold-out", nargs="+", help="cell type,treatment; three at random by default")
    parser.add_argument("--preset", choices=["paper", "default"], default="paper")
    parser.add_argument("--beta", type=float, default=100.0)
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="results/figures_6_7 by default, or figure_S15 with beta 0")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    quiet()
    if args.quick:
        args.preset, args.trees = "default", 20

    args.decoder, figure = ("beta-TCVAE", "figures_6_7") if args.beta else ("VAE", "figure_S15")
    args.folder = args.folder or HERE / "results" / figure
    adata, args.size_factor_key, args.genes = load(args)
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.hold_out:
        hidden = [tuple(pair.split(",")) for pair in args.hold_out]
    else:
        hidden = one_of_each_type(adata, args)
    for number in (1, 2):
        path = args.folder / f"predictions_{number}.csv"
        if not path.exists():
            print(f"round {number}: {', '.join(map(' '.join, hidden))} hidden", flush=True)
            with whole(path) as part:
                predict_each(adata, hidden, args, number).to_csv(part, index=False)
        table = pd.read_csv(path, dtype=dict.fromkeys(args.factors, str))
        show(table, args.decoder, number, args.folder)
        by_entropy = table[table["latent"] == "sample"].groupby(args.factors)["delta H"].mean().sort_values()
        hidden = predictable_together(adata, by_entropy.index, args)


def load(args: argparse.Namespace) -> tuple[AnnData, str | None, int]:
    """Cells of combinations with enough of them, the column of their totals, and how many genes to take."""
    size_factor_key, n_genes = SETS.get(args.data, (None, 2000))
    adata = data_file(args.data) if args.data in SETS else read_h5ad(args.data)
    for factor in args.factors:
        adata.obs[factor] = adata.obs[factor].astype(str)
    several = adata.obs.groupby(args.factors[1])[args.factors[0]].transform("nunique") > 1
    enough = adata.obs.groupby(args.factors)[args.factors[0]].transform("size") >= LEAST_CELLS
    return adata[several & enough].copy(), args.size_factor_key or size_factor_key, args.genes or n_genes


def one_of_each_type(adata: AnnData, args: argparse.Namespace) -> list[tuple[str, str]]:
    """Combinations at random; of other types and treatments, if there are any."""
    shuffled = adata.obs[args.factors].drop_duplicates().sample(frac=1, random_state=args.seed)
    shuffled = list(shuffled.itertuples(index=False, name=None))
    apart: list[tuple[str, str]] = []
    for pair in shuffled:
        if not any(pair[0] == other[0] or pair[1] == other[1] for other in apart):
            apart.append(pair)
    return predictable_together(adata, [*apart, *shuffled], args)


def predictable_together(adata: AnnData, ordered: Any, args: argparse.Namespace) -> list[tuple[str, str]]:
    """The first three that can be predicted from the combinations that are left."""
    left = adata.obs[args.factors].drop_duplicates()
    chosen = []
    for pair in dict.fromkeys(map(tuple, ordered)):
        without = left[(left != pair).any(axis=1)]
        if all(usable_references(without, each, args.factors) for each in (*chosen, pair)):
            left = without
            chosen.append(pair)
        if len(chosen) == 3:
            return chosen
    raise SystemExit(f"no three combinations of {' and '.join(args.factors)} can be predicted from all others")


def predict_each(adata: AnnData, hidden: list[tuple[str, str]], args: argparse.Namespace, number: int) -> pd.DataFrame:
    """Hide three combinations from every fit, and predict all, from each cell type that can be started from."""
    is_hidden = np.logical_or.reduce([(adata.obs[args.factors] == pair).all(axis=1) for pair in hidden])
    genes = most_variable(adata[~is_hidden].copy(), args)
    everything, train = adata[:, genes].copy(), adata[~is_hidden, genes].copy()
    setup = {"size_factor_key": args.size_factor_key}
    scvi.settings.seed = args.seed
    mg.BetaTCVAE.setup_anndata(train, **setup)
    vae = mg.BetaTCVAE(train, beta=args.beta)
    vae.train(20 if args.quick else 1000, train_size=1.0, enable_progress_bar=True)
    train.obsm["Z"], train.obsm["V"] = vae.get_latent_representation(return_dist=True)
    posterior = vae.get_latent_representation(everything, return_dist=True)
    x = vae.get_normalized_expression(everything)
    basis = PCA(min(50, len(genes) - 1), random_state=args.seed).fit(vae.get_normalized_expression())
    mg.MichiGAN.setup_anndata(train, **setup, latent_key="Z", latent_var_key="V")
    rows = []
    for kind in KINDS:
        scvi.settings.seed = args.seed
        model = mg.MichiGAN(train, preset=args.preset, latent_sampling=kind)
        model.train(0 if args.quick else None, enable_progress_bar=True)
        for pair, of_pair in everything.obs.groupby(args.factors).indices.items():
            encoded = posterior[0][of_pair]
            if kind == "sample":
                rng = np.random.default_rng(args.seed)
                encoded = encoded + np.sqrt(posterior[1][of_pair]) * rng.standard_normal(encoded.shape)
            for reference in usable_references(train.obs, pair, args.factors):
                target = dict(zip(args.factors, pair, strict=True))
                cells = model.predict_combination(
                    target, along=args.factors[0], references=[reference], seed=args.seed, **ARITHMETIC
                )
                latent = cells.obsm["X_michigan"]
                of_forest = {"basis": basis, "n_cells": 200 if args.quick else 3000, "n_trees": args.trees}
                both = {GAN: cells, args.decoder: vae.generate(latent=latent, seed=args.seed)}
                errors = {
                    f"error, {name}": mg.metrics.random_forest_error(x[of_pair], made.X, **of_forest, seed=args.seed)
                    for name, made in both.items()
                }
                entropy = mg.metrics.delta_entropy(encoded, latent, mean=train.obsm["Z"], var=train.obsm["V"])
                row = target | {"reference": reference, "hidden": pair in hidden, "latent": kind, "delta H": entropy}
                rows.append(row | errors)
                print(f"    {' '.join(pair)} from {reference}, {kind}: {errors}", flush=True)
                if pair in hidden and kind == "sample":
                    control = x[everything.obs.groupby(args.factors).indices[reference, pair[1]]]
                    name = f"round_{number}_{'_'.join(pair)}_from_{reference}.png".replace("/", "_").replace(" ", "_")
                    mg.pl.prediction(x[of_pair], cells.X, control, n_cells=500, save=args.folder / name)
    return pd.DataFrame(rows)


def most_variable(train: AnnData, args: argparse.Namespace) -> np.ndarray:
    mg.BetaTCVAE.setup_anndata(train, size_factor_key=args.size_factor_key)
    x = mg.BetaTCVAE(train, n_latent=1).get_normalized_expression()
    return np.sort(np.argsort(-StandardScaler(with_mean=False).fit(x).var_, kind="stable")[: args.genes])


def usable_references(obs: pd.DataFrame, pair: tuple[str, str], factors: list[str]) -> list[str]:
    """Cell types that were seen with the treatment, and with another one that the target's type was seen with, too."""
    seen = obs[factors].drop_duplicates()
    treatments = {t: set(group[factors[1]]) for t, group in seen.groupby(factors[0])}
    own = treatments.get(pair[0], set()) - {pair[1]}
    return [t for t, theirs in treatments.items() if t != pair[0] and pair[1] in theirs and own & theirs]


def show(table: pd.DataFrame, decoder: str, number: int, folder: Path) -> None:
    """Print the tests, and draw errors beside errors and gains beside delta H."""
    for kind in KINDS:
        part = table[table["latent"] == kind]
        ours, theirs = part[f"error, {GAN}"], part[f"error, {decoder}"]
        gain = ours - theirs
        p = wilcoxon(ours, theirs, alternative="greater").pvalue if gain.any() else np.nan
        correlation, p_correlation = pearsonr(part["delta H"], gain)
        print(
            f"round {number}, {kind}: random forest error {ours.mean():.3f} ({GAN}) and {theirs.mean():.3f} ({decoder}) over "
            f"{len(part)} predictions, p = {p:.2g}; of the hidden ones {ours[part['hidden']].mean():.3f} and "
            f"{theirs[part['hidden']].mean():.3f}; gain with delta H: r = {correlation:.2f}, p = {p_correlation:.2g}"
        )
        path = folder / f"round_{number}_{kind}.png"
        mg.pl.prediction_gain(ours, theirs, part["delta H"], hidden=part["hidden"], names=(GAN, decoder), save=path)


if __name__ == "__main__":
    main()
