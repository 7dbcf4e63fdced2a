"""Figures 5 and S6 of the paper: traversals of MichiGAN's and of WGAN-GP's latents, and how much of each is one factor.

    python reproduction/figure_5.py [--data SET ...] [--preset paper] [--epochs 1000] [--seed 0] [--folder FOLDER] [--quick]

From ten cells of one group, one latent at a time goes from low to high while the others stay. WGAN-GP knows no latents of
cells: its traversals cross at those draws of the prior whose cells are nearest to the group, and go along its first ten
dimensions, of 128 and of 10. FOLDER/figure_5_SET_MODEL.png has the cells passed by on a UMAP of the real ones,
FOLDER/figure_5.csv how far each factor of the three nearest real cells moves along each dimension, and the share of the
largest change, which is 1 where one factor changes beyond chance and no other (metrics.single_factor_fraction). A model
that is in the results is not run again. --quick takes 50 epochs and this package's settings of MichiGAN at its start in
closed form.

Sets: splatter, the original simulator's cells with non-linear steps, and kang_pbmc_ifnb are files in the data folder
(SCMICHIGAN_DATA); tabula_muris is downloaded.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
import scvi
from _runs import data_file, is_kept, keep, kept, markdown, quiet
from anndata import AnnData
from sklearn.neighbors import NearestNeighbors

from scmichigan import WGANGP, BetaTCVAE, MichiGAN, datasets, metrics, pl

HERE = Path(__file__).parent
N_WALKS, N_STEPS, N_DIMENSIONS = 10, 10, 10
N_DRAWS = 2000
WGANS = {"WGAN-GP-128": 128, "WGAN-GP-10": 10}
MODELS = ("MichiGAN", *WGANS)


@dataclass(frozen=True)
class Cells:
    """A set: its file, the column of its totals, factors, where traversals cross, and the paper's beta."""

    file: str
    size_factor_key: str | None
    factors: tuple[str, ...]
    start: dict[str, str]
    beta: float


SETS = {
    "splatter": Cells(
        "splatter_nonlinear_small", "total_counts_all_genes", ("batch", "path", "step"), {"path": "Path1"}, 10
    ),
    "kang_pbmc_ifnb": Cells(
        "kang_pbmc_ifnb", "total_counts", ("cell_type", "condition"), {"cell_type": "B cells"}, 100
    ),
    "tabula_muris": Cells("", "total_counts", ("cell_type", "tissue"), {"tissue": "Heart"}, 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS)[:2])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--preset", choices=["paper", "default"], default="paper")
    parser.add_argument("--epochs", type=int, help="1,000 by default; not of MichiGAN with the default preset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.epochs = args.epochs or (50 if args.quick else 1000)
    quiet()

    path = args.folder / "figure_5.csv"
    for data in args.data:
        runs = [
            {"data": data, "model": name, "preset": preset_of(args, name), "epochs": args.epochs, "seed": args.seed}
            for name in args.models
        ]
        runs = [run for run in runs if not is_kept(kept(path), run)]
        adata = load(data) if runs else None
        for run in runs:
            print(f"{run['model']} on {data}", flush=True)
            change = traversed(
                args, adata, SETS[data], run["model"], args.folder / f"figure_5_{data}_{run['model']}.png"
            )
            change = change.rename_axis(index="dimension", columns=None).reset_index()
            keep(path, *(run | row for row in change.to_dict("records")))
    if path.exists():
        print("\n" + markdown(summary(kept(path))))


def preset_of(args: argparse.Namespace, name: str) -> str:
    if name in WGANS:
        return "paper"
    return "closed form" if args.quick else args.preset


def load(data: str) -> AnnData:
    cells = SETS[data]
    if not cells.file:
        return datasets.tabula_muris()
    return data_file(cells.file)


def traversed(args: argparse.Namespace, adata: AnnData, cells: Cells, name: str, picture: Path) -> pd.DataFrame:
    """Dimensions x changes of the factors, the share of the largest one last; draws the traversals."""
    adata = adata.copy()
    progress = {"enable_progress_bar": sys.stderr.isatty()}
    scvi.settings.seed = args.seed
    if name in WGANS:
        WGANGP.setup_anndata(adata, size_factor_key=cells.size_factor_key)
        model = WGANGP(adata, n_latent=WGANS[name])
        model.train(args.epochs, **progress)
        walk = from_prior(model, cells.start, args.seed)
    else:
        BetaTCVAE.setup_anndata(adata, size_factor_key=cells.size_factor_key)
        vae = BetaTCVAE(adata, beta=cells.beta)
        vae.train(args.epochs, train_size=1.0, **progress)
        model = MichiGAN.from_latent_model(vae, preset="default" if args.quick else args.preset)
        epochs = 0 if args.quick else args.epochs if args.preset == "paper" else None
        model.train(epochs, **progress)
        walk = model.traverse(cells.start, N_STEPS, n_walks=N_WALKS, seed=args.seed)
    real = model.get_normalized_expression()
    picture.parent.mkdir(parents=True, exist_ok=True)
    pl.traversal(real, walk, seed=args.seed, show=False, save=picture)
    factors = adata.obs[list(cells.factors)]
    change = metrics.traversal_change(factors, metrics.infer_factors(real, walk, factors=factors), walk.obs)
    return change.assign(**{"single factor": metrics.single_factor_fraction(change)})


def from_prior(model: WGANGP, start: dict[str, str], seed: int) -> AnnData:
    """Traversals of a GAN that knows no latents of cells, which cross where its cells are nearest to a group's mean."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((N_DRAWS, model.n_latent)).astype(np.float32)
    is_start = (model.adata.obs[list(start)].astype(str) == pd.Series(start)).all(axis=1).to_numpy()
    centre = np.asarray(model.get_normalized_expression()[is_start].mean(axis=0)).reshape(1, -1)
    nearest = NearestNeighbors(n_neighbors=N_WALKS).fit(model.generate(latent=z, seed=seed).X)
    crossing = z[nearest.kneighbors(centre, return_distance=False)[0]]
    dimension, walk, step = np.indices((N_DIMENSIONS, N_WALKS, N_STEPS)).reshape(3, -1)
    value = np.linspace(-2.326, 2.326, N_STEPS)  # the first and the last percentile of the prior
    z = crossing[walk]
    z[np.arange(len(z)), dimension] = value[step]
    cells = model.generate(latent=z, seed=seed)
    cells.obs = cells.obs.assign(dimension=dimension + 1, walk=walk + 1, step=step + 1, value=value[step])
    return cells


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """The dimensions of each model in which most changes."""
    settings = ["data", "model", "preset", "epochs", "seed"]
    factors = [name for name in results if name not in (*settings, "dimension", "single factor")]
    changed = results.assign(change=results[factors].sum(axis=1)).sort_values("change", ascending=False)
    rows = []
    for key, runs in changed.groupby(settings, sort=False):
        most = runs.head(3)
        rows.append(
            dict(zip(settings, key, strict=True))
            | {"dimensions that change most": ", ".join(most["dimension"].astype(str))}
            | {name: " / ".join(most[name].map("{:.2f}".format)) for name in factors if most[name].notna().all()}
            | {"single factor": " / ".join(most["single factor"].map("{:.2f}".format))}
        )
    return pd.DataFrame(rows).fillna("")


if __name__ == "__main__":
    main()
