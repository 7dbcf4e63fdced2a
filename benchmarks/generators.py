"""How real generated cells are and how well their latents are recovered, beside real cells, the start and the published GAN.

    python benchmarks/generators.py DATA.h5ad [DATA2.h5ad ...] --out results.csv [--seeds 0 1 2] [--jobs 2] [--scvi] [--means]

Half of the cells are held out of everything (gene selection, latent, generator) and the other half is trained on: a
beta-TCVAE gives the latents of all generators, and the published generator has the time that ours took. With --scvi, scVI
gives the latents, and in place of the published generator there are samples of its own posterior predictive distribution,
given the latents and totals of the same training cells. With --means, latents are the posteriors' means. A random forest then
classifies cells generated from the training cells' latents and held-out cells, on genes and on 50 principal components.
These are fitted on the held-out cells, as in the paper, so that even real cells can be classified: the row of real training
cells says how well.

"shares": largest relative error of a cell type's fraction of the cells, of types above 2 %, as a classifier trained on
the training cells sees it, with the sampling error of both halves. "of its own": the same of 40,000 generated cells against
the training cells, whose latents they have, which leaves what training does to these fractions; this classifier is trained
on the held-out cells, as one that has seen the training cells is overfitted to their rare ones. "in errors": the largest
difference of a type's fractions in that comparison in its standard errors, from the differences between each training cell
and the cells that were generated from its latents. That of an exact generator with ten types is the largest of as many
normal samples: 1.8 in the median, and above 2.6 once in ten. "behind replicates": by how much the least recovered latent
correlates less with the given one than in replicates of the held-out cells, whose latents were given (see
`MichiGAN.latent_recovery`). "means given": the same with the posteriors' means given to a generator that was trained with
samples, where a generator that samples from the exact distribution is behind, too.

Each data set and seed is a process with one thread; its seconds are those of the processor or, with more threads
(--threads 2 --jobs 1, on an idle machine), those of the clock. Rows that are in the results already are not run again, and
the summary at the end can be had from them alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import lightning.pytorch as pl
import numpy as np
import pandas as pd

ROWS = ("real cells, trained on", "closed-form start", "trained", "as published, same time", "scVI's own cells")
MEASURES = (
    "AUROC, genes",
    "AUROC, 50 PCs",
    "zeros - real",
    "shares",
    "of its own",
    "in errors",
    "behind replicates",
    "means given",
    "seconds",
)
LABELS = ("cell_type", "clusters")
N_GIVEN = 10_000  # a correlation near 0 has a standard error of 0.01
N_OF_ITS_OWN = 40_000  # 800 cells of a type of 2 %, whose number has a standard error of 3.5 %


class StopAfter(pl.Callback):
    """Ends a training after so many seconds of the processor or of another clock, at the end of an epoch."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.process_time) -> None:
        self.clock = clock
        self.end = clock() + seconds

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = self.clock() > self.end


def register_totals(adata) -> str:
    """Key of the cells' totals, which are added where there are none."""
    totals = next((key for key in ("total_counts", "library_size") if key in adata.obs), "total")
    if totals == "total":
        adata.obs[totals] = np.asarray(adata.X.sum(axis=1)).ravel()
    return totals


def halves(adata, size_factor_key: str, n_genes: int, seed: int):
    from sklearn.preprocessing import StandardScaler

    from scmichigan import BetaTCVAE

    order = np.random.default_rng(seed).permutation(adata.n_obs)
    train, held_out = adata[order[::2]].copy(), adata[order[1::2]].copy()
    BetaTCVAE.setup_anndata(train, size_factor_key=size_factor_key)
    variance = StandardScaler(with_mean=False).fit(BetaTCVAE(train, n_latent=1).get_observed_expression()).var_
    genes = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
    return train[:, genes].copy(), held_out[:, genes].copy()


def labels(adata) -> np.ndarray:
    return adata.obs[next(key for key in LABELS if key in adata.obs)].astype(str).to_numpy()


