"""Files of saved models: any version of pandas reads them, and nothing in them is run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import pandas as pd
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass
from scvi.module.base import PyroBaseModuleClass

from scmichigan._compat import saved_file, without_pyro_parameters

from ._latent_model import levels_named

# What scvi-tools writes beside tensors, text and numbers: arrays of names, and the dictionaries of the registry.
_DATA = {
    "builtins.bytes",
    "builtins.dict",
    "collections.defaultdict",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
}
# Where the class of a latent model is looked for by its name: no other code is imported for a file.
_PACKAGES = ("scmichigan.model", "scvi.model", "scvi.external")


class SavedMixin:
    """Saves and loads; a base only, before that of scvi-tools."""

    def save(self, dir_path: str, *args, **kwargs) -> None:
        """Save the model; arguments as in scvi-tools. Any version of pandas can read the file."""
        with _as_data(self):
            super().save(dir_path, *args, **kwargs)

    @classmethod
    def load(cls, dir_path: str, *args, prefix: str | None = None, backup_url: str | None = None, **kwargs) -> Self:
        """Load a saved model with cells of the same genes; arguments as in scvi-tools.

        Raises
        ------
        FileNotFoundError
            If there is no saved model.
        ValueError
            If ``adata`` has other genes than the model was trained on, or the file holds more than data, which might
            run when it is loaded.
        """
        path = _found(dir_path, prefix, backup_url)
        _check_holds_data(path, path)
        model = super().load(dir_path, *args, prefix=prefix, backup_url=backup_url, **kwargs)
        _restore_history(model)
        return model


def saved_attributes(dir_path: str, prefix: str | None, backup_url: str | None) -> dict[str, Any]:
    """What a saved model keeps beside its weights."""
    path = _found(dir_path, prefix, backup_url)
    _check_holds_data(path, path)
    return torch.load(path, map_location="cpu", weights_only=False)["attr_dict"]


def _found(dir_path: str, prefix: str | None, backup_url: str | None) -> str:
    """Path of a file that is there, downloaded where it would be."""
    path = saved_file(dir_path, prefix, backup_url)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{path} is not there: give the folder that the model was saved to, and its prefix where it was saved with one"
        )
    return path


def _check_holds_data(path: str, place: str) -> None:
    """Refuse a file that holds more than data: scvi-tools reads it by pickle, which runs what it is told to."""
    # Names of all functions and classes in the file, from its bytes; those that torch knows for harmless are left out.
    more = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - _DATA)
    if more:
        raise ValueError(
            f"{place} holds {', '.join(more)}, which is more than data and might run when it is loaded; if you trust its "
            "source, allow what is named with torch.serialization.add_safe_globals, and load again"
        )


@contextmanager
def _as_data(model: BaseModelClass) -> Iterator[None]:
    """Leave what is saved beside weights and numbers out for a while.

    The history is kept as lists: frames that pandas 3 pickled cannot be read by pandas 2. And scvi-tools would add what Pyro
    has of other models of the session.
    """
    history = model.history_
    model.history_ = None if history is None else {name: _lists(frame) for name, frame in history.items()}
    try:
        with nullcontext() if isinstance(model.module, PyroBaseModuleClass) else without_pyro_parameters():
            yield
    finally:
        model.history_ = history


def _restore_history(model: BaseModelClass) -> None:
    """Make frames again of a history that was saved as lists."""
    model.history_ = None if model.history_ is None else {name: _frame(saved) for name, saved in model.history_.items()}


def _lists(frame: pd.DataFrame | dict[str, Any]) -> dict[str, Any]:
    return frame.to_dict("tight") if isinstance(frame, pd.DataFrame) else frame


def _frame(saved: dict[str, Any] | pd.DataFrame) -> pd.DataFrame:
    # scvi-tools keeps the numbers as objects. A model that it saved itself has frames.
    return pd.DataFrame.from_dict(saved, orient="tight", dtype=object) if isinstance(saved, dict) else saved


def file_of(model: BaseModelClass) -> torch.Tensor:
    """Bytes of the file that the model is saved as."""
    with TemporaryDirectory() as folder, _as_data(model):
        model.save(folder, overwrite=True)
        return torch.frombuffer(bytearray(Path(saved_file(folder)).read_bytes()), dtype=torch.uint8)


def model_of(file: torch.Tensor, adata: AnnData, **kwargs) -> BaseModelClass:
    """Model whose file has these bytes, on the cells."""
    with TemporaryDirectory() as folder:
        path = saved_file(folder)
        Path(path).write_bytes(file.numpy(force=True).tobytes())
        _check_holds_data(path, "the latent model in the file")
        registry = BaseModelClass.load_registry(folder)
        with levels_named(registry["model_name"], registry["setup_args"]):
            model = _class_of(registry["model_name"]).load(folder, adata, **kwargs)
    _restore_history(model)
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
