"""Models whose latents a GAN is trained on."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np
from anndata import AnnData
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from scmichigan._compat import manager_of


def check_latent_model(model: object) -> None:
    """Refuse what is no trained model of single cells with a latent."""
    name = type(model).__name__
    if not (isinstance(model, BaseModelClass) and hasattr(model, "get_latent_representation")):
        raise ValueError(f"latent_model is a {name}; give a model of scvi-tools that has get_latent_representation")
    if not model.is_trained:
        raise RuntimeError(f"latent_model is an untrained {name}; call its train() first")
    if not isinstance(model.adata, AnnData):
        raise ValueError(
            f"latent_model is a {name} on a {type(model.adata).__name__}; store its latent in the obsm of an AnnData with "
            "the expression, and give it as latent_key to setup_anndata"
        )


def posterior_of(
    model: BaseModelClass, adata: AnnData | None = None, indices: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Means and, where the model gives any, variances of the latents of cells."""
    if "return_dist" not in inspect.signature(model.get_latent_representation).parameters:
        return np.asarray(model.get_latent_representation(adata, indices), dtype=np.float32), None
    mean, var = model.get_latent_representation(adata, indices, return_dist=True)
    return np.asarray(mean, dtype=np.float32), None if var is None else np.asarray(var, dtype=np.float32)


def manager_with_latent(model: BaseModelClass, adata: AnnData | None) -> AnnDataManager:
    """Manager of ``adata``; where its latent is not stored, but the model's latent model can infer it, it is stored first."""
    latent_model, args = getattr(model, "latent_model", None), model.registry["setup_args"]
    key, var_key = args.get("latent_key"), args.get("latent_var_key")
    if adata is not None and not adata.is_view and latent_model is not None and key and key not in adata.obsm:
        mean, var = posterior_of(latent_model, adata)
        adata.obsm[key] = mean
        if var_key:
            adata.obsm[var_key] = var
    return manager_of(model, adata)
