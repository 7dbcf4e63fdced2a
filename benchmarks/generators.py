"""How real cells of the generator are: real cells, the closed-form start, the trained generator and the published one.

    python benchmarks/generators.py DATA.h5ad [--size-factor-key total_counts] [--seeds 0 1 2]

Half of the cells are held out of everything (gene selection, latent, generator) and the other half is trained on: a
beta-TCVAE gives the latents of all generators, and the published generator has the wall time that ours took. Cells
generated from the training cells' latents are then told from the held-out cells by a random forest, on genes and on
50 principal components. These are fitted on the held-out cells, as in the paper, which gives away even real cells: the
row of real training cells says how much.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
from anndata import AnnData, read_h5ad
from sklearn.preprocessing import StandardScaler

from scmichigan import BetaTCVAE, MichiGAN, metrics


def halves(adata: AnnData, size_factor_key: str, n_genes: int, seed: int) -> tuple[AnnData, AnnData]:
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    train, held_out = adata[order[::2]].copy(), adata[order[1::2]].copy()
    BetaTCVAE.setup_anndata(train, size_factor_key=size_factor_key)
    variance = StandardScaler(with_mean=False).fit(BetaTCVAE(train, n_latent=1).get_normalized_expression()).var_
    genes = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
    return train[:, genes].copy(), held_out[:, genes].copy()


def judge(held_out: np.ndarray, cells: np.ndarray, *, n_trees: int, seed: int) -> dict[str, float]:
    forest = {"n_cells": 2000, "n_trees": n_trees, "seed": seed, "n_jobs": -1}
    on_genes = metrics.discriminate(held_out, cells, n_components=None, **forest)
    on_pcs = metrics.discriminate(held_out, cells, **forest)
    agreement = metrics.gene_agreement(held_out, cells)
    return {
        "AUROC on genes": on_genes.auroc,
        "AUROC on 50 PCs": on_pcs.auroc,
        "error on 50 PCs": on_pcs.error,
        "zeros": float(agreement["zero_fraction_generated"]),
        "R2 of variances": float(agreement["r2_variance"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--size-factor-key")
    parser.add_argument("--n-genes", type=int, default=2000)
    parser.add_argument("--n-trees", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--skip-paper", action="store_true", help="leave the published generator out")
    args = parser.parse_args()

    adata = read_h5ad(args.data)
    if args.size_factor_key is None:
        args.size_factor_key = "total"
        adata.obs["total"] = np.asarray(adata.X.sum(axis=1)).ravel()
    rows = []
    for seed in args.seeds:
        train, held_out = halves(adata, args.size_factor_key, args.n_genes, seed)
        scvi.settings.seed = seed
        start = time.perf_counter()
        BetaTCVAE.setup_anndata(train, size_factor_key=args.size_factor_key)
        latent = BetaTCVAE(train)
        latent.train(train_size=1.0, enable_progress_bar=False)
        train.obsm["Z"], train.obsm["V"] = latent.get_latent_representation(return_dist=True)
        print(f"seed {seed}: latents after {time.perf_counter() - start:.0f} s", flush=True)
        MichiGAN.setup_anndata(train, size_factor_key=args.size_factor_key, latent_key="Z", latent_var_key="V")
        real = latent.get_normalized_expression(held_out)
        real = real.toarray() if sp.issparse(real) else real

        def add(name: str, cells: np.ndarray, seconds: float, *, real=real, seed=seed) -> None:
            rows.append({"seed": seed, "cells": name, "seconds": round(seconds)})
            rows[-1] |= judge(real, cells, n_trees=args.n_trees, seed=seed)
            print({name: round(v, 3) if isinstance(v, float) else v for name, v in rows[-1].items()}, flush=True)

        seen = latent.get_normalized_expression()
        add("real, trained on", seen.toarray() if sp.issparse(seen) else seen, 0)
        model = MichiGAN(train)
        seconds = 0.0
        for name, settings in (("closed-form start", {"max_epochs": 0}), ("trained", {})):
            start = time.perf_counter()
            model.train(**settings, enable_progress_bar=False)
            seconds += time.perf_counter() - start
            add(name, model.generate(len(real), seed=seed).X, seconds)
        if not args.skip_paper:
            paper = MichiGAN(train, preset="paper")
            paper.train(max_epochs=10**6, max_time={"seconds": seconds}, enable_progress_bar=False)
            add("as published, same time", paper.generate(len(real), seed=seed).X, seconds)
        print(f"zeros of held-out cells: {(real == 0).mean():.3f}", flush=True)
    table = pd.DataFrame(rows).drop(columns="seed")
    order = table["cells"].unique()
    print(table.groupby("cells").agg(["mean", "min", "max"]).loc[order].round(3).to_string())


if __name__ == "__main__":
    main()
