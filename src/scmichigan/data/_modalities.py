"""Generated cells with proteins, in the form in which the real ones were registered."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import mudata
import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from scmichigan import _keys


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


def add_proteins(
    cells: AnnData,
    real: AnnData | MuData,
    setup_args: Mapping[str, Any],
    expression: np.ndarray,
    counts: np.ndarray | None = None,
) -> None:
    """Put generated proteins into obsm, log-normalised and as counts, these in the form of the registered ones."""
    cells.obsm[_keys.PROTEINS] = expression
    if counts is None:
        return
    key = setup_args.get("protein_expression_obsm_key")
    registered = real.obsm.get(key) if key else None
    if isinstance(registered, pd.DataFrame):
        counts = pd.DataFrame(counts, index=cells.obs_names, columns=registered.columns)
    cells.obsm[key or _keys.PROTEIN_COUNTS] = counts
