"""What BetaTCVAE and the closed-form baselines have alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from scmichigan._checks import check_trained
from scmichigan._saved import as_data, check_file, restore_history
from scmichigan.data import RegisteredCells

from ._refusals import OF_OTHER_MODELS, refuses


@refuses(*OF_OTHER_MODELS)
class CellModel(BaseModelClass):
    """Keeps and loads a model, and gives the expression that it was fitted to; a base only."""

    @property
    def cells(self) -> RegisteredCells:
        """The registered cells."""
        return RegisteredCells.of(self)

    def get_observed_expression(
        self, adata: AnnData | MuData | None = None
    ) -> np.ndarray | sp.csr_matrix | tuple[np.ndarray | sp.csr_matrix, ...]:
        """Observed expression, log-normalised as the model sees it.

        Parameters
        ----------
        adata
            Cells with the same genes; ``None`` for the registered ones.

        Returns
        -------
        A copy of shape ``(n_cells, n_genes)``, sparse where the registered expression is; where proteins are registered,
        those of genes and of proteins.
        """
        return RegisteredCells.of(self, adata).observed()

    def save(self, dir_path: str, *args, **kwargs) -> None:
        """Save the model; arguments as in scvi-tools. Any version of pandas can read the file."""
        with as_data(self):
            super().save(dir_path, *args, **kwargs)

    @classmethod
    def load(cls, dir_path: str, *args, prefix: str | None = None, backup_url: str | None = None, **kwargs) -> Self:
        """Load a saved model with cells of the same genes; arguments as in scvi-tools, errors as of :meth:`MichiGAN.load`."""
        check_file(dir_path, prefix, backup_url)
        model = super().load(dir_path, *args, prefix=prefix, backup_url=backup_url, **kwargs)
        restore_history(model)
        return model


def refuse_training_arguments(model: BaseModelClass, arguments: Mapping[str, Any]) -> None:
    """Say why the arguments of an iterative training make no sense here."""
    if arguments:
        raise ValueError(
            f"{type(model).__name__}.train got {', '.join(arguments)}; it is fitted to all cells at once, without "
            "epochs, minibatches or an accelerator: leave them out"
        )


def keep_arrays(model: CellModel, arrays: Mapping[str, np.ndarray | float]) -> None:
    """Keep the arrays of a fit in the model's module, and their shapes where scvi-tools saves them."""
    model.module.keep(arrays)
    model.shapes_ = {name: array.shape for name, array in model.module.arrays.items()}
    model.is_trained = True


def fitted_arrays(model: CellModel) -> dict[str, np.ndarray]:
    """The arrays of a fit; an error where there was none."""
    check_trained(model)
    return model.module.arrays


def expression_rows(model: CellModel, adata: AnnData | None, rows: Sequence[int] | None) -> np.ndarray | sp.csr_matrix:
    """Log-normalised expression of the given cells, of all where ``rows`` is ``None``."""
    x = RegisteredCells.of(model, adata).expression()
    return x if rows is None else x[np.asarray(rows)]