def fraction_error(real_n: np.ndarray, made_n: np.ndarray) -> float:
    real, made = (pd.Series(labels_n).value_counts(normalize=True) for labels_n in (real_n, made_n))
    real = real[real > 0.02]
    return float((made.reindex(real.index, fill_value=0) / real - 1).abs().max())


def standardized_error(names: pd.Index, real_n: np.ndarray, sources_m: np.ndarray, made_m: np.ndarray) -> float:
    """Largest difference of a type's fractions, in its standard errors.

    Cells are compared in pairs, each with those that were made of it, as most of what differs between cells is no error.
    """
    real = pd.get_dummies(pd.Series(real_n, names), dtype=float)
    made = pd.get_dummies(pd.Series(made_m), dtype=float).groupby(sources_m).mean()
    off = (made.reindex(columns=real.columns, fill_value=0) - real).dropna()
    off = off.loc[:, real.mean() > 0.02]
    return float((off.mean() / off.sem()).abs().max())


def one_job(path: str, seed: int, args: argparse.Namespace) -> None:
    import scvi
    import torch
    from anndata import read_h5ad
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from scmichigan import BetaTCVAE, MichiGAN, metrics

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    adata = read_h5ad(path)
    totals = register_totals(adata)
    train, held_out = halves(adata, totals, args.n_genes, seed)
    scvi.settings.seed = seed
    start = clock()
    if args.scvi:
        scvi.model.SCVI.setup_anndata(train)
        latent = scvi.model.SCVI(train)
    else:
        BetaTCVAE.setup_anndata(train, size_factor_key=totals)
        latent = BetaTCVAE(train)
    latent.train(train_size=1.0, enable_progress_bar=False)
    for cells in (train, held_out):
        cells.obsm["Z"], cells.obsm["V"] = latent.get_latent_representation(cells, return_dist=True)
    seconds_of_latent = clock() - start
    variances = {} if args.means else {"latent_var_key": "V"}
    MichiGAN.setup_anndata(train, size_factor_key=totals, latent_key="Z", **variances)
    model, seconds = MichiGAN(train), 0.0
    real, seen = (model.get_observed_expression(cells).toarray() for cells in (held_out, train))
    type_of, own_type_of = (
        make_pipeline(PCA(30, random_state=seed), LogisticRegression(max_iter=500)).fit(x, labels(cells)).predict
        for x, cells in ((seen, train), (real, held_out))
    )
    types_of_real, types_seen = type_of(real), own_type_of(seen)

    def add(name: str, cells: np.ndarray, seconds: float, model: MichiGAN | None = None) -> None:
        forest = {"n_cells": 2000, "n_trees": args.n_trees, "seed": seed}
        row = {
            "data": Path(path).stem,
            "seed": seed,
            "cells": name,
            "AUROC, genes": metrics.discriminate(real, cells, n_components=None, **forest).auroc,
            "AUROC, 50 PCs": metrics.discriminate(real, cells, **forest).auroc,
            "zeros - real": float(np.mean(cells == 0) - np.mean(real == 0)),
            "shares": fraction_error(types_of_real, type_of(cells)),
            "of its own": np.nan,
            "in errors": np.nan,
            "behind replicates": np.nan,
            "means given": np.nan,
            "seconds": seconds,
            "seconds of latent": seconds_of_latent,
        }
        if model is not None:
            own = [model.generate(len(real), seed=i) for i in range(1 + N_OF_ITS_OWN // len(real))]
            sources_m = np.concatenate([cells.obs["michigan_source"] for cells in own])
            made_m = np.concatenate([own_type_of(cells.X) for cells in own])
            row["of its own"] = fraction_error(types_seen, made_m)
            row["in errors"] = standardized_error(train.obs_names, types_seen, sources_m, made_m)
            for measure, given in (("behind replicates", model.latent_sampling), ("means given", "mean")):
                with patch.object(model, "latent_sampling", given):
                    table = model.latent_recovery(held_out, n_cells=N_GIVEN)
                row[measure] = float((table["replicates"] - table["generated"]).max())
        pd.DataFrame([row]).to_csv(args.out, mode="a", header=not Path(args.out).exists(), index=False)
        print({key: round(v, 3) if isinstance(v, float) else v for key, v in row.items()}, flush=True)

    add(ROWS[0], seen, 0.0)
    for name, settings in ((ROWS[1], {"max_epochs": 0}), (ROWS[2], {})):
        start = clock()
        model.train(**settings, enable_progress_bar=False)
        seconds += clock() - start
        add(name, model.generate(len(real), seed=seed).X, seconds, model)
    if args.scvi:
        train.layers["own"] = latent.posterior_predictive_sample(train).to_scipy_sparse().astype(np.float32)
        MichiGAN.setup_anndata(train, layer="own", size_factor_key=totals)
        add(ROWS[4], MichiGAN(train).get_observed_expression().toarray(), 0.0)
        return
    if args.skip_paper:
        return
    paper = MichiGAN(train, preset="paper")
    start = clock()
    paper.train(10**6, callbacks=[StopAfter(seconds, clock)], enable_progress_bar=False)
    add(ROWS[3], paper.generate(len(real), seed=seed).X, clock() - start, paper)


def summary(path: str) -> pd.DataFrame:
    """Mean of each measure over the seeds, and the range of the two AUROCs."""
    rows = pd.read_csv(path)
    groups = rows.groupby(["data", "cells"], sort=False)

    def cell(values: pd.Series, measure: str) -> str:
        if values.isna().all():
            return ""
        if measure == "seconds":
            return f"{values.mean():.0f}"
        digits = 3
        spread = f" ({values.min():.{digits}f} to {values.max():.{digits}f})" if len(values) > 1 else ""
        return f"{values.mean():.{digits}f}{spread}"

    table = pd.DataFrame({m: groups[m].apply(cell, m) for m in MEASURES})
    order = {name: i for i, name in enumerate(ROWS)}
    return table.reset_index().sort_values(
        ["data", "cells"], key=lambda c: c.map(order).fillna(0) if c.name == "cells" else c
    )


def markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*")
    parser.add_argument("--out", required=True, help="CSV file that results are added to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--n-genes", type=int, default=2000)
    parser.add_argument("--n-trees", type=int, default=200)
    parser.add_argument("--skip-paper", action="store_true", help="leave the published generator out")
    parser.add_argument("--scvi", action="store_true", help="latents of scVI, and its own cells as a row")
    parser.add_argument("--means", action="store_true", help="latents are the posteriors' means, without variances")
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job is not None:
        one_job(args.data[0], args.job, args)
        return

    done = set()
    if Path(args.out).exists():
        rows, last = pd.read_csv(args.out), ROWS[4 if args.scvi else 2 if args.skip_paper else 3]
        done = set(map(tuple, rows.loc[rows["cells"] == last, ["data", "seed"]].to_numpy()))
        rows[[key in done for key in map(tuple, rows[["data", "seed"]].to_numpy())]].to_csv(args.out, index=False)
    waiting = [(path, seed) for seed in args.seeds for path in args.data if (Path(path).stem, seed) not in done]
    running: list[subprocess.Popen] = []
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    threads = dict.fromkeys(limits, str(args.threads))
    while waiting or running:
        while waiting and len(running) < args.jobs:
            path, seed = waiting.pop(0)
            options = [f"--out={args.out}", f"--n-genes={args.n_genes}", f"--n-trees={args.n_trees}", f"--job={seed}"]
            options.append(f"--threads={args.threads}")
            options += ["--skip-paper"] * args.skip_paper + ["--scvi"] * args.scvi + ["--means"] * args.means
            running.append(subprocess.Popen([sys.executable, __file__, path, *options], env=os.environ | threads))
        time.sleep(1)
        failed = [p.args for p in running if p.poll()]
        if failed:
            raise SystemExit(f"failed: {failed}")
        running = [p for p in running if p.poll() is None]
    print(markdown(summary(args.out)))


if __name__ == "__main__":
    main()
