"""What is asked of cells of several modalities beside what is asked of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from mudata import MuData

from scmichigan._cells import in_layer, matrices

from ._moments import cross_correlation_agreement
from ._registry import MODALITIES
from ._tables import Plan, Side, equal_number, metric_table, or_nan, with_best


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
    """Whether two modalities belong together."""
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

    def compute(tick: Callable[[], object]) -> pd.DataFrame:
        row = "correlations across modalities"
        columns = {
            name: {row: or_nan(cross_correlation_agreement, tuple(parts["reference"]), tuple(parts[name]))}
            for name in ("generated", "real cells")
        }
        tick()
        return with_best(MODALITIES, metric_table(MODALITIES, columns))

    return Plan(1, compute)


def one_below_another(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of all, by question and metric; ``attrs`` holds those of each."""
    attributes = {question: dict(table.attrs) for question, table in tables.items()}
    parts = {question: table.copy() for question, table in tables.items()}
    for part in parts.values():
        part.attrs, part.columns.name = {}, None  # pandas compares those of all parts
    whole = pd.concat(parts, names=["question", "metric"])
    whole.attrs = attributes
    return whole
