"""Rows of tables, and the columns they are computed from. Legend: n cells, g genes, k latents, f factors, m latents."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from scmichigan._arrays import Matrix

DISENTANGLEMENT = "disentanglement"
GENERATOR = "generator disentanglement"
REALISM = "realism"
PREDICTION = "prediction"
ARITHMETIC = "latent arithmetic"
MODALITIES = "modalities"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Metric:
    """One row of tables: the ``questions`` it answers, one table each, and the public ``function`` it is computed by.

    ``compute`` takes a column of the table, one of the classes below, and gives the value: NaN where it is not defined
    for these cells, None where the row does not apply to them. ``best`` is the value to wish for, or a function of the
    first column where it depends on the cells.
    """

    name: str
    questions: tuple[str, ...]
    function: Callable[..., Any]
    compute: Callable[[Any], float | None]
    low: float
    high: float
    best: float | Callable[[Any], float | None]
    source: str


class Cost(NamedTuple):
    """Arguments that all tables of cells have, under the names that metrics have for them."""

    n_cells: int
    n_trees: int
    seed: int
    n_jobs: int | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Latents:
    """A column of "disentanglement" and "generator disentanglement": latents and factors of the same cells."""

    mean_nk: np.ndarray
    var_nk: np.ndarray | None = None
    factors_nf: pd.DataFrame
    ordered: list[str]  # factors that have ranks
    n_cells: int = 12_000  # as mutual_information has it
    seed: int
    independence_of: tuple[np.ndarray, np.ndarray | None] | None = None  # if others than these for total correlation


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """A column of "realism" and "prediction": cells, and the real ones that they are compared with."""

    reference_ng: Matrix
    cells_ng: Matrix
    pca: PCA
    cost: Cost
    forest_sides: tuple[Matrix, Matrix] | None = None  # what a random forest classifies, where there are more cells
    labelled: tuple[Matrix, pd.Series] | None = None  # real cells and their types
    ceiling_of: "Comparison | None" = None  # the column whose best value these cells, real ones too, show
    control_ng: Matrix | None = None  # of a prediction, as are the real cells of other targets
    targets: Mapping[Hashable, Matrix] = field(default_factory=dict)


class ModalityPair(NamedTuple):
    """A column of "modalities": two modalities of real cells, and of the cells compared with them."""

    reference_ng: list[Matrix]
    cells_ng: list[Matrix]


class PredictedLatents(NamedTuple):
    """A column of "latent arithmetic": latents of real and predicted cells, and posteriors of the training cells."""

    real_mk: np.ndarray
    predicted_mk: np.ndarray
    mean_nk: np.ndarray
    var_nk: np.ndarray


def once(compute: Callable[[Any], Value]) -> Callable[[Any], Value]:
    """Compute what several rows need once for each column."""
    known = WeakKeyDictionary()

    @wraps(compute)
    def remembered(column: Any) -> Value:
        if column not in known:
            known[column] = compute(column)
        return known[column]

    return remembered


def or_nan(metric: Callable[..., float], *args: Any, **kwargs: Any) -> float:
    """The metric, or NaN where it refuses cells that were checked before: it is not defined for these."""
    try:
        return metric(*args, **kwargs)
    except ValueError:
        return np.nan


def of_sides(metric: Callable[..., float], **options: Any) -> Callable[[Comparison | ModalityPair], float]:
    """Compute a metric of real and other cells from a column."""
    return lambda column: or_nan(metric, column.reference_ng, column.cells_ng, **options)
