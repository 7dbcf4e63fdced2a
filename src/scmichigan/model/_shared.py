"""What all models have alike: their registered cells, files, and what they make and refuse by the same rules."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import NoReturn

import numpy as np
from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from scmichigan._compat import manager_of
from scmichigan.data import RegisteredCells

_CHUNK_ROWS = 4096
_INSTEAD = {
    "differential_abundance": "it compares posteriors of samples; scvi.model.SCVI has it",
    "differential_expression": "generate cells of each label with generate(labels=...), and give them to "
    "scanpy.tl.rank_genes_groups",
    "get_aggregated_posterior": "take get_latent_representation(return_dist=True), the mixture of these normals",
    "get_elbo": "the generator has no likelihood; that of the beta-TCVAE is latent_model.get_elbo()",
    "get_feature_correlation_matrix": "generate cells, and give them to scmichigan.metrics.gene_correlation_agreement",
    "get_importance_weights": "take get_latent_representation(return_dist=True)",
    "get_latent_library_size": "totals are observed, not inferred: generate(size_factor=...) sets them",
    "get_likelihood_parameters": "take get_normalized_expression, of which counts are Poisson or the declared likelihood",
    "get_marginal_ll": "take get_elbo() of a BetaTCVAE, a bound of it",
    "get_normalized_expression": "it has no decoder of single cells: take generate(), or get_observed_expression()",
    "get_reconstruction_error": "the generator has no likelihood; latent_model.get_reconstruction_error() is that of the "
    "beta-TCVAE",
    "load_query_data": "set up the query and the reference together, or load(folder, query) where its genes and batches are "
    "the same",
    "minify_adata": "the registered counts are needed; save the model, and keep the cells on disk",
    "posterior_predictive_sample": "take generate(), whose cells have the name of their source in obs['michigan_source']",
    "prepare_query_anndata": "take the model's genes in their order: query[:, model.adata.var_names].copy()",
    "setup_annbatch": "cells are held in memory: take setup_anndata",
    "setup_datamodule": "cells are held in memory: take setup_anndata",
}


OF_OTHER_MODELS = (
    "differential_abundance",
    "differential_expression",
    "get_aggregated_posterior",
    "get_feature_correlation_matrix",
    "get_importance_weights",
    "get_latent_library_size",
    "get_likelihood_parameters",
    "get_marginal_ll",
    "load_query_data",
    "minify_adata",
    "posterior_predictive_sample",
    "prepare_query_anndata",
    "setup_annbatch",
    "setup_datamodule",
)
"""Methods of models of scvi-tools that none of ours has."""


def registered_cells(model: BaseModelClass, adata: AnnData | MuData | None = None) -> RegisteredCells:
    """The registered cells of a model; of ``adata``, which is registered like them where it is new."""
    manager = model.adata_manager if adata is None else manager_of(model, adata)
    return RegisteredCells(manager, model.module.inputs.unit)


def in_chunks(n_rows: int, size: int | None = None) -> list[slice]:
    """Slices that cover ``n_rows`` rows."""
    size = size or _CHUNK_ROWS
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def check_trained(model: BaseModelClass) -> None:
    """Refuse to answer from random weights."""
    if not model.is_trained:
        raise RuntimeError(f"this {type(model).__name__} is untrained; call train() first")


def check_n_latent(n_latent: int) -> None:
    """Refuse latents without dimensions."""
    if not isinstance(n_latent, Integral) or n_latent < 1:
        raise ValueError(f"n_latent is {n_latent!r}; a latent needs at least 1 dimension, a whole number")


def check_weight(name: str, weight: float, rule: str) -> None:
    """Refuse weights in the loss that are negative or infinite."""
    if not isinstance(weight, Real) or not 0 <= weight < float("inf"):
        raise ValueError(f"{name} is {weight!r}; the weight of {rule} or more, and finite")


def check_latent(latent: np.ndarray, n_latent: int) -> np.ndarray:
    """Given latents in single precision; refuse those of another width, and those that are not finite."""
    z = np.asarray(latent, dtype=np.float32)
    if z.ndim != 2 or z.shape[1] != n_latent:
        raise ValueError(f"latent has shape {z.shape}; the model takes (n_samples, {n_latent})")
    if not np.isfinite(z).all():
        raise ValueError(f"latent is not finite in row {int(np.argmax(~np.isfinite(z).all(axis=1)))}")
    return z


def sample_posterior(mean: np.ndarray, var: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One latent from each normal posterior, in single precision."""
    return (mean + np.sqrt(var) * rng.standard_normal(mean.shape)).astype(np.float32)


def refuses(*names: str) -> Callable[[type], type]:
    """Have a model class say what to do in place of methods that other models of scvi-tools have."""

    def decorate(cls: type) -> type:
        for name in names:
            setattr(cls, name, classmethod(_refusal(name)))
        return cls

    return decorate


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(cls: type, *args, **kwargs) -> NoReturn:
        raise NotImplementedError(f"{cls.__name__} has no {name}: {_INSTEAD[name]}")

    refuse.__name__, refuse.__doc__ = name, f"Not available: {_INSTEAD[name]}."
    return refuse
