"""Decoded expression, as scvi-tools calls it normalised."""

from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from scmichigan._arrays import in_chunks
from scmichigan._checks import check_at_least, check_level, check_trained
from scmichigan.data import RegisteredCells
from scmichigan.latents import cells_with_latent, sample_posterior


def decoded_expression(
    self,
    adata: AnnData | MuData | None = None,
    indices: Sequence[int] | None = None,
    transform_batch: str | Sequence[str] | None = None,
    gene_list: Sequence[str] | None = None,
    library_size: float | Literal["latent"] = 1,
    n_samples: int = 1,
    batch_size: int | None = None,
    return_mean: bool = True,
    return_numpy: bool | None = None,
    *,
    seed: int = 0,
) -> pd.DataFrame | np.ndarray:
    """Expression decoded from the latents of cells, as in scvi-tools; see :meth:`get_observed_expression` for what was observed.

    Parameters
    ----------
    adata, indices
        Cells to decode, with the same genes; ``None`` for all registered ones.
    transform_batch
        Batch that all cells are decoded in, in place of their own; of several, the mean over them is given.
    gene_list
        Names of genes to give, all by default.
    library_size
        Total that each cell is scaled to, 1 for fractions of all counts; ``"latent"`` takes each cell's own total. Only
        where raw counts are registered.
    n_samples, return_mean
        Samples of each cell's latent (and noise, where the generator has some), and whether to give their mean.
    batch_size
        Cells at a time, 4,096 by default.
    return_numpy
        Whether to give an array in place of a data frame. Several samples of each cell are always an array.
    seed
        Random seed.

    Returns
    -------
    Cells x genes; with ``return_mean=False`` and several samples, samples x cells x genes. Proteins are left out. Where
    log-normalised expression is registered it is decoded expression on that scale.

    Raises
    ------
    RuntimeError, ValueError
        If the model is untrained, a batch or gene unknown, or a library size given where no counts are registered.
    """
    check_trained(self)
    check_at_least(1, n_samples=n_samples)
    of_gan = getattr(self, "latent", None)
    cells_of, sampling = partial(RegisteredCells.of, self), getattr(self, "latent_sampling", "sample")
    cells = cells_of(adata) if of_gan is None else cells_with_latent(cells_of, cells_of(None), adata, of_gan)
    rows = np.arange(cells.n_cells) if indices is None else np.asarray(indices)
    if not cells.are_counts and library_size != 1:
        raise ValueError(f"library_size is {library_size!r}, but log-normalised expression has no totals; leave it out")
    if library_size != "latent" and not (isinstance(library_size, Real) and 0 < library_size < np.inf):
        raise ValueError(f"library_size is {library_size!r}; give a positive total, or 'latent' for each cell's own")
    names = cells.labelled.var_names
    unknown = [name for name in gene_list or () if name not in names]
    if unknown:
        raise ValueError(f"gene_list has {unknown[0]!r}, which is none of the model's genes, such as {names[0]!r}")
    genes = np.arange(len(names)) if gene_list is None else names.get_indexer(list(gene_list))
    batches = _covariates_by_batch(cells, rows, transform_batch)
    rng = np.random.default_rng(seed)
    chunks = in_chunks(len(rows), batch_size)
    samples = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mean, var = self.get_latent_representation(adata, rows, return_dist=True)
        for _ in range(n_samples):
            z = mean if var is None or sampling == "mean" else sample_posterior(mean, var, rng)
            # Noise is the same in all batches, so that these differ by the batch alone.
            state, decoded = rng.bit_generator.state, []
            for covariates in batches:
                rng.bit_generator.state = state
                decoded.append(np.concatenate([self._decode(z[c], covariates[c], rng)[:, genes] for c in chunks]))
            samples.append(np.mean([_fractions(self, cells, x) for x in decoded], axis=0))
    x = np.stack(samples)
    if cells.are_counts:
        x *= cells.totals()[rows, :1] if library_size == "latent" else library_size
    x = x.mean(axis=0) if return_mean or n_samples == 1 else x
    if return_numpy or x.ndim == 3:
        return x
    return pd.DataFrame(x, index=cells.labelled.obs_names[rows], columns=names[genes])


def _covariates_by_batch(
    cells: RegisteredCells, rows: np.ndarray, batches: str | Sequence[str] | None
) -> list[np.ndarray]:
    """Covariate columns of the cells, once for each batch that they are to be decoded in."""
    own = cells.covariates(rows)
    if batches is None:
        return [own]
    key, known = cells.setup_args.get("batch_key"), cells.batches()
    if key is None:
        raise ValueError(
            "transform_batch is given, but no batch is registered; set up with batch_key=, or leave it out"
        )
    changed = []
    for batch in [batches] if np.isscalar(batches) else batches:
        if batch not in known:
            check_level(cells.labelled, key, batch)
        columns = own.copy()
        if len(known) > 1:
            columns[:, : len(known)] = np.asarray(known) == batch
        changed.append(columns)
    return changed


def _fractions(model: BaseModelClass, cells: RegisteredCells, x: np.ndarray) -> np.ndarray:
    """What a module gives for cells of the target sum, as fractions of all counts; as it is where there are none."""
    if model.module.makes_counts:
        return x / cells.target_sum
    return np.expm1(np.maximum(x, 0)) / cells.target_sum if cells.are_counts else x
