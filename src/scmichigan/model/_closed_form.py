"""What the models do alike that are computed rather than trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from scvi.model.base import BaseModelClass

from scmichigan._compat import manager_of
from scmichigan.module import CellFormat, FittedModule

from ._common import ExpressionMixin, check_trained, normalized_expression
from ._fields import PlainSetupMixin
from ._saved import SavedMixin


class ClosedFormModel(PlainSetupMixin, ExpressionMixin, SavedMixin, BaseModelClass):
    """Registers expression and labels, and keeps the arrays of the fit; a base only."""

    def __init__(self, adata: AnnData) -> None:
        super().__init__(adata)
        args = self.registry["setup_args"]
        self.module = FittedModule(CellFormat(counts=args["expression"] == "counts", target_sum=args["target_sum"]))
        # The underscore has scvi-tools save it.
        self.shapes_: dict[str, tuple[int, ...]] = {}

    def _keep(self, arrays: Mapping[str, np.ndarray | float]) -> None:
        self.module.keep(arrays)
        self.shapes_ = {name: array.shape for name, array in self.module.arrays.items()}
        self.is_trained = True

    def _fitted(self) -> dict[str, np.ndarray]:
        check_trained(self)
        return self.module.arrays

    def _rows_of_expression(self, adata: AnnData | None, rows: Sequence[int] | None) -> np.ndarray | sp.csr_matrix:
        """Log-normalised expression of the given cells, of all where ``rows`` is ``None``."""
        x = normalized_expression(manager_of(self, adata), self.module.inputs)
        return x if rows is None else x[np.asarray(rows)]


def refuse_training_arguments(model: BaseModelClass, arguments: Mapping[str, Any]) -> None:
    """Say why the arguments of an iterative training make no sense here."""
    if arguments:
        raise ValueError(
            f"{type(model).__name__}.train got {', '.join(arguments)}; it is fitted to all cells at once, without "
            "epochs, minibatches or an accelerator: leave them out"
        )
