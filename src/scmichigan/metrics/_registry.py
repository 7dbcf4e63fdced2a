"""All metrics that stand in tables. To add one, list its file here, at its place in the tables."""

from importlib import import_module

import numpy as np
import pandas as pd

from ._metric import Metric

_FILES = """
information correlation votes predictability total_correlation discrimination realism inception moments change rank entropy
"""
_ROWS = [row for name in _FILES.split() for row in import_module(f"{__package__}._{name}").ROWS]


def rows_of(question: str) -> list[Metric]:
    """Metrics that answer a question, in the order of its table."""
    return [row for row in _ROWS if question in row.questions]


def registry() -> pd.DataFrame:
    """List all metrics that stand in tables: one row for each question and metric.

    Columns: ``function``, its name in ``scmichigan.metrics``; ``low`` and ``high``, the ends of its range; ``best``,
    the value to wish for (NaN where it depends on the cells; the tables have it); and ``source``.
    """
    questions = dict.fromkeys(question for row in _ROWS for question in row.questions)
    asked = {(question, row.name): row for question in questions for row in rows_of(question)}
    shown = [
        (row.function.__name__, row.low, row.high, np.nan if callable(row.best) else row.best, row.source)
        for row in asked.values()
    ]
    index = pd.MultiIndex.from_tuples(asked, names=["question", "metric"])
    return pd.DataFrame(shown, index, ["function", "low", "high", "best", "source"])
