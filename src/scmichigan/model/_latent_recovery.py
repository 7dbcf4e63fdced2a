"""Latent recovery: whether generated cells have the latents that they were made from. Legend: n cells, k latents."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass

from scmichigan._arrays import dense
from scmichigan._checks import check_at_least, check_trained
from scmichigan.data import RegisteredCells
from scmichigan.latents import cells_with_latent, sample_posterior


def latent_recovery(self, adata: AnnData | None = None, *, n_cells: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Correlate the latents of generated cells with those that they were made from.

    Cells are generated from latents of real cells, as the generator was trained with them (samples of the posterior, or
    means), and the cells' totals. They are encoded, and the latents that are found are correlated with the given ones. The
    encoder is that of the beta-TCVAE; for a stored latent it is a ridge regression of the latent on the expression of the
    registered cells.

    Parameters
    ----------
    adata
        Cells with the same genes, best such that no fit has seen; ``None`` for the registered ones.
    n_cells
        Cells to generate, 2 or more; of fewer real cells, some are taken several times, each time with another sample.
        Correlations near 0 have the standard error ``1 / sqrt(n_cells)``.
    seed
        Random seed.

    Returns
    -------
    One row for each latent; one that does not vary has 0. ``attrs["encoder"]`` is "beta-TCVAE" or "ridge regression".
    Columns:

    - "generated": Pearson's correlation of given and found latents of generated cells.
    - "real": the same for the real cells that the latents are of, expected over samples of their posteriors. A generator
      that samples from the exact distribution of cells given the latent has this value. It is below 1 where posteriors are
      wide, and near 0 for latents that are not active.
    - "replicates": the same for counts that are sampled anew around those of the real cells (Poisson): what counting noise
      leaves of the latents. NaN where log-normalised expression is registered.

    Raises
    ------
    RuntimeError, ValueError
        If the model is untrained or knows no latents of cells, or ``n_cells`` is below 2.
    """
    check_trained(self)
    check_at_least(2, n_cells=n_cells)
    cells = (
        None if adata is None else cells_with_latent(partial(RegisteredCells.of, self), self.cells, adata, self.latent)
    )
    return measure_latent_recovery(self, cells, n_cells=n_cells, seed=seed)()


def measure_latent_recovery(
    model: BaseModelClass, others: RegisteredCells | None = None, *, n_cells: int, seed: int
) -> Callable[[], pd.DataFrame]:
    """Sample and encode the real cells now, the registered ones or others; the generated ones when the result is called."""
    cells = others or model.cells
    rng = np.random.default_rng(seed)
    rows = np.sort(np.resize(rng.permutation(cells.n_cells), n_cells))
    distinct, of_distinct = np.unique(rows, return_inverse=True)
    totals = cells.totals()[rows]
    noise = model._sample_noise(len(rows), rng)
    with torch.random.fork_rng():
        mean, var = model.latent.posterior(None if others is None else cells.adata, distinct)
    mean = mean[of_distinct]
    var = None if var is None or model.latent_sampling == "mean" else var[of_distinct]
    given = mean if var is None else sample_posterior(mean, var, rng)
    encoder = model.latent.encoder
    encode = encoder.encode
    real = correlation_k(mean, encode(dense(cells.expression(distinct)))[of_distinct], var)
    replicates = np.full(model.n_latent, np.nan)
    if cells.are_counts:
        again = rng.poisson(dense(cells.counts()[rows]))
        replicates = correlation_k(mean, encode(cells.log_normalize(again, totals)[0]), var)

    def measure() -> pd.DataFrame:
        x = model._render(given, rows, noise, cells=cells)
        if model.module.makes_counts:
            counts = np.random.default_rng(seed).poisson(cells.expected(x, totals))
            x, _ = cells.log_normalize(counts, totals)
        generated = correlation_k(given, encode(x))
        table = pd.DataFrame({"generated": generated, "replicates": replicates, "real": real})
        table.index += 1  # as in traverse and the metrics
        table.attrs["encoder"] = encoder.name
        return table.rename_axis("latent")

    return measure


def correlation_k(given_nk: np.ndarray, found_nk: np.ndarray, var_nk: np.ndarray | None = None) -> np.ndarray:
    """Pearson correlation of each latent with what was found of it; 0 where either does not vary.

    With variances, it is the one expected of samples around what is given, which what was found knows nothing of.
    """
    noise_k = 0.0 if var_nk is None else var_nk.sum(axis=0, dtype=np.float64)
    given_nk, found_nk = (z.astype(np.float64) - z.mean(axis=0, dtype=np.float64) for z in (given_nk, found_nk))
    size_k = np.sqrt(((given_nk**2).sum(axis=0) + noise_k) * (found_nk**2).sum(axis=0))
    return np.divide((given_nk * found_nk).sum(axis=0), size_k, out=np.zeros_like(size_k), where=size_k > 0)


def gap(table: pd.DataFrame) -> float:
    """How far the least recovered latent is behind replicates of real cells or, without counts, real cells."""
    return float((table["replicates"].fillna(table["real"]) - table["generated"]).max())
