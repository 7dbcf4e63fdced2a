"""Whether the error that is expected of a prediction, before anyone measures, ranks predictions by their real error.

    python benchmarks/confidence.py [--sets kang_pbmc_ifnb celllines_crispr] [--out confidence.csv]

Each cell type's (or line's) cells under each treatment are hidden in turn, from the selection of genes, too, and
predicted; nothing is trained. The expected error is that of CombinationPredictor.missing. The real one is the E-distance on
50 principal components of the training cells, at most 500 cells a side. E-distance is shown as metrics have it, whose value
for two samples of the same cells grows with their spread and is not 0, and without that part ("excess"); and as a fraction
of that of no change. Spearman correlations are over all combinations of all sets, and within each set. A set that has the
larger errors everywhere raises the former: look at both.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData, read_h5ad
from predictions import FACTORS, SETS
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from scmichigan import CombinationPredictor, MichiGAN

N_CELLS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("scvi").setLevel(logging.ERROR)
    scvi.settings.seed = 0

    data = Path(os.environ.get("SCMICHIGAN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    table = pd.concat([measure(name, read_h5ad(data / f"{name}.h5ad")) for name in args.sets], ignore_index=True)
    if args.out is not None:
        table.to_csv(args.out, index=False)
    print(table.round(3).to_string(index=False))
    table["relative expected_error"] = table["expected_error"] / table["predicted_change"]
    pairs = [
        ("expected_error", "E-distance"),
        ("expected_error", "excess"),
        ("expected_error", "error of mean"),
        ("expected_error", "E-distance / no change"),
        ("relative expected_error", "E-distance / no change"),
    ]
    parts = {"all": table} | dict(list(table.groupby("set")))
    rows = {
        f"{x} with {y}": {name: spearmanr(part[x], part[y]).statistic for name, part in parts.items()} for x, y in pairs
    }
    print("\nSpearman correlation\n" + pd.DataFrame(rows).T.round(2).to_string())
    ratio = table["error of mean"] / table["expected_error"]
    print(
        f"\nreal / expected error of the mean: median {ratio.median():.2f}, within a factor of 2 in {ratio.between(0.5, 2).mean():.0%}"
    )


def measure(name: str, adata: AnnData) -> pd.DataFrame:
    ((key, untreated),) = SETS[name]["control_labels"].items()
    setup, shared = SETS[name]["setup_kwargs"], adata.obs.groupby(key, observed=True)["cell_type"].nunique()
    groups = adata.obs.groupby(FACTORS, observed=True).indices
    rows = []
    for target, of_target in groups.items():
        if target[1] == untreated or shared[target[1]] < 2:
            continue
        seen = np.setdiff1d(np.arange(adata.n_obs), of_target)
        train = adata[seen].copy()
        genes = np.argsort(-StandardScaler(with_mean=False).fit(logged(train, setup)).var_)[: SETS[name]["n_genes"]]
        train, real = adata[seen][:, genes].copy(), adata[of_target][:, genes].copy()
        x, truth = logged(train, setup), logged(real, setup)
        pca = PCA(50, random_state=0).fit(x)
        predictor = CombinationPredictor(train, FACTORS, **setup)
        predicted = predictor.predict(dict(zip(FACTORS, target, strict=True))).X
        missing = predictor.missing(enable_progress_bar=False).set_index(FACTORS).loc[target]
        control = x[(train.obs[FACTORS] == (target[0], untreated)).all(axis=1).to_numpy()]
        distance, excess = e_distance(pca, predicted, truth)
        rows.append(
            {
                "set": name,
                **dict(zip(FACTORS, target, strict=True)),
                "expected_error": missing["expected_error"],
                "predicted_change": missing["predicted_change"],
                "error of mean": np.linalg.norm(predicted.mean(axis=0) - np.ravel(truth.mean(axis=0))),
                "E-distance": distance,
                "excess": excess,
                "E-distance / no change": distance / e_distance(pca, control, truth)[0],
            }
        )
        print(".", end="", flush=True)
    print()
    return pd.DataFrame(rows)


def logged(adata: AnnData, setup: dict):
    MichiGAN.setup_anndata(adata, **setup)
    return MichiGAN(adata, n_latent=1).get_observed_expression()


def e_distance(pca: PCA, x, y) -> tuple[float, float]:
    """E-distance with and without each cell's zero distance to itself."""
    rng = np.random.default_rng(0)
    sides = [pca.transform(cells[np.sort(rng.permutation(cells.shape[0])[:N_CELLS])]) for cells in (x, y)]
    between = 2 * cdist(*sides).mean()
    within = [(2 * pdist(cells).sum(), len(cells)) for cells in sides]
    return between - sum(w / n**2 for w, n in within), between - sum(w / (n * (n - 1)) for w, n in within)


if __name__ == "__main__":
    main()
