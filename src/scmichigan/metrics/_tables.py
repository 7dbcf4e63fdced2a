"""What the tables of metrics do alike."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from scmichigan._arrays import Matrix
from scmichigan._checks import check_at_least, counted

from ._moments import gene_agreement
from ._registry import registry

_N_LEAST = 5  # a cell for each fold of the random forests
_N_RELIABLE = 50
_AGREEMENT = {
    "R2 of means": "r2_mean",
    "R2 of variances": "r2_variance",
    "R2 of zero fractions": "r2_zero_fraction",
    "zero fraction": "zero_fraction_generated",
}


class Plan(NamedTuple):
    """A table that nothing stands in the way of: steps of a progress bar, and what takes them and gives the table."""

    n_steps: int
    compute: Callable[[Callable[[], object]], pd.DataFrame]


class Side(NamedTuple):
    """Cells to be compared with others: how many, and in how many parts they are split (and when in fewer)."""

    n_cells: int
    n_parts: int = 1
    unless: str = ""


def computed(plans: Mapping[str, Plan], *, enable_progress_bar: bool) -> dict[str, pd.DataFrame]:
    """Compute the tables, with one progress bar for all of them."""
    tables = {}
    n_steps = sum(plan.n_steps for plan in plans.values())
    with tqdm(total=n_steps, disable=not enable_progress_bar, leave=False) as bar:
        for question, plan in plans.items():
            bar.set_description(question)
            tables[question] = plan.compute(bar.update)
    return tables


def warn(message: str) -> None:
    """Warn of the line outside of this package that everything was called from, however deep below it this is."""
    package = __package__.partition(".")[0]
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def metric_table(question: str, columns: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Values of a question's metrics in the registry's order, one column for each thing that is judged."""
    values = pd.DataFrame(columns, dtype=np.float64)
    known = registry().loc[question].index
    return values.loc[known[known.isin(values.index)]].rename_axis("metric")


def with_best(question: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the value to wish for of each metric, unless it has it already."""
    known = registry().loc[question.partition(",")[0], "best"].loc[table.index]  # "realism, rna"
    return table.assign(best=table["best"].fillna(known) if "best" in table else known)


def equal_number(n_cells: int | None, sides: Mapping[str, Side], *, beside: str) -> int:
    """Give the number of cells that all sides have, ``n_cells`` at most where it is given.

    Fewer than forests need are refused; of fewer than make a value one warns, and names the column to read it beside.
    """
    asked_for = {} if n_cells is None else {"n_cells": n_cells}
    check_at_least(_N_LEAST, **asked_for)
    for name, side in sides.items():
        if side.n_cells < _N_LEAST * side.n_parts:
            raise ValueError(f"{name} has {counted(side.n_cells, 'cell')}: give {_needed(side, _N_LEAST)}")
    number = {name: side.n_cells // side.n_parts for name, side in sides.items()}
    few = [
        f"{name} has {side.n_cells} (give {_needed(side, _N_RELIABLE)})"
        for name, side in sides.items()
        if number[name] < _N_RELIABLE
    ]
    few += [f"{name} is {n} (give {_N_RELIABLE} or more)" for name, n in asked_for.items() if n < _N_RELIABLE]
    if few:
        warn(
            f"with fewer than {_N_RELIABLE} cells on a side values are mostly noise: {', '.join(few)}; read them beside "
            f"the column {beside!r}"
        )
    return min([*asked_for.values(), *number.values()])


def _needed(side: Side, number: int) -> str:
    return f"{number if side.n_parts == 1 else f'{side.n_parts} x {number}'} or more{side.unless}"


def without_label(obs: pd.DataFrame, name: str) -> dict[str, int]:
    """Count the cells that lack a label, for each column where some do, and warn of them."""
    missing = {key: int(n_missing) for key, n_missing in obs.isna().sum().items() if n_missing}
    if missing:
        counted = ", ".join(f"{n_missing} of {len(obs)} no {key!r}" for key, n_missing in missing.items())
        warn(
            f"cells of {name} without a label are left out of what needs it: {counted}; fill the labels in, or leave "
            "these cells out of everything"
        )
    return missing


def agreement_rows(real: Matrix, cells: Matrix, rows: Iterable[str] = tuple(_AGREEMENT)) -> dict[str, float]:
    """Rows of :func:`gene_agreement` under their names in tables; NaN for a single gene."""
    agreement = gene_agreement(real, cells) if real.shape[1] > 1 else {}
    return {row: agreement.get(_AGREEMENT[row], np.nan) for row in rows}


def or_nan(metric: Callable[..., float], *args, **kwargs) -> float:
    """The metric, or NaN where it refuses cells that were checked before: it is not defined for these."""
    try:
        return metric(*args, **kwargs)
    except ValueError:
        return np.nan
