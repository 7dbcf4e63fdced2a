"""What all tables of metrics share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from scmichigan._checks import check_at_least, counted, warn

from ._registry import rows_of

_N_LEAST = 5  # a cell for each fold of the random forests
_N_RELIABLE = 50

Tick = Callable[[], object]  # takes one step of the progress bar


class Plan(NamedTuple):
    """A table whose input has been checked: the number of columns that are computed, and what computes them."""

    n_columns: int
    compute: Callable[[Tick], pd.DataFrame]


class Side(NamedTuple):
    """Cells to be compared with others: how many, and in how many parts they are split (and when in fewer)."""

    n_cells: int
    n_parts: int = 1
    unless: str = ""


def computed(plans: Mapping[str, Plan], *, enable_progress_bar: bool) -> dict[str, pd.DataFrame]:
    """Compute the tables, with one progress bar for all of them."""
    tables = {}
    # The question of "realism, rna" is realism.
    n_steps = sum(len(rows_of(name.partition(",")[0])) * plan.n_columns for name, plan in plans.items())
    with tqdm(total=n_steps, disable=not enable_progress_bar, leave=False) as bar:
        for question, plan in plans.items():
            bar.set_description(question)
            tables[question] = plan.compute(bar.update)
    return tables


def metric_table(question: str, columns: Mapping[str, Any], tick: Tick) -> pd.DataFrame:
    """Compute all metrics of a question for each column; then the best value of each, for the first column."""
    rows = rows_of(question)
    values = {name: {} for name in columns}
    for name, column in columns.items():
        for row in rows:
            if (value := row.compute(column)) is not None:
                values[name][row.name] = value
            tick()
    table = pd.DataFrame(values, dtype=np.float64)
    rows = [row for row in rows if row.name in table.index]
    first = next(iter(columns.values()))
    best = [row.best(first) if callable(row.best) else row.best for row in rows]
    return table.loc[[row.name for row in rows]].rename_axis("metric").assign(best=np.array(best, dtype=np.float64))


def one_below_another(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of all, by question and metric; ``attrs`` holds those of each."""
    attributes = {question: dict(table.attrs) for question, table in tables.items()}
    parts = {question: table.copy() for question, table in tables.items()}
    for part in parts.values():
        part.attrs, part.columns.name = {}, None  # pandas compares those of all parts
    whole = pd.concat(parts, names=["question", "metric"])
    whole.attrs = attributes
    return whole


def derived_key(key_added: str, default: str, name: str) -> str:
    """Key of what is written beside ``key_added``: "michigan_name" beside "michigan_realism", "mine_name" beside "mine"."""
    question = default.partition("_")[2]
    return f"{key_added.removesuffix(f'_{question}')}_{name}"


def equal_number(n_cells: int | None, sides: Mapping[str, Side], *, beside: str) -> int:
    """Number of cells that all sides have, at most ``n_cells``; an error or a warning where it is small."""
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
