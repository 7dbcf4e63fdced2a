"""Checks of what users give: arguments, columns of obs and entries of obsm. Each question is asked here once."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy.sparse import issparse

_N_LEVELS_SHOWN = 20


def counted(number: int, noun: str) -> str:
    """Give a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def warn(message: str) -> None:
    """Warn of the line outside of this package that everything was called from, however deep below it this is."""
    package = __package__.partition(".")[0]
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def check_at_least(minimum: int, **values: int) -> None:
    """Raise a ``ValueError`` that names the first value that is no whole number, or below the minimum."""
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise ValueError(f"{name} is {value!r}: give a whole number")
        if value < minimum:
            raise ValueError(f"{name} is {value}: give {minimum} or more")


def check_anndata(**cells: AnnData) -> None:
    """Raise a ``ValueError`` that names the first that is no AnnData."""
    for name, value in cells.items():
        if not isinstance(value, AnnData):
            raise ValueError(f"{name} is a {type(value).__name__}: give an AnnData, with expression in X or a layer")


def own_keys(mapping: Iterable[str]) -> list[str]:
    """Names of columns or keys that are the user's, and not those that scvi-tools adds."""
    return [key for key in mapping if not str(key).startswith("_scvi")]


def check_obs_keys(obs: pd.DataFrame, keys: Iterable[str | None], name: str = "") -> None:
    """Raise a ``KeyError`` that lists the columns where one is missing; ``name`` is that of cells among others."""
    for key in keys:
        if key is not None and key not in obs:
            owner = f"{name}." if name else ""
            raise KeyError(f"{owner}obs[{key!r}] does not exist; the columns are {own_keys(obs)}")


def is_number(values: Any) -> bool:
    """Whether an array, a column or a dtype is of numbers, and not of truth values."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def all_obs(cells: AnnData | MuData) -> pd.DataFrame:
    """Labels of cells; of a MuData those of its modalities, too.

    A column of a modality that is in the MuData under its own name, or with the modality's before it, is there once.
    """
    obs = cells.obs
    for name, modality in cells.mod.items() if isinstance(cells, MuData) else ():
        own = modality.obs.reindex(cells.obs_names)
        obs = obs.drop(columns=[f"{name}:{key}" for key in own if f"{name}:{key}" in obs])
        obs = pd.concat([obs, own[[key for key in own if key not in obs]]], axis=1)
    return obs


def obsm_matrix(adata: AnnData, key: str, cure: str, name: str = "adata") -> np.ndarray:
    """Give an entry of obsm as numbers; an error with the cure where it is missing or holds anything else."""
    if key not in adata.obsm:
        raise KeyError(f"obsm[{key!r}] is not in {name}, which has {sorted(own_keys(adata.obsm))}: {cure}")
    value = adata.obsm[key]
    columns = value.infer_objects().dtypes.items() if isinstance(value, pd.DataFrame) else [(None, value.dtype)]
    for column, dtype in columns:
        if not pd.api.types.is_numeric_dtype(dtype):
            place = "" if column is None else f"[{column!r}]"
            raise ValueError(f"{name}.obsm[{key!r}]{place} holds {dtype} values: store numbers, or leave it out")
    return np.asarray(value.toarray() if issparse(value) else value, dtype=np.float64)


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise a ``ValueError`` where a value is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose {' or '.join(map(repr, choices))}")


def check_labels(labels: dict[str, object] | None, name: str) -> None:
    """Refuse anything but one label for each key."""
    if labels is not None and not (isinstance(labels, dict) and all(map(pd.api.types.is_scalar, labels.values()))):
        raise ValueError(f"{name} is {labels!r}; give one label for each obs key, such as {{'cell_type': 'B cells'}}")


def check_n_samples(n_samples: int | None) -> None:
    """Refuse anything but a positive number of cells."""
    if not isinstance(n_samples, Integral | None):
        raise ValueError(f"n_samples is {n_samples!r}; give a whole number of cells")
    if n_samples is not None and n_samples < 1:
        raise ValueError(f"n_samples is {n_samples}; ask for at least 1 cell")


def rows_where(adata: AnnData, labels: dict[str, object] | None, name: str = "labels") -> np.ndarray:
    """Rows of the cells with these labels, which an argument of that name gave; of all cells without it."""
    check_labels(labels, name)
    keep = np.ones(adata.n_obs, dtype=bool)
    for key, level in (labels or {}).items():
        check_level(adata, key, level)
        keep &= has_level(adata.obs[key], level)
    if not keep.any():
        raise ValueError(f"no cell has the labels {labels}; loosen {name}=")
    return np.flatnonzero(keep)


def has_level(column: pd.Series, level: object) -> np.ndarray:
    """Which cells have this label; those without any do not."""
    return (column == level).to_numpy(dtype=bool, na_value=False)


def check_level(adata: AnnData, key: str, level: object) -> None:
    """Refuse a label that no cell has."""
    check_obs_keys(adata.obs, [key])
    if not has_level(adata.obs[key], level).any():
        values = adata.obs[key].dropna().unique()
        are_numbers = is_number(values)
        levels = list(map(str, sorted(values))) if are_numbers else sorted(map(repr, values.tolist()))
        shown = ", ".join(levels[:_N_LEVELS_SHOWN])
        if len(levels) > _N_LEVELS_SHOWN:
            shown += f" and {len(levels) - _N_LEVELS_SHOWN} more"
        shown = f"{shown} and, for a prediction, numbers between them" if are_numbers else f"[{shown}]"
        raise ValueError(f"no cell has obs[{key!r}] == {level!r}; the levels are {shown}")


def check_levels(adata: AnnData, keys: Sequence[str]) -> None:
    """Refuse columns of combinations that have a single label, or nearly one for each cell."""
    for key in keys:
        levels = adata.obs[key].dropna().unique()
        if len(levels) < 2:
            only = repr(levels[0]) if len(levels) else "missing labels"
            raise ValueError(f"obs[{key!r}] has {only} only; give keys with two or more labels each")
        if 2 * len(levels) > adata.n_obs:
            raise ValueError(
                f"obs[{key!r}] has {len(levels)} values in {adata.n_obs} cells, which are no labels; give keys whose labels "
                "several cells have"
            )


def is_between(adata: AnnData, key: str, level: object) -> bool:
    """Whether a label is a number that no cell has, but some have smaller and some larger ones."""
    check_obs_keys(adata.obs, [key])
    values = adata.obs[key]
    if not is_number(values) or not isinstance(level, Real):
        return False
    return values.min() < level < values.max() and not (values == level).any()


def check_trained(model: Any) -> None:
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
