"""What the closed-form start buys: random forest error with and without it, at the same number of training steps.

    python benchmarks/closed_form_start.py DATA.h5ad [--size-factor-key total_counts]

Latents are 10 principal components, the 1,000 genes those that vary most. A third of the cells only serves to fit the
components that the forest sees; real cells against real cells, judged the same way, are the ceiling.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import scvi
from anndata import read_h5ad
from sklearn.decomposition import PCA

from scmichigan import MichiGAN, metrics

PAPER = {
    "closed_form_start": False,
    "average_weights": False,
    "output_activation": None,
    "generator_norm": "batch",
    "critic_norm": "batch",
    "dropout": 0.2,
}
VARIANTS = {"default": {}, "no closed form": {"closed_form_start": False}, "paper": PAPER}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--size-factor-key")
    parser.add_argument("--n-genes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 30], help="stops at which cells are judged")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    adata = read_h5ad(args.data)
    variance = np.var(np.log1p(adata.X.toarray()), axis=0)
    if args.size_factor_key is None:
        args.size_factor_key = "total"
        adata.obs["total"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata = adata[:, np.sort(np.argsort(-variance)[: args.n_genes])].copy()
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    adata.obsm["X_pca"] = np.zeros((adata.n_obs, 10)) + np.arange(adata.n_obs)[:, None]
    MichiGAN.setup_anndata(adata, size_factor_key=args.size_factor_key, latent_key="X_pca")
    x = MichiGAN(adata).get_normalized_expression().toarray()
    adata.obsm["X_pca"] = PCA(10, random_state=args.seed).fit_transform(x)

    thirds = np.array_split(np.random.default_rng(args.seed).permutation(adata.n_obs), 3)
    basis, judged, others = (x[rows] for rows in thirds)
    forest = {"basis": basis, "n_trees": 300, "seed": args.seed, "n_jobs": -1}
    rows = [{"generator": "real cells", "error": metrics.random_forest_error(judged, others, **forest)}]
    for name, settings in VARIANTS.items():
        scvi.settings.seed = args.seed
        model = MichiGAN(adata, **settings)
        epochs, seconds = 0, 0.0
        for stop in [0, *args.epochs]:
            start = time.perf_counter()
            # A learning rate of zero leaves the start as it is.
            plan = {"lr_generator": 0.0, "lr_critic": 0.0} if stop == 0 else {}
            model.train(max(1, stop - epochs), plan_kwargs=plan, enable_progress_bar=False)
            seconds += 0 if stop == 0 else time.perf_counter() - start
            epochs = stop
            error = metrics.random_forest_error(judged, model.generate(len(judged)), **forest)
            rows.append({"generator": name, "epochs": stop, "seconds": round(seconds), "error": error})
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(3).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()
