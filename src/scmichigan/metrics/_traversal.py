"""Change of factors along a latent dimension. Legend: m cells of walks, s steps, v values of a factor, k dimensions."""

import numpy as np
import pandas as pd

from scmichigan._checks import is_number
from scmichigan._keys import DIMENSION, STEP, WALK

from ._factors import check_not_constant

# A walk goes from the first to the last percentile of its dimension: a number that is one does the same.
_ENDS = (0.01, 0.99)
_N_SHUFFLES = 100


def traversal_change(real: pd.DataFrame, inferred: pd.DataFrame, walk: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How far each factor changes along each latent dimension, in walks by :meth:`MichiGAN.traverse`.

    A number changes by the range of its means at the steps, relative to the range from the first to the last percentile
    in the real cells; categories by the largest total variation distance between their frequencies at two steps. The
    walks are those of Figure 5 of Yu and Welch 2021; the measure is our own.

    Parameters
    ----------
    real, inferred
        The factors of the real cells, one column a factor, one row a cell; and of the cells of the walks, as
        :func:`infer_factors` gives them. Without several values in ``real``, or with missing ones in ``inferred``, a
        factor is an error.
    walk, seed
        One row a cell of the walks, with the columns "dimension", "step" and, of several, "walk": the obs of the result
        of ``traverse``. Random seed.

    Returns
    -------
    Dimensions x factors, from 0 (the same at all steps) to 1 (from one end to the other, or from one category to
    another, in all walks). Numbers that change in opposite directions in different walks cancel: start them in one
    group of cells. ``attrs["chance"]`` has the largest values by chance, in 100 shuffles of the steps within each walk:
    they are larger with few walks and many categories. For single walks they cannot be computed, and are 0.

    Examples
    --------
    >>> walk = model.traverse(labels={"cell_type": "B cells"})
    >>> factors = adata.obs[["cell_type", "condition"]]
    >>> inferred = mg.metrics.infer_factors(model.get_observed_expression(), walk, factors=factors)
    >>> mg.metrics.single_factor_fraction(mg.metrics.traversal_change(factors, inferred, walk.obs))
    """
    _check(real, inferred, walk)
    change = _changes(real, inferred, walk)
    chance = pd.DataFrame(0.0, index=change.index, columns=change.columns)
    if WALK in walk and walk[WALK].nunique() > 1:
        rng = np.random.default_rng(seed)
        steps_by_walk = np.lexsort((walk[WALK], walk[DIMENSION]))
        for _ in range(_N_SHUFFLES):
            shuffled = np.empty(len(walk), dtype=int)
            shuffled[steps_by_walk] = np.lexsort((rng.random(len(walk)), walk[WALK], walk[DIMENSION]))
            chance = np.maximum(chance, _changes(real, inferred.iloc[shuffled], walk))
    change.attrs["chance"] = chance
    return change


def _changes(real: pd.DataFrame, inferred: pd.DataFrame, walk: pd.DataFrame) -> pd.DataFrame:
    columns = {name: _change(real[name], inferred[name], walk) for name in inferred.columns}
    return pd.DataFrame(columns).rename_axis("dimension")


def single_factor_fraction(change: pd.DataFrame) -> pd.Series:
    """Whether each latent dimension changes one factor only: the fraction of all change that is its largest; 1 is best.

    ``change`` is dimensions x factors, two or more, as :func:`traversal_change` returns it. The values are from 1 over
    the number of factors (all change alike) to 1 (one changes, and no other), NaN where none does. A change that is not
    above ``change.attrs["chance"]``, where that is given, counts as none. Factors that were not given are not seen.
    """
    if change.shape[1] < 2:
        raise ValueError(f"change has {change.shape[1]} factors: give two or more, their changes are compared")
    change_kf = change.to_numpy(dtype=np.float64)
    if not (np.isfinite(change_kf) & (change_kf >= 0)).all():
        raise ValueError("change has values that are negative or not finite: give those of traversal_change")
    if "chance" in change.attrs:
        change_kf = np.where(change_kf > change.attrs["chance"].to_numpy(), change_kf, 0)
    total_k = change_kf.sum(axis=1)
    fraction_k = np.divide(change_kf.max(axis=1), total_k, out=np.full_like(total_k, np.nan), where=total_k > 0)
    return pd.Series(fraction_k, index=change.index, name="fraction of the largest change")


def _check(real: pd.DataFrame, inferred: pd.DataFrame, walk: pd.DataFrame) -> None:
    for key in (DIMENSION, STEP):
        if key not in walk:
            raise ValueError(f"walk has no column {key!r}: give the obs of a traversal; its columns are {list(walk)}")
    if len(inferred) != len(walk):
        raise ValueError(f"inferred has {len(inferred)} rows, walk has {len(walk)}: give both of the same cells")
    for name in inferred.columns:
        if name not in real:
            raise ValueError(f"real has no factor {name!r}: give the factors that were inferred, {list(inferred)}")
        check_not_constant(name, real[name].nunique())
        if inferred[name].isna().any():
            raise ValueError(f"inferred[{name!r}] lacks values: infer the factor of all cells of the walks")


def _change(real: pd.Series, inferred: pd.Series, walk: pd.DataFrame) -> pd.Series:
    """Change of a factor along each dimension."""
    steps = [walk[DIMENSION].to_numpy(), walk[STEP].to_numpy()]
    if is_number(real):
        mean = pd.Series(inferred.to_numpy(dtype=np.float64)).groupby(steps).mean()
        by_dimension = mean.groupby(level=0)
        return ((by_dimension.max() - by_dimension.min()) / _range(real)).clip(upper=1)
    fraction = pd.get_dummies(pd.Series(np.asarray(inferred, dtype=str)), dtype=float).groupby(steps).mean()
    return fraction.groupby(level=0).apply(_largest_distance)


def _range(real: pd.Series) -> float:
    """Range between the percentiles, or of all cells where these are the same."""
    value = real.dropna().astype(float)
    return float(np.diff(value.quantile(_ENDS)).item()) or float(np.ptp(value))


def _largest_distance(fraction: pd.DataFrame) -> float:
    fraction_sv = fraction.to_numpy()
    return float(np.abs(fraction_sv[:, None] - fraction_sv[None]).sum(axis=2).max() / 2)
