"""The only place for private names of scvi-tools: those that its guide for developers asks a model to call."""

import os
from contextlib import AbstractContextManager
from typing import Any

import pyro
import rich.pretty  # noqa: F401  scvi-tools 1.4 uses it in view_anndata_setup, and does not import it
from anndata import AnnData
from mudata import MuData
from scvi.data import AnnDataManager
from scvi.data._constants import _ADATA_MINIFY_TYPE_UNS_KEY
from scvi.data._download import _download
from scvi.model.base import BaseModelClass

MINIFIED = _ADATA_MINIFY_TYPE_UNS_KEY  # in uns of what scvi-tools' minify_adata has made


def setup_method_args(setup_locals: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``setup_anndata`` in the form that the registry keeps; takes its ``locals()``."""
    setup_locals = {name: value for name, value in setup_locals.items() if name != "__class__"}
    return setup_locals["cls"]._get_setup_method_args(**setup_locals)


def finish_init(model: BaseModelClass, init_locals: dict[str, Any], summary: str) -> None:
    """Record what ``load`` needs to rebuild the model, and what ``repr`` prints; takes ``locals()`` of ``__init__``."""
    model._model_summary_string = summary
    model.init_params_ = model._get_init_params(init_locals)


def manager_of(model: BaseModelClass, adata: AnnData | None) -> AnnDataManager:
    """Manager of ``adata``, registering it like the model's own cells where it is new."""
    if adata is not None and isinstance(model.adata, MuData) != isinstance(adata, MuData):
        own, given = type(model.adata).__name__, type(adata).__name__
        raise ValueError(f"the model was set up with {own}, and these cells are {given}; give {own}")
    return model.get_anndata_manager(model._validate_anndata(adata), required=True)


def without_pyro_parameters() -> AbstractContextManager:
    """Put Pyro's parameters away for a while: scvi-tools writes those of all models of the session into each saved file."""
    return pyro.get_param_store().scope()


def saved_file(dir_path: str, prefix: str | None = None, backup_url: str | None = None) -> str:
    """Path of the file that ``load`` will read, downloaded where it would be."""
    name = f"{prefix or ''}model.pt"
    if backup_url is not None:
        _download(backup_url, dir_path, name)
    return os.path.join(dir_path, name)
