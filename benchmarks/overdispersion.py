"""Whether genes vary by themselves, beyond a Poisson variance and the noise that they share: a negative binomial's place.

    python benchmarks/overdispersion.py DATA.h5ad [DATA2.h5ad ...] [--n-genes 2000] [--n-noise 118] [--seed 0]

The closed form is fitted to half of the cells, as in `losses.py` (latents are 10 principal components with their
posterior). The variance of each gene's log rate around what the latent gives is found by moments, and what the noise
loadings make of it is taken off. "own" is what remains, as the variance that it adds to counts, in units of their
Poisson variance; "significant" the fraction of genes in which it is above three standard errors (those of the variance of
Poisson counts, which is too small for what varies, so that the fraction is, if anything, too large).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from anndata import read_h5ad
from generators import halves, markdown, register_totals

from scmichigan import PPCA
from scmichigan.closed_form import fit_poisson_log_normal
from scmichigan.nn import KernelBasis

EDGES = (0.03, 0.1, 0.3, 1, 3, np.inf)
LEAST_RATE = 1e-8


def own_variance(train, totals: str, n_noise: int, seed: int) -> pd.DataFrame:
    """Mean count of each gene, the variance of its log rate, and how much of it is its own."""
    PPCA.setup_anndata(train, size_factor_key=totals)
    latent = PPCA(train, n_latent=10)
    latent.train()
    mean_nc, var_nc = latent.get_latent_representation(return_dist=True)
    size = train.obs[totals].to_numpy(float) / 1e4
    kernel, weight, bias, loadings = fit_poisson_log_normal(
        train.X, size, mean_nc, condition_var=var_nc, n_noise=n_noise, seed=seed
    )
    sampled_nc = mean_nc + np.sqrt(var_nc) * np.random.default_rng(seed).standard_normal(mean_nc.shape)
    basis = KernelBasis(sampled_nc.shape[1], len(kernel.centres))
    basis.set(*(torch.as_tensor(a) for a in kernel))
    basis_nf = basis(torch.from_numpy(sampled_nc).float()).numpy()
    explained = (loadings.astype(float) ** 2).sum(axis=1)
    expected = np.exp(basis_nf @ weight.T + bias + explained / 2) * size[:, None]
    # Counts of a log-normal rate have the variance m + m^2 (exp(variance of the log rate) - 1) around their mean m.
    residual = (train.X.toarray() - expected) ** 2 - expected
    ratio = 1 + residual.sum(axis=0) / np.maximum((expected**2).sum(axis=0), LEAST_RATE)
    variance, mean = np.log(np.maximum(ratio, 1)), expected.mean(axis=0)
    own = np.exp(np.minimum(variance, 10)) - np.exp(np.minimum(explained, 10))
    return pd.DataFrame({"mean": mean, "variance": variance, "explained": explained, "own": mean * own})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--n-genes", type=int, default=2000)
    parser.add_argument("--n-noise", type=int, default=118)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)

    rows = []
    for path in args.data:
        adata = read_h5ad(path)
        totals = register_totals(adata)
        train, _ = halves(adata, totals, args.n_genes, args.seed)
        genes = own_variance(train, totals, args.n_noise, args.seed)
        error = np.sqrt((2 * genes["mean"] ** 2 + genes["mean"]) / train.n_obs) / genes["mean"]
        for expressed, group in genes.groupby(pd.cut(genes["mean"], EDGES), observed=True):
            rows.append(
                {
                    "data": Path(path).stem,
                    "mean count": str(expressed),
                    "genes": len(group),
                    "variance of log rate": group["variance"].median(),
                    "explained": group["explained"].median(),
                    "own": group["own"].median(),
                    "own, 90 %": group["own"].quantile(0.9),
                    "significant": (group["own"] > 3 * error[group.index]).mean(),
                }
            )
    print(markdown(pd.DataFrame(rows).round(3)))


if __name__ == "__main__":
    main()
