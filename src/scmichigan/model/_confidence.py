"""How far predictions are expected to be off, without a cell of what they predict.

Legend: g genes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from ._arithmetic import Arithmetic, Labels, MeanOf, context_distances, find_references, plan_arithmetic


def error_rate(groups: Mapping[Labels, np.ndarray], keys: Sequence[str], hidden: Labels, mean_of: MeanOf) -> float:
    """Squared error of an observed combination's mean, predicted from the others, per squared distance to its contexts.

    NaN where the others cannot predict it.
    """
    others = {labels: rows for labels, rows in groups.items() if labels != hidden}
    if not is_predictable(others, keys, hidden):
        return np.nan
    arithmetic = plan_arithmetic(others, keys, hidden, mean_of)
    error_g = arithmetic.target_mean - mean_of(hidden)[0]
    distance = _typical_distance(arithmetic)
    return float(error_g @ error_g) / distance if distance > 0 else np.nan


def is_predictable(groups: Mapping[Labels, np.ndarray], keys: Sequence[str], target: Labels) -> bool:
    """Whether there is a reference along any key."""
    return any(find_references(groups, keys, target, key) for key in keys)


def expected_error(arithmetic: Arithmetic, rates: Mapping[Labels, float]) -> float:
    r"""Distance at which the target's mean is expected from its prediction.

    .. math:: \sqrt{h \operatorname{median}_o \frac{\|\hat\mu_o - \mu_o\|^2}{h_o}}, \quad
        h^{-1} = \operatorname{mean}_c d_c^{-2}

    over observed combinations o that differ from the target in one label, each predicted from all others, and contexts
    c at distance :math:`d_c`. The nearer contexts count for more in both the prediction and h.

    Parameters
    ----------
    arithmetic
        Of the target.
    rates
        See :func:`error_rate`, of each observed combination.

    Returns
    -------
    NaN where no such combination can be predicted from the others.
    """
    near = [
        rate
        for labels, rate in rates.items()
        if sum(a != b for a, b in zip(labels, arithmetic.target, strict=True)) == 1 and np.isfinite(rate)
    ]
    return float(np.sqrt(np.median(near) * _typical_distance(arithmetic))) if near else np.nan


def _typical_distance(arithmetic: Arithmetic) -> float:
    """Harmonic mean of the squared distances to the contexts; 0 where one is the same."""
    squared = context_distances(arithmetic)
    return float(1 / np.mean(1 / squared)) if squared.all() else 0.0


def missing_combinations(groups: Mapping[Labels, np.ndarray]) -> list[Labels]:
    """Combinations of observed labels that were not observed."""
    levels = [sorted(set(labels), key=str) for labels in zip(*groups, strict=True)]
    return [labels for labels in product(*levels) if labels not in groups]
