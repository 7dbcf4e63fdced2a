"""What the tables of metrics do alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from scmichigan._cells import Matrix, check_at_least

from ._moments import gene_agreement
from ._registry import registry

_N_FOLDS = 5  # of the random forests, and so the least number of cells
_AGREEMENT = {
    "R2 of means": "r2_mean",
    "R2 of variances": "r2_variance",
    "R2 of zero fractions": "r2_zero_fraction",
    "zero fraction": "zero_fraction_generated",
}


def metric_table(question: str, columns: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Values of a question's metrics in the registry's order, one column for each thing that is judged."""
    values = pd.DataFrame(columns, dtype=np.float64)
    known = registry().loc[question].index
    return values.loc[known[known.isin(values.index)]].rename_axis("metric")


def with_best(question: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the value to wish for of each metric, unless it has it already."""
    known = registry().loc[question, "best"].loc[table.index]
    return table.assign(best=table["best"].fillna(known) if "best" in table else known)


def equal_number(n_cells: int, available: Mapping[str, int]) -> int:
    """Give the number of cells that all sides have, ``n_cells`` at most; refuse fewer than forests need."""
    check_at_least(1, n_cells=n_cells)
    fewest = min(available, key=lambda name: available[name])
    number = min(n_cells, available[fewest])
    if number < _N_FOLDS:
        raise ValueError(f"{number} cells of {fewest} are too few to judge: {_N_FOLDS} of each side are the least")
    return number


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
