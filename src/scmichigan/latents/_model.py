"""Latents that a model infers: the beta-TCVAE that a GAN fits first, or a trained model that it was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass

from scmichigan import _keys
from scmichigan._compat import saved_file
from scmichigan._saved import as_data, check_holds_data, read_attributes, restore_history
from scmichigan.data import check_genes

from ._encoder import Encoder, model_encoder, ridge_encoder
from ._stored import CellsOf, Posterior, check_width, lacks_latent, stored

# Where the class of a latent model is looked for by its name: no other code is imported for a file.
_PACKAGES = ("scmichigan.model", "scvi.model", "scvi.external")


class FittedLatent:
    """The latent of a beta-TCVAE that a GAN (whose name is for errors) fits first; ``name`` is its key of obsm."""

    def __init__(self, of: str, model: BaseModelClass | None = None, name: str = _keys.LATENT) -> None:
        self.of = of
        self.model = model
        self.name = name

    @property
    def encoder(self) -> Encoder:
        """What encodes log-normalised expression."""
        return model_encoder(self.model)

    def posterior(self, adata: AnnData | None = None, indices: Sequence[int] | None = None) -> Posterior:
        """Posterior of the latents of cells, of the registered ones without ``adata``."""
        if self.model is None:
            raise RuntimeError(f"the beta-TCVAE of this {self.of} is not trained yet; call train() first")
        return posterior_of(self.model, adata, indices)

    def file(self) -> torch.Tensor | None:
        """The model's file, which is saved with the GAN."""
        return None if self.model is None else file_of(self.model)


class ModelLatent:
    """The latent of a trained model, which also encodes new cells; ``name`` is the key of obsm that it is registered from.

    ``own`` is the posterior of the registered cells, as obsm is open to other models.
    """

    def __init__(self, model: BaseModelClass, name: str, cells_of: CellsOf, own: Posterior | None = None) -> None:
        self.model = model
        self.name = name
        self.cells_of = cells_of
        self.own = own
        encodes = hasattr(model, "encode_expression")
        self.encoder = model_encoder(model) if encodes else ridge_encoder(lambda: (cells_of(None), self.posterior()[0]))

    @classmethod
    def from_model(cls, model: BaseModelClass, name: str, cells_of: CellsOf, own: Posterior) -> ModelLatent:
        """With a copy of the model, which stays as it is when the model is trained further."""
        kept = copy(model)
        kept.module = deepcopy(model.module)
        kept.history_ = copy(model.history)
        return cls(kept, name, cells_of, own)

    def posterior(self, adata: AnnData | None = None, indices: Sequence[int] | None = None) -> Posterior:
        """Posterior of the latents of cells; of the registered ones, that which the generator was trained with."""
        if not (adata is None or adata is self.cells_of(None).adata):
            return posterior_of(self.model, adata, indices)
        if self.own is None:
            self.own = posterior_of(self.model)
        rows = slice(None) if indices is None else indices
        mean, var = self.own
        return mean[rows], None if var is None else var[rows]

    def file(self) -> torch.Tensor:
        """The model's file, which is saved with the GAN."""
        return file_of(self.model)


def check_latent_model(model: object) -> None:
    """Refuse what is no trained model of single cells with a latent."""
    name = type(model).__name__
    if not (isinstance(model, BaseModelClass) and hasattr(model, "get_latent_representation")):
        raise ValueError(f"latent_model is a {name}; give a model of scvi-tools that has get_latent_representation")
    if not model.is_trained:
        raise RuntimeError(f"latent_model is an untrained {name}; call its train() first")


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
) -> Posterior:
    """Means and, where the model gives any, variances of the latents of cells."""
    if adata is not None:  # models of scvi-tools compare no more than the number of genes
        check_genes(model.adata.var_names, adata.var_names, "adata")
    with _levels_named(type(model).__name__, model.registry["setup_args"]):
        if "return_dist" not in inspect.signature(model.get_latent_representation).parameters:
            return _columns(model.get_latent_representation(adata, indices=indices)), None
        mean, var = model.get_latent_representation(adata, indices=indices, return_dist=True)
    return _columns(mean), None if var is None else _columns(var)


def _columns(latent: np.ndarray) -> np.ndarray:
    return np.asarray(latent, dtype=np.float32).reshape(len(latent), -1)


@contextmanager
def _levels_named(name: str, setup_args: dict[str, Any]) -> Iterator[None]:
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


def file_of(model: BaseModelClass) -> torch.Tensor:
    """Bytes of the file that the model is saved as."""
    with TemporaryDirectory() as folder, as_data(model):
        model.save(folder, overwrite=True)
        return torch.frombuffer(bytearray(Path(saved_file(folder)).read_bytes()), dtype=torch.uint8)


def model_of(file: torch.Tensor, adata: AnnData, **kwargs) -> BaseModelClass:
    """Model whose file has these bytes, on the cells."""
    with TemporaryDirectory() as folder:
        path = saved_file(folder)
        Path(path).write_bytes(file.numpy(force=True).tobytes())
        check_holds_data(path, "the latent model in the file")
        registry = BaseModelClass.load_registry(folder)
        with _levels_named(registry["model_name"], registry["setup_args"]):
            model = _class_of(registry["model_name"]).load(folder, adata, **kwargs)
    restore_history(model)
    return model


def _class_of(name: str) -> type[BaseModelClass]:
    for package in _PACKAGES:
        found = getattr(import_module(package), name, None)
        if found is not None:
            return found
    raise ValueError(
        f"the latent model is a {name}, which none of {', '.join(_PACKAGES)} has; load it yourself, store its latent in "
        "obsm, and set up a new model with latent_key"
    )


@contextmanager
def latent_of_file(
    path: str, adata: AnnData | MuData | None, **devices: Any
) -> Iterator[tuple[BaseModelClass, tuple[np.ndarray, np.ndarray | None]] | None]:
    """The latent model of a saved GAN with the latents of the cells, which are stored with them for a while to be loaded.

    ``None`` where the file has no latent model, or the cells of the file are to be loaded.
    """
    saved = {} if adata is None else read_attributes(path)
    setup_args = saved["registry_"]["setup_args"] if saved else {}
    key = setup_args.get("latent_key")
    if saved.get("latent_file_") is None or not key:
        yield None
        return
    if isinstance(adata, AnnData):  # before a model of scvi-tools says so, without the cure
        registered = saved["registry_"]["field_registries"][REGISTRY_KEYS.X_KEY]["state_registry"]
        check_genes(registered["column_names"], adata.var_names, "adata")
    latent_model = model_of(saved["latent_file_"], adata, **devices)
    posterior = posterior_of(latent_model)
    if lacks_latent(setup_args, adata):
        with stored(posterior, setup_args, adata):
            yield latent_model, posterior
    else:
        check_width(posterior[0], key, adata)
        yield latent_model, posterior
