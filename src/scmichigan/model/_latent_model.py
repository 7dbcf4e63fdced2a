"""Models whose latents a GAN is trained on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import numpy as np
from anndata import AnnData
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from scmichigan._compat import manager_of

from ._fields import check_genes


def check_latent_model(model: object) -> None:
    """Refuse what is no trained model of single cells with a latent."""
    name = type(model).__name__
    if not (isinstance(model, BaseModelClass) and hasattr(model, "get_latent_representation")):
        raise ValueError(f"latent_model is a {name}; give a model of scvi-tools that has get_latent_representation")
    if not model.is_trained:
        raise RuntimeError(f"latent_model is an untrained {name}; call its train() first")


def as_it_is(model: BaseModelClass) -> BaseModelClass:
    """The same model, which stays as it is when it is trained further."""
    kept = copy(model)
    kept.module = deepcopy(model.module)
    kept.history_ = copy(model.history)
    return kept


def setup_arguments(model: BaseModelClass, setup: Callable[..., None], given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a setup: those of the model that it shares and, over them, those given."""
    known = inspect.signature(setup).parameters
    shared = {name: value for name, value in model.registry["setup_args"].items() if name in known}
    if not isinstance(shared.get("size_factor_key"), str):  # MULTIVI has several
        shared.pop("size_factor_key", None)
    if "modalities" in shared:
        its_own = {argument: name for argument, name in shared["modalities"].items() if argument in known}
        shared["modalities"] = its_own | given.get("modalities", {})
        given = {name: value for name, value in given.items() if name != "modalities"}
    return shared | given


def posterior_of(
    model: BaseModelClass, adata: AnnData | None = None, indices: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Means and, where the model gives any, variances of the latents of cells."""
    if adata is not None:  # models of scvi-tools compare no more than the number of genes
        check_genes(model.adata.var_names, adata.var_names, "adata")
    with levels_named(type(model).__name__, model.registry["setup_args"]):
        if "return_dist" not in inspect.signature(model.get_latent_representation).parameters:
            return _columns(model.get_latent_representation(adata, indices=indices)), None
        mean, var = model.get_latent_representation(adata, indices=indices, return_dist=True)
    return _columns(mean), None if var is None else _columns(var)


def _columns(latent: np.ndarray) -> np.ndarray:
    return np.asarray(latent, dtype=np.float32).reshape(len(latent), -1)


@contextmanager
def levels_named(name: str, setup_args: dict[str, Any]) -> Iterator[None]:
    """Say which columns of cells may have a level that a model of scvi-tools does not know, which says neither column nor cure."""
    try:
        yield
    except ValueError as error:
        if "extend_categories" not in str(error):
            raise
        several = setup_args.get("categorical_covariate_keys") or []
        keys = [setup_args.get("batch_key"), setup_args.get("labels_key"), *several]
        columns = " or ".join(f"obs[{key!r}]" for key in keys if key)
        raise ValueError(
            f"the {name} was trained without a level that these cells have ({error}): give these cells one of its levels in "
            f"{columns}, or store their latent in obsm"
        ) from error


def manager_with_latent(model: BaseModelClass, adata: AnnData | None) -> AnnDataManager:
    """Manager of ``adata``; where its latent is not stored, but the model's latent model can infer it, it is stored first."""
    latent_model, setup_args = getattr(model, "latent_model", None), model.registry["setup_args"]
    if adata is None or latent_model is None or not lacks_latent(setup_args, adata):
        return manager_of(model, adata)
    with stored(posterior_of(latent_model, adata), setup_args, adata):
        return manager_of(model, adata)


def manager_of_expression(model: BaseModelClass, adata: AnnData | None) -> AnnDataManager:
    """Manager of ``adata`` for its expression alone: where its latent is not stored, a copy has a stand-in for it."""
    setup_args = model.registry["setup_args"]
    key, var_key = (setup_args.get(name) for name in ("latent_key", "latent_var_key"))
    if adata is not None and key and key not in adata.obsm:
        adata = adata.copy()
        adata.obsm[key] = np.tile(np.arange(adata.n_obs, dtype=np.float32)[:, None], model.n_latent)
        if var_key:
            adata.obsm[var_key] = np.ones_like(adata.obsm[key])
    return manager_of(model, adata)


def lacks_latent(setup_args: dict[str, Any], adata: AnnData) -> bool:
    """Whether latents are to be stored with the cells, and are not; views cannot be written to."""
    key = setup_args.get("latent_key")
    return bool(key) and key not in adata.obsm and not adata.is_view


def check_width(mean: np.ndarray, key: str, adata: AnnData) -> None:
    """Refuse cells that hold another model's latents where those of this one are registered from."""
    width = np.shape(adata.obsm[key])[1:] if key in adata.obsm else mean.shape[1:]
    if width != mean.shape[1:]:
        raise ValueError(
            f"obsm[{key!r}] has {', '.join(map(str, width))} columns, the latent of the saved model {mean.shape[1]}: it is that "
            f"of another model; keep it under another key, and delete it from obsm[{key!r}]"
        )


@contextmanager
def stored(
    posterior: tuple[np.ndarray, np.ndarray | None], setup_args: dict[str, Any], adata: AnnData
) -> Iterator[None]:
    """Store the latents of cells where a model was set up with them; not of cells that are then refused."""
    latents = dict(zip([setup_args["latent_key"], setup_args.get("latent_var_key")], posterior, strict=True))
    latents.pop(None, None)
    adata.obsm.update(latents)
    try:
        yield
    except BaseException:
        for key in latents:
            del adata.obsm[key]
        raise
