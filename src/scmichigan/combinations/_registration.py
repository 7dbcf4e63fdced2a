"""Cells as they are registered for predictions without a model, and what covariates add to their expression."""

from collections.abc import Callable
from typing import Any

import numpy as np
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager

from scmichigan import data

from ._arithmetic import Groups

CovariateEffects = Callable[[np.ndarray, bool], np.ndarray]
"""What covariates add to the expression of the cells in some rows, shape ``(n, n_features)``, or to their mean."""


def register_cells(
    adata: AnnData, *, layer: str | None = None, expression: str = "auto", target_sum: float = 1e4, **keys: Any
) -> data.RegisteredCells:
    """Check and register cells, by the arguments of :class:`CombinationPredictor`; nothing is written to them."""
    expression = data.checked_expression(adata, layer, expression, target_sum)
    keys = {"labels_key": None, "size_factor_key": None} | keys
    fields = [
        data.ExpressionField(layer, expression),
        data.CategoryField(REGISTRY_KEYS.BATCH_KEY, keys.get("batch_key")),
        data.CategoryField(REGISTRY_KEYS.LABELS_KEY, None),
        data.CategoryCovariatesField(REGISTRY_KEYS.CAT_COVS_KEY, keys.get("categorical_covariate_keys")),
        data.NumberCovariatesField(REGISTRY_KEYS.CONT_COVS_KEY, keys.get("continuous_covariate_keys")),
        *data.size_factor_fields(adata.obs, keys["size_factor_key"], layer, expression, target_sum),
        *data.protein_fields(keys.get("protein_expression_obsm_key"), layer, expression),
    ]
    setup_args = {"layer": layer, "expression": expression, "target_sum": target_sum, **keys}
    manager = AnnDataManager(fields=fields, setup_method_args={"setup_args": setup_args})
    manager.register_fields(_shallow_copy(adata))
    return data.RegisteredCells(manager)


def _shallow_copy(adata: AnnData) -> AnnData:
    """Cells with the same matrices, for scvi-tools to write to."""
    if adata.isbacked or adata.is_view:  # the field of the expression refuses the former, before anything is written
        return adata if adata.isbacked else adata.copy()
    # anndata 0.13 lists X among the layers, under None.
    layers: dict[str, Any] = {name: x for name, x in adata.layers.items() if name is not None}
    obs, var, obsm, uns = adata.obs.copy(), adata.var.copy(), dict(adata.obsm), dict(adata.uns)
    return AnnData(adata.X, obs=obs, var=var, obsm=obsm, layers=layers, uns=uns)


def fit_covariate_effects(cells: data.RegisteredCells, groups: Groups) -> CovariateEffects:
    """What covariates add to expression, by least squares within combinations (the least one where several fit)."""
    columns = cells.covariates(np.arange(cells.n_cells)).astype(np.float64)
    if not columns.shape[1]:
        return lambda rows, mean: 0.0
    centred = np.zeros_like(columns)
    for rows in groups.values():
        centred[rows] = columns[rows] - columns[rows].mean(axis=0)
    inverse = np.linalg.pinv(centred, rcond=len(centred) * np.finfo(np.float64).eps).T
    # Each combination's rows of the inverse sum to 0 as its columns do: the expression need not be centred, too.
    weight = sum(cells.expression(rows).T @ inverse[rows] for rows in groups.values()).astype(np.float32)

    def effects(rows: np.ndarray, mean: bool) -> np.ndarray:
        columns = cells.covariates(rows)
        return (columns.mean(axis=0, dtype=np.float64).astype(np.float32) if mean else columns) @ weight.T

    return effects
