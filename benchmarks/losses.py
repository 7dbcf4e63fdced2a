"""Losses, norms, penalties and critic steps beside each other, in the same time on the same cells.

    python benchmarks/losses.py DATA.h5ad [DATA2.h5ad ...] --out results.csv [--seconds 120] [--seed 0]

Half of the cells are held out of everything, as in `generators.py`, and the latents are 10 principal components of the other
half with their posterior (probabilistic PCA). All generators have the same networks and start from the same closed form;
each is trained for so many seconds of the processor, on one thread, and a random forest classifies its cells and the
held-out ones, on genes and on 50 principal components. Rows that are in the results already are not run again.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import read_h5ad
from generators import StopAfter, halves, markdown, register_totals

from scmichigan import PPCA, MichiGAN, losses, metrics

WGAN = {"loss": "wgan-gp"}
ROWS = {
    "closed form, no training": ({}, {}),
    "relativistic, R1 + R2 (default)": ({}, {}),
    "relativistic, without components": ({"critic_components": 0}, {}),
    "relativistic, layer norm": ({"critic_norm": "layer"}, {}),
    "relativistic, batch norm": ({"critic_norm": "batch"}, {}),
    "relativistic, slopes at all cells": ({"loss": "relativistic, slopes at all cells"}, {}),
    "relativistic, two critic steps": ({}, {"n_critic": 2}),
    "WGAN-GP": (WGAN, {}),
    "WGAN-GP, layer norm": (WGAN | {"critic_norm": "layer"}, {}),
    "WGAN-GP, batch norm": (WGAN | {"critic_norm": "batch"}, {}),
    "WGAN-GP, one-sided penalty": ({"loss": "WGAN-GP, one-sided penalty"}, {}),
    "WGAN-GP, two critic steps": (WGAN, {"n_critic": 2}),
    "WGAN-GP, five critic steps": (WGAN, {"n_critic": 5}),
}
UNTRAINED = next(iter(ROWS))


def one_sided(slopes: torch.Tensor) -> torch.Tensor:
    """Penalty on slopes above one alone."""
    return (slopes.norm(dim=1) - 1).relu().square().mean()


# Losses that the package does not offer.
losses.ADVERSARIAL_LOSSES |= {
    "relativistic, slopes at all cells": replace(losses.ADVERSARIAL_LOSSES["relativistic"], cells_per_slope=1),
    "WGAN-GP, one-sided penalty": replace(losses.ADVERSARIAL_LOSSES["wgan-gp"], penalty=one_sided),
}


def one_row(train, real: np.ndarray, name: str, args: argparse.Namespace) -> dict[str, float]:
    model_kwargs, plan_kwargs = ROWS[name]
    scvi.settings.seed = args.seed
    model = MichiGAN(train, **model_kwargs)
    if name == UNTRAINED:
        model.train(max_epochs=0)
    else:
        model.train(10**6, plan_kwargs=plan_kwargs, callbacks=[StopAfter(args.seconds)], enable_progress_bar=False)
    cells = model.generate(len(real), seed=args.seed).X
    forest = {"n_cells": 2000, "n_trees": args.n_trees, "seed": args.seed}
    return {
        "AUROC, genes": metrics.discriminate(real, cells, n_components=None, **forest).auroc,
        "AUROC, 50 PCs": metrics.discriminate(real, cells, **forest).auroc,
        "zeros - real": float(np.mean(cells == 0) - np.mean(real == 0)),
        "epochs": 0 if name == UNTRAINED else len(model.history["critic_loss"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--out", required=True, help="CSV file that results are added to")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-genes", type=int, default=2000)
    parser.add_argument("--n-trees", type=int, default=100)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)

    done = set()
    if Path(args.out).exists():
        done = set(map(tuple, pd.read_csv(args.out)[["data", "generator"]].to_numpy()))
    for path in args.data:
        adata = read_h5ad(path)
        totals = register_totals(adata)
        train, held_out = halves(adata, totals, args.n_genes, args.seed)
        PPCA.setup_anndata(train, size_factor_key=totals)
        latent = PPCA(train, n_latent=10)
        latent.train()
        train.obsm["Z"], train.obsm["V"] = latent.get_latent_representation(return_dist=True)
        real = np.asarray(latent.get_observed_expression(held_out).todense())
        MichiGAN.setup_anndata(train, size_factor_key=totals, latent_key="Z", latent_var_key="V")
        for name in ROWS:
            if (Path(path).stem, name) in done:
                continue
            row = {"data": Path(path).stem, "generator": name, **one_row(train, real, name, args)}
            pd.DataFrame([row]).to_csv(args.out, mode="a", header=not Path(args.out).exists(), index=False)
            print(row, flush=True)
    print(markdown(pd.read_csv(args.out).round(3)))


if __name__ == "__main__":
    main()
