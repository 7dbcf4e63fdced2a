"""Whether two modalities of generated cells belong together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from mudata import MuData

from scmichigan._cells import in_layer, matrices

from ._metric import MODALITIES, ModalityPair
from ._tables import Plan, Side, Tick, equal_number, metric_table, n_values


def check_modalities(sides: Mapping[str, MuData]) -> None:
    """Raise an error that names the first that is no MuData, or lacks a modality of the generated cells."""
    for name, cells in sides.items():
        if not isinstance(cells, MuData):
            raise ValueError(
                f"{name} is a {type(cells).__name__}, others are MuData: give MuData, or one modality of each"
            )
    for name, cells in sides.items():
        for modality in sides["generated"].mod:
            if modality not in cells.mod:
                raise KeyError(f"{name}[{modality!r}] does not exist, generated has it; {name} has {list(cells.mod)}")


def plan_together(sides: Mapping[str, MuData], *, layer: str | None, n_cells: int, seed: int) -> Plan:
    """Check two modalities of each side, and split the real cells as :func:`realism` does."""
    rng = np.random.default_rng(seed)
    cells = {
        name: [
            matrices({name: in_layer(side[modality], None if name == "generated" else layer, name)})[0]
            for modality in sides["generated"].mod
        ]
        for name, side in sides.items()
    }
    order = rng.permutation(sides["real"].n_obs)
    if "held_out" in cells:
        seen, reference = order, cells.pop("held_out")
    else:
        seen, other = np.array_split(order, 2)
        reference = [x[other] for x in cells["real"]]
    cells["real"] = [x[seen] for x in cells["real"]]
    parts = {"generated": cells["generated"], "real cells": cells["real"], "reference": reference}
    n_each = equal_number(n_cells, {name: Side(pair[0].shape[0]) for name, pair in parts.items()}, beside="real cells")
    for name, pair in parts.items():
        rows = rng.permutation(pair[0].shape[0])[:n_each]
        parts[name] = [x[rows] for x in pair]

    def compute(tick: Tick) -> pd.DataFrame:
        columns = {
            name: ModalityPair(reference=tuple(parts["reference"]), cells=tuple(parts[name]))
            for name in ("generated", "real cells")
        }
        return metric_table(MODALITIES, columns, tick)

    return Plan(n_values(MODALITIES, 2), compute)
