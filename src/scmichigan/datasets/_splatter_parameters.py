"""Parameters of the Splat model of counts."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

_POSITIVE = ("n_genes", "batch_cells", "mean_shape", "mean_rate", "bcv_df")
_SCALES = ("batch_fac_scale", "lib_scale", "out_fac_scale", "de_fac_scale", "path_sigma_fac")
_FRACTIONS = ("out_prob", "de_prob", "de_down_prob", "path_skew", "path_nonlinear_prob")
_RULES = (
    (_POSITIVE, lambda value: value > 0, "give values above 0"),
    ((*_SCALES, "bcv_common", "group_prob", "path_from"), lambda value: value >= 0, "give values of 0 or more"),
    (_FRACTIONS, lambda value: (value >= 0) & (value <= 1), "give values from 0 to 1"),
    (("path_n_steps",), lambda value: value >= 2, "a path has a start and an end, give 2 or more"),
)
_PER_BATCH = ("batch_fac_loc", "batch_fac_scale")
_PER_GROUP = ("de_prob", "de_down_prob", "de_fac_loc", "de_fac_scale", "path_from", "path_n_steps", "path_skew")
_PER_DROPOUT = ("dropout_mid", "dropout_shape")
_DROPOUT_TYPES = ("none", "experiment", "batch", "group", "cell")


@dataclass(frozen=True, kw_only=True)
class SplatterParameters:
    r"""Parameters of :func:`splatter`, with the names and defaults of the original software (see there for its source).

    A parameter with one value for each batch, group or path is a sequence; a number is the value of all of them.

    Parameters
    ----------
    n_genes, batch_cells
        Number of genes; number of cells of each batch.
    batch_fac_loc, batch_fac_scale
        The logarithms of the batch factors are absolute values of normal variables: their mean and standard deviation;
        of each batch.
    batch_rm_effect
        Whether all batch factors are 1. The rest is sampled as with them.
    mean_shape, mean_rate
        Shape and rate of the gamma distribution of the genes' means.
    lib_loc, lib_scale, lib_norm
        Mean and standard deviation of the logarithms of the expected totals or, with ``lib_norm``, of the totals.
    out_prob, out_fac_loc, out_fac_scale
        Probability that a gene is an outlier, and its factor as for batches.
    group_prob
        Probability of each group or path, up to a common factor. Its length is the number of groups or paths.
    de_prob, de_down_prob, de_fac_loc, de_fac_scale
        Probability that a gene changes, that a changing gene goes down, and the factor as for batches; of each group
        or path.
    bcv_common, bcv_df
        Biological coefficient of variation of highly expressed genes, and the degrees of freedom of its chi-squared
        variation between genes; infinite for none.
    dropout_type
        "none", or what has its own ``dropout_mid`` and ``dropout_shape``: the whole "experiment", each "batch", "group"
        (or path) or "cell".
    dropout_mid, dropout_shape
        Logarithm of the expression at which half of the counts are dropped, and the slope there: negative if low
        expression is dropped more often.
    path_from, path_n_steps
        Path at whose end each path starts, counted from 1, or 0 for the common origin; steps of each path, 2 or more.
    path_skew
        Position of the cells of each path: 0.5 everywhere, 1 towards its start, 0 towards its end.
    path_nonlinear_prob, path_sigma_fac
        Probability that a gene's factor is not linear between the ends of a path, and how far it departs from the line.

    Raises
    ------
    ValueError
        If a value is out of its range, or there are too many or too few of it.
    """

    n_genes: int = 10_000
    batch_cells: int | Sequence[int] = 100
    batch_fac_loc: float | Sequence[float] = 0.1
    batch_fac_scale: float | Sequence[float] = 0.1
    batch_rm_effect: bool = False
    mean_shape: float = 0.6
    mean_rate: float = 0.3
    lib_loc: float = 11.0
    lib_scale: float = 0.2
    lib_norm: bool = False
    out_prob: float = 0.05
    out_fac_loc: float = 4.0
    out_fac_scale: float = 0.5
    group_prob: float | Sequence[float] = 1.0
    de_prob: float | Sequence[float] = 0.1
    de_down_prob: float | Sequence[float] = 0.5
    de_fac_loc: float | Sequence[float] = 0.1
    de_fac_scale: float | Sequence[float] = 0.4
    bcv_common: float = 0.1
    bcv_df: float = 60.0
    dropout_type: Literal["none", "experiment", "batch", "group", "cell"] = "none"
    dropout_mid: float | Sequence[float] = 0.0
    dropout_shape: float | Sequence[float] = -1.0
    path_from: int | Sequence[int] = 0
    path_n_steps: int | Sequence[int] = 100
    path_skew: float | Sequence[float] = 0.5
    path_nonlinear_prob: float = 0.1
    path_sigma_fac: float = 0.8

    def __post_init__(self):
        for field in fields(self):
            if field.name != "dropout_type":
                self._check_type(field.name, type(field.default))
        for names, allowed, cure in _RULES:
            for name in names:
                if not np.all(allowed(np.asarray(getattr(self, name)))):
                    raise ValueError(f"{name} is {getattr(self, name)}: {cure}")
        if self.dropout_type not in _DROPOUT_TYPES:
            raise ValueError(f"dropout_type is {self.dropout_type!r}: give one of {', '.join(_DROPOUT_TYPES)}")
        if not np.sum(self.group_prob) > 0:
            raise ValueError(f"group_prob is {self.group_prob}: give at least one group a probability above 0")
        for name in (*_PER_BATCH, *_PER_GROUP, *_PER_DROPOUT):
            self.of_each(name)
        path_order(self.of_each("path_from"))

    def _check_type(self, name: str, kind: type) -> None:
        value = getattr(self, name)
        if kind is bool:
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"{name} is {value!r}: give True or False")
            return
        kinds, what = ("iu", "whole numbers") if kind is int else ("iuf", "numbers")
        try:
            values = np.asarray(value)
        except ValueError:  # sequences of several lengths
            values = np.empty(0)
        if values.dtype.kind not in kinds or not values.size or values.ndim > 1:
            raise ValueError(f"{name} is {value!r}: give {what}")
        if values.ndim:  # a copy of its own, and which can be compared
            object.__setattr__(self, name, tuple(values.tolist()))
        if name != "bcv_df" and not np.isfinite(values).all():
            raise ValueError(f"{name} is {value}: give finite values")
        if values.ndim and name not in (*_PER_BATCH, *_PER_GROUP, *_PER_DROPOUT, "batch_cells", "group_prob"):
            raise ValueError(f"{name} is {value!r}: give a single value")

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return np.size(self.batch_cells)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(np.sum(self.batch_cells))

    @property
    def n_groups(self) -> int:
        """Number of groups or paths."""
        return np.size(self.group_prob)

    def of_each(self, name: str) -> np.ndarray:
        """Values of the parameter of this name: one for each batch, group or path, or one for each dropout curve."""
        if name in _PER_BATCH:
            n, what = self.n_batches, "batches"
        elif name in _PER_GROUP:
            n, what = self.n_groups, "groups or paths, one for each value of group_prob"
        else:
            n = {"batch": self.n_batches, "group": self.n_groups, "cell": self.n_cells}.get(self.dropout_type, 1)
            what = f"for dropout_type {self.dropout_type!r} (more are for 'batch', 'group' and 'cell')"
        values = np.ravel(getattr(self, name))
        if values.size not in (1, n):
            raise ValueError(f"{name} has {values.size} values, there are {n} {what}: give one value, or {n}")
        return np.broadcast_to(values, n)


def path_order(path_from: Sequence[int]) -> list[int]:
    """Paths, counted from 1, each after the one that it starts from; a ``ValueError`` if there is no such order."""
    order, reached = [], {0}
    while new := [k for k, origin in enumerate(path_from, 1) if k not in reached and origin in reached]:
        order += new
        reached.update(new)
    if missing := sorted(set(range(1, len(path_from) + 1)) - reached):
        raise ValueError(
            f"path_from is {list(map(int, path_from))}: paths {missing} cannot be reached from 0, the common origin; "
            "let at least one path start there, and no paths go in circles"
        )
    return order
