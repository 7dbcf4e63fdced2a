"""How real RNA and proteins are that are generated together, on CITE-seq data.

    python benchmarks/modalities.py cbmc_citeseq.h5ad [--max-epochs 0 20] [--n-trees 100]

The file has raw counts in X and proteins in obsm["protein_clr"], centred log ratios of each protein over cells, scaled to
unit variance. Their counts are computed back first: values are log1p(k / g) times a scale and less a mean, g being the
exponential of the mean of log1p(k), and only one scale makes all k whole numbers.

Half of the cells are held out. The latent is the posterior of a probabilistic PCA of the log-normalised genes and proteins of
the other half; the generator is left at its start in closed form (0 epochs), and then trained for so many epochs.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from mudata import MuData
from scipy.optimize import least_squares

MODALITIES = {"rna_layer": "rna", "protein_layer": "protein"}


def counts_of(clr: np.ndarray) -> np.ndarray:
    """Counts behind the scaled centred log ratios of one protein."""
    values = np.unique(clr.astype(np.float64))
    low = values[: max(40, int(0.4 * len(values)))]
    start, steps = low[:-1] - low[0], np.diff(low)
    # The step to the next count is 1 / (s (A + k)), which is exp(-s v) / (s A) in the value v: on a line, or m times that.
    best = (np.inf, 0.0, 0.0)
    for scale in np.linspace(0.3, 3, 271):
        log_step = np.log(steps) + scale * start
        single = np.quantile(log_step, 0.02)
        m = np.exp(log_step - single)
        best = min(best, (np.mean(np.abs(m - np.maximum(np.round(m), 1)).clip(max=0.5)), scale, single))
    scale, offset = best[1], np.exp(-best[2]) / best[1]
    n = 6
    while n < len(values):
        n = min(int(1.3 * n) + 1, len(values))
        k = np.round(offset * np.expm1(scale * (values[:n] - values[0])))

        def error(parameters: np.ndarray, k: np.ndarray = k, n: int = n) -> np.ndarray:
            return parameters[2] + np.log1p(k / np.exp(parameters[1])) / np.exp(parameters[0]) - values[:n]

        steps_of = {"x_scale": [1e-3, 1e-3, 1e-4], "xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
        log_scale, log_offset, first = least_squares(error, [np.log(scale), np.log(offset), values[0]], **steps_of).x
        scale, offset = np.exp(log_scale), np.exp(log_offset)
    above_least = offset * np.expm1(scale * (clr - first))
    if np.abs(above_least - np.round(above_least)).max() > 0.1:
        raise ValueError("these are no scaled centred log ratios of counts")
    above_least = np.round(above_least)
    least = np.arange(int(offset))
    gap = [abs(np.log(offset - k) - np.log1p(above_least + k).mean()) for k in least]
    return (above_least + least[np.argmin(gap)]).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--max-epochs", type=int, nargs="+", default=[0, 20])
    parser.add_argument("--n-latent", type=int, default=15)
    parser.add_argument("--n-trees", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    import scvi

    import scmichigan as mg

    warnings.filterwarnings("ignore")
    adata = read_h5ad(args.path)
    clr = np.asarray(adata.obsm["protein_clr"])
    counts = np.stack([counts_of(column) for column in clr.T], axis=1)
    names = pd.DataFrame(index=[f"protein_{i}" for i in range(counts.shape[1])])
    rna, protein = AnnData(adata.X, adata.obs, adata.var[[]]), AnnData(counts, adata.obs[[]], names)
    order = np.random.default_rng(args.seed).permutation(adata.n_obs)
    seen, held_out = (
        MuData({"rna": rna[rows].copy(), "protein": protein[rows].copy()})
        for rows in np.split(order, [len(order) // 2])
    )
    mg.MichiGAN.setup_mudata(seen, modalities=MODALITIES)
    whole = mg.MichiGAN(seen, n_latent=1)
    for cells in (seen, held_out):
        expression = whole.get_observed_expression(cells)
        cells["rna"].layers["lognorm"], cells["protein"].layers["lognorm"] = expression
    x = np.hstack([seen["rna"].layers["lognorm"].toarray(), seen["protein"].layers["lognorm"]])
    seen.obsm["Z"], seen.obsm["Z_var"] = mg.closed_form.fit_ppca(x, args.n_latent).posterior(x)
    scvi.settings.seed = args.seed
    mg.MichiGAN.setup_mudata(seen, modalities=MODALITIES, latent_key="Z", latent_var_key="Z_var")
    model = mg.MichiGAN(seen)
    for max_epochs in args.max_epochs:
        start = time.process_time()
        model.train(max_epochs=max_epochs, enable_progress_bar=False)
        seconds = time.process_time() - start
        made = model.generate(3000, seed=args.seed)
        sides = {"held_out": held_out, "layer": "lognorm", "n_trees": args.n_trees, "seed": args.seed}
        table = mg.metrics.realism(seen, made, **sides, enable_progress_bar=False)
        print(f"{max_epochs} epochs, {seconds:.0f} s")
        print(table.round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
