"""Files of saved models: any version of pandas reads them, and nothing in them is run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pandas as pd
import torch
from scvi.model.base import BaseModelClass
from scvi.module.base import PyroBaseModuleClass

from ._compat import saved_file, without_pyro_parameters

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


def read_attributes(path: str) -> dict[str, Any]:
    """What a saved model, whose file was checked, keeps beside its weights."""
    return torch.load(path, map_location="cpu", weights_only=False)["attr_dict"]


def check_file(dir_path: str, prefix: str | None = None, backup_url: str | None = None) -> str:
    """Path of a file that is there, downloaded where it would be, and holds data only."""
    path = saved_file(dir_path, prefix, backup_url)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{path} is not there: give the folder that the model was saved to, and its prefix where it was saved with one"
        )
    check_holds_data(path, path)
    return path


def check_holds_data(path: str, place: str) -> None:
    """Refuse a file that holds more than data: scvi-tools reads it by pickle, which runs what it is told to."""
    # Names of all functions and classes in the file, from its bytes; those that torch knows for harmless are left out.
    more = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - _DATA)
    if more:
        raise ValueError(
            f"{place} holds {', '.join(more)}, which is more than data and might run when it is loaded; if you trust its "
            "source, allow what is named with torch.serialization.add_safe_globals, and load again"
        )


@contextmanager
def as_data(model: BaseModelClass) -> Iterator[None]:
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


def restore_history(model: BaseModelClass) -> None:
    """Make frames again of a history that was saved as lists."""
    model.history_ = None if model.history_ is None else {name: _frame(saved) for name, saved in model.history_.items()}


def _lists(frame: pd.DataFrame | dict[str, Any]) -> dict[str, Any]:
    return frame.to_dict("tight") if isinstance(frame, pd.DataFrame) else frame


def _frame(saved: dict[str, Any] | pd.DataFrame) -> pd.DataFrame:
    # scvi-tools keeps the numbers as objects. A model that it saved itself has frames.
    return pd.DataFrame.from_dict(saved, orient="tight", dtype=object) if isinstance(saved, dict) else saved
