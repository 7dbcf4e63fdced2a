"""Cells whose RNA and proteins were both counted: how they are registered, and given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import mudata
import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data.fields import BaseAnnDataField

from scmichigan import _keys
from scmichigan._checks import all_obs
from scmichigan._compat import setup_method_args

from ._fields import (
    ExpressionField,
    Places,
    SizeFactorField,
    cell_fields,
    check_scale,
    latent_fields,
    refuse_minified,
    register,
)

_LAYERS = {"rna_layer": REGISTRY_KEYS.X_KEY, "protein_layer": REGISTRY_KEYS.PROTEIN_EXP_KEY}


def register_modalities(setup_locals: dict[str, Any]) -> None:
    """Check and register the cells of a MuData: the body of every ``setup_mudata``; takes its ``locals()``."""
    cls, mdata, kwargs = (setup_locals[name] for name in ("cls", "mdata", "kwargs"))
    setup_args = setup_method_args(setup_locals)
    args = dict(setup_args["setup_args"])
    modalities = args.pop("modalities")
    _check_modalities(mdata, modalities, list(args))
    check_scale("counts", args.pop("target_sum"))
    places = Places(mdata, modalities)
    layers = {argument: args.pop(argument) for argument in _LAYERS}
    fields: list[BaseAnnDataField] = [
        places.field(ExpressionField, argument, layer, "counts", modality=modalities[argument], registry_key=key)
        for (argument, layer), key in zip(layers.items(), _LAYERS.values(), strict=True)
        if modalities.get(argument) is not None
    ]
    latent_keys = args.pop("latent_key", None), args.pop("latent_var_key", None)
    fields += cell_fields(places, **args)
    if (key := args["size_factor_key"]) is not None:
        rna = modalities["rna_layer"]
        fields.append(places.field(SizeFactorField, "size_factor_key", key, layers["rna_layer"], rna))
    register(cls, mdata, fields + latent_fields(mdata, *latent_keys), setup_args, kwargs)


def _check_modalities(mdata: MuData, modalities: Mapping[str, str] | None, arguments: Sequence[str]) -> None:
    """Refuse modalities that are not there, and cells that are not the same in the same order."""
    if not isinstance(mdata, MuData):
        raise ValueError(f"mdata is a {type(mdata).__name__}; give a MuData, or an AnnData to setup_anndata")
    refuse_minified(mdata, "mdata")
    example = "{'rna_layer': 'rna', 'protein_layer': 'protein'}"
    if not isinstance(modalities, Mapping) or modalities.get("rna_layer") is None:
        raise ValueError(
            f"modalities is {modalities!r}; say where the RNA is and, if there are any, the proteins, such as {example}: "
            f"mdata has {list(mdata.mod)}"
        )
    for argument, name in modalities.items():
        if argument not in arguments:
            raise ValueError(
                f"modalities has {argument!r}, which is no argument of setup_mudata; these are {arguments}"
            )
        if name is not None and name not in mdata.mod:
            raise KeyError(f"mdata[{name!r}] does not exist (modalities[{argument!r}]); it has {list(mdata.mod)}")
    for name in {modalities[argument] for argument in _LAYERS if modalities.get(argument) is not None}:
        given = mdata[name].obs_names
        if not given.equals(mdata.obs_names):
            missing = mdata.obs_names.difference(given)
            what = f"lacks {len(missing)} of them, the first is {missing[0]!r}" if len(missing) else "has another order"
            raise ValueError(
                f"mdata has {mdata.n_obs} cells, and mdata[{name!r}] {what}; take the cells that all modalities have, in "
                "one order: names = mdata['rna'].obs_names.intersection(mdata['protein'].obs_names), and "
                "MuData({'rna': rna[names].copy(), 'protein': protein[names].copy()})"
            )


def annotation(cells: AnnData | MuData, modalities: Mapping[str, str] | None) -> AnnData:
    """AnnData with the labels of the cells: an AnnData itself; of a MuData the columns of all obs, and the genes."""
    if isinstance(cells, AnnData):
        return cells
    return AnnData(obs=all_obs(cells), var=cells[modalities["rna_layer"]].var)


def in_modalities(cells: AnnData, mdata: MuData, setup_args: Mapping[str, Any]) -> MuData:
    """Generated cells as a MuData of the registered modalities."""
    modalities = setup_args["modalities"]
    parts = {modalities["rna_layer"]: AnnData(cells.X, cells.obs, cells.var, layers=dict(cells.layers))}
    if (name := modalities.get("protein_layer")) is not None:
        of_proteins = cells.obs.drop(columns=setup_args["size_factor_key"] or _keys.TOTAL_COUNTS, errors="ignore")
        protein = AnnData(cells.obsm[_keys.PROTEINS], of_proteins, mdata[name].var.copy())
        if _keys.PROTEIN_COUNTS in cells.obsm:
            protein.layers[_keys.COUNTS] = cells.obsm[_keys.PROTEIN_COUNTS]
        parts[name] = protein
    # mudata 0.3 would copy all columns of all modalities to its own obs, and says so; 0.4 does not, and has no such option.
    with mudata.set_options(pull_on_update=False) if hasattr(mudata, "set_options") else nullcontext():
        made = MuData(parts)
    made.obs = cells.obs.copy()
    for key, value in cells.obsm.items():
        if key not in (_keys.PROTEINS, _keys.PROTEIN_COUNTS):
            made.obsm[key] = value
    made.uns = dict(cells.uns)
    return made


def like_registered(values: np.ndarray, registered: object, names: pd.Index) -> np.ndarray | pd.DataFrame:
    """Proteins in the form in which the registered ones are."""
    if isinstance(registered, pd.DataFrame):
        return pd.DataFrame(values, index=names, columns=registered.columns)
    return values
