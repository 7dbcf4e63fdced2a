"""How disentangled latents are by likelihood: the beta-TCVAE's four beside SCVI and DRVI.

    python benchmarks/likelihoods.py --out likelihoods.csv [--sets linear nonlinear] [--methods normal nb SCVI]
        [--seeds 0] [--epochs 400] [--beta 10] [--quick]

The cells are 4,000 on Splatter's two paths in each set, from ../shared/data or where SCMICHIGAN_DATA points, with raw
counts of 2,000 genes. All methods have 10 latents, minibatches of 128 and the same epochs; what else they have is their
default, but the KL divergence of SCVI and DRVI is warmed up over all epochs, as it is over their own 400. DRVI needs
scvi-tools 1.5, and is left out without it. --quick takes three epochs, which only shows that the script runs.

Factors are those of the paper's Table 1: batch, path, step, and the quartile of the expected library size. No method
sees any. The likelihoods take the total counts of each cell as given; only with "depth kept", where all cells have one
size, has the library size to be in the latent, as in Table 1. MIG is over all four factors, and over the three others.

"worth" is the information in the latent: how many nats less likely cells are with the latents of other cells. It is what a
nat of total correlation is weighed against, and knows no factors. "latents in use" are the active ones. Seconds are those
of the processor. What is in --out already is not run again.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData, read_h5ad

from scmichigan import BetaTCVAE, metrics

SETS = ("linear", "nonlinear")
KEPT = ", depth kept"
OURS = ("normal", "nb", "zinb", "poisson", f"normal{KEPT}", f"nb{KEPT}")
THEIRS = ("SCVI", "DRVI")
LIBRARY = "exp_lib_size"
FACTORS = ["batch", "path", "step", LIBRARY]
RUN = ["seed", "set", "method", "beta", "epochs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("likelihoods.csv"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--methods", nargs="+", choices=(*OURS, *THEIRS), default=(*OURS, *THEIRS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--beta", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)

    data = Path(os.environ.get("SCMICHIGAN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    epochs = 3 if args.quick else args.epochs
    results = pd.read_csv(args.out) if args.out.exists() else pd.DataFrame(columns=RUN)
    for seed in args.seeds:
        for name in args.sets:
            adata = read_h5ad(data / f"splatter_{name}_small.h5ad")
            for method in args.methods:
                run = dict(zip(RUN, (seed, name, method, args.beta if method in OURS else 0, epochs), strict=True))
                if (results[RUN] == pd.Series(run)).all(axis=1).any():
                    continue
                if method == "DRVI" and not hasattr(scvi.external, "DRVI"):
                    print(f"scvi-tools {scvi.__version__} has no DRVI")
                    continue
                results = pd.concat([results, pd.DataFrame([run | measure(adata.copy(), run)])], ignore_index=True)
                results.to_csv(args.out, index=False)
                print(results.tail(1).round(2).to_string(index=False, header=len(results) == 1), flush=True)
    shown = results.drop(columns="seed").groupby(RUN[1:], sort=False)
    print("\n" + shown.mean().round(2).assign(seeds=shown.size()).to_string())


def measure(adata: AnnData, run: dict[str, object]) -> dict[str, float]:
    scvi.settings.seed = run["seed"]
    fit = {"max_epochs": run["epochs"], "batch_size": 128, "train_size": 1.0, "accelerator": "cpu"}
    start = time.process_time()
    model = (fit_theirs if run["method"] in THEIRS else fit_ours)(adata, run, fit | {"enable_progress_bar": False})
    mean, var = model.get_latent_representation(return_dist=True)
    seconds = time.process_time() - start
    factors = adata.obs[FACTORS]
    information = metrics.mutual_information(mean, factors, var=var, seed=run["seed"])
    others = [name for name in FACTORS if name != LIBRARY]
    return {
        "MIG": metrics.mutual_information_gap(information),
        "MIG, three factors": metrics.mutual_information_gap(information[others]),
        **{f"of {name}": metrics.mutual_information_gap(information[[name]]) for name in FACTORS},
        "Spearman gap": metrics.spearman_gap(metrics.spearman_correlation(mean, factors)),
        "latents in use": int((var.mean(axis=0) < 0.9).sum()),
        "worth": information_of_latent(model) if run["method"] in OURS else np.nan,
        "seconds": seconds,
    }


def fit_ours(adata: AnnData, run: dict[str, object], fit: dict[str, object]) -> BetaTCVAE:
    likelihood, kept = run["method"].removesuffix(KEPT), run["method"].endswith(KEPT)
    adata.obs["size"] = adata.X.sum(axis=1).mean()
    BetaTCVAE.setup_anndata(adata, size_factor_key="size" if kept else None)
    model = BetaTCVAE(adata, beta=run["beta"], gene_likelihood=likelihood)
    model.train(**fit)
    return model


def fit_theirs(adata: AnnData, run: dict[str, object], fit: dict[str, object]) -> scvi.model.SCVI:
    cls = scvi.model.SCVI if run["method"] == "SCVI" else scvi.external.DRVI
    cls.setup_anndata(adata)
    model = cls(adata, n_latent=10)
    model.train(**fit, plan_kwargs={"n_epochs_kl_warmup": run["epochs"]})
    return model


@torch.inference_mode()
def information_of_latent(model: BetaTCVAE) -> float:
    """Mean loss of log-likelihood with the latents of other cells, in nats."""
    module, nats = model.module, []
    for tensors in model._make_data_loader(adata=model.adata, batch_size=500):
        inferred = module.inference(**module._get_inference_input(tensors))
        losses = []
        for z in (inferred["z"], inferred["z"].roll(1, 0)):
            made = module.generative(**module._get_generative_input(tensors, inferred | {"z": z}))
            losses.append(module.reconstruction(tensors, inferred["x"], made["px"]))
        nats.append(losses[1] - losses[0])
    return torch.cat(nats).mean().item()


if __name__ == "__main__":
    main()
