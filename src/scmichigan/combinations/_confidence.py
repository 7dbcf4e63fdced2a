"""How far predictions are expected to be off, without a cell of what they predict. Legend: g genes."""

from collections.abc import Mapping, Sequence
from itertools import product
from operator import ne

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track

from scmichigan._checks import check_level, warn

from ._arithmetic import NEEDED, Arithmetic, Groups, Labels, MeanOf, find_references, plan_arithmetic

Combinations = Sequence[str] | Sequence[Mapping[str, object]] | pd.DataFrame
"""Keys, for all of their missing combinations; or some combinations, in a list or a table."""

_COLUMNS = ("along", "n_references", "n_source_cells", "predicted_change", "expected_error")


def rank_missing(groups: Groups, keys: Sequence[str], mean_of: MeanOf, *, enable_progress_bar: bool) -> pd.DataFrame:
    """The combinations of observed labels that were not observed, those with the smallest expected error first."""
    levels = [sorted(set(labels), key=str) for labels in zip(*groups, strict=True)]
    missing = [labels for labels in product(*levels) if labels not in groups]
    if not missing:
        raise ValueError(f"cells were seen with all {len(groups)} combinations of {keys}; there is none to predict")
    show = {"disable": not enable_progress_bar}
    rates = {c: error_rate(groups, keys, c, mean_of) for c in track(list(groups), "observed combinations", **show)}
    rows = []
    for target in track(missing, "missing combinations", **show):
        row = ("", 0, 0, np.nan, np.nan)
        if is_predictable(groups, keys, target):
            plan = plan_arithmetic(groups, keys, target, mean_of)
            n_cells = sum(len(reference.rows) for reference in plan.references)
            row = (plan.key, len(plan.references), n_cells, plan.change, expected_error(plan, rates))
        rows.append((*target, *row))
    table = pd.DataFrame(rows, columns=[*keys, *_COLUMNS])
    return table.sort_values(["expected_error", "predicted_change"], kind="stable", ignore_index=True)


def is_predictable(groups: Groups, keys: Sequence[str], target: Labels) -> bool:
    """Whether a combination of labels can be predicted from the observed ones: whether it has a reference along any key.

    Parameters
    ----------
    groups, keys
        Observed combinations, with the target or without it, and their obs keys: :func:`observed_combinations`.
    target
        Labels in the order of the keys.
    """
    return any(find_references(groups, keys, target, key) for key in keys)


def keys_and_table(combinations: Combinations) -> tuple[list[str], pd.DataFrame | None]:
    """Keys of the combinations that are asked for, and a table of these; none where all are asked for."""
    if isinstance(combinations, str | Mapping):
        raise ValueError(
            f"combinations is {combinations!r}; give a list of obs keys or of targets, or a table of these"
        )
    if not isinstance(combinations, pd.DataFrame):
        if not any(isinstance(c, Mapping) for c in combinations):
            return list(combinations), None
        combinations = pd.DataFrame(list(combinations))
    if combinations.empty:
        raise ValueError(
            "combinations is a table without rows; take some of the table of missing ones: where none has an expected "
            "error below its change, none can be trusted"
        )
    return [key for key in combinations if key not in _COLUMNS], combinations


def predictable_rows(
    table: pd.DataFrame, keys: list[str], groups: Groups, labelled: AnnData, *, warns: bool
) -> pd.DataFrame:
    """Rows of a table of combinations that can be predicted; one may warn of the others. Refuses those that were seen."""
    for key in keys:
        for level in table[key].unique():
            check_level(labelled, key, level)
    targets = list(table[keys].itertuples(index=False, name=None))
    for target in targets:
        if target in groups:
            raise ValueError(
                f"{len(groups[target])} of the cells have the labels {dict(zip(keys, target, strict=True))}; give "
                "combinations that no cell has, such as rows of the table of missing ones"
            )
    can = np.array([is_predictable(groups, keys, target) for target in targets])
    if not can.any():
        raise ValueError(f"none of the {len(can)} combinations of {keys} can be predicted: {NEEDED}")
    if warns and not can.all():
        first = dict(zip(keys, targets[int(np.argmin(can))], strict=True))
        warn(f"{int((~can).sum())} of {len(can)} combinations are left out, the first is {first}: {NEEDED}")
    return table[can]


def error_rate(groups: Groups, keys: Sequence[str], hidden: Labels, mean_of: MeanOf) -> float:
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


def expected_error(arithmetic: Arithmetic, rates: Mapping[Labels, float]) -> float:
    """Distance at which the target's mean is expected from its prediction, as in :meth:`CombinationPredictor.missing`.

    ``rates`` are the :func:`error_rate` of each observed combination. The nearer contexts count for more in both the
    prediction and h. NaN where no combination that differs in one label can be predicted from the others.
    """
    near = [rate for c, rate in rates.items() if sum(map(ne, c, arithmetic.target)) == 1 and np.isfinite(rate)]
    return float(np.sqrt(np.median(near) * _typical_distance(arithmetic))) if near else np.nan


def _typical_distance(arithmetic: Arithmetic) -> float:
    """Harmonic mean of the contexts' mean squared distances, over the references' labels that both have; 0 if one is 0."""
    mean_of = dict(zip(arithmetic.combinations, arithmetic.means, strict=True))
    distances: dict[Labels, list[float]] = {}
    for reference in arithmetic.references:
        for context, (there, _) in zip(reference.contexts, reference.pairs(arithmetic.target), strict=True):
            distances.setdefault(context, []).append(np.sum((mean_of[reference.labels] - mean_of[there]) ** 2))
    squared = np.array([np.mean(values) for values in distances.values()])
    return float(1 / np.mean(1 / squared)) if squared.all() else 0.0
