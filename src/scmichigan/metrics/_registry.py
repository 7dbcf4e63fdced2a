"""All metrics that stand in tables. To add one, list its file here, at its place in the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import (
    _change,
    _correlation,
    _discrimination,
    _entropy,
    _inception,
    _information,
    _moments,
    _predictability,
    _rank,
    _realism,
    _total_correlation,
    _votes,
)
from ._metric import ARITHMETIC, DISENTANGLEMENT, GENERATOR, MODALITIES, PREDICTION, REALISM, Metric

_FILES = (
    _information,
    _correlation,
    _votes,
    _predictability,
    _total_correlation,
    _discrimination,
    _realism,
    _inception,
    _moments,
    _change,
    _rank,
    _entropy,
)
_QUESTIONS = (DISENTANGLEMENT, GENERATOR, REALISM, PREDICTION, MODALITIES, ARITHMETIC)


def rows_of(question: str) -> list[Metric]:
    """Metrics that answer a question, in the order of its table."""
    return [row for file in _FILES for row in file.ROWS if question in row.questions]


def registry() -> pd.DataFrame:
    """List all metrics that stand in tables, with their ranges and sources.

    Returns
    -------
    One row for each question and metric. Columns: ``function``, its name in ``scmichigan.metrics``; ``low`` and
    ``high``, the ends of its range; ``best``, the value to wish for; and ``source``. ``best`` is NaN where it depends on
    the cells; the tables have it.

    Examples
    --------
    >>> mg.metrics.registry().loc["prediction"]
    """
    shown = {
        (question, row.name): {
            "function": row.function.__name__,
            "low": row.low,
            "high": row.high,
            "best": np.nan if callable(row.best) else row.best,
            "source": row.source,
        }
        for question in _QUESTIONS
        for row in rows_of(question)
    }
    table = pd.DataFrame.from_dict(shown, orient="index")
    return table.set_axis(pd.MultiIndex.from_tuples(shown, names=["question", "metric"]))
