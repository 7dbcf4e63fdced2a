"""What BetaTCVAE and the closed-form baselines have alike, and what all models refuse by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from scmichigan._checks import check_trained
from scmichigan._saved import as_data, check_file, restore_history
from scmichigan.data import RegisteredCells

_INSTEAD = {
    "differential_abundance": "it compares posteriors of samples; scvi.model.SCVI has it",
    "differential_expression": "generate cells of each label with generate(labels=...), and give them to "
    "scanpy.tl.rank_genes_groups",
    "get_aggregated_posterior": "take get_latent_representation(return_dist=True), the mixture of these normals",
    "get_batch_representation": "batches are columns of 0 and 1, those of adata.obs[batch_key]",
    "get_elbo": "only a beta-TCVAE has one: BetaTCVAE.get_elbo(), of a MichiGAN latent_model.get_elbo()",
    "get_feature_correlation_matrix": "generate cells, and give them to scmichigan.metrics.gene_correlation_agreement",
    "get_importance_weights": "take get_latent_representation(return_dist=True)",
    "get_latent_library_size": "totals are observed, not inferred: generate(size_factor=...) sets them",
    "get_likelihood_parameters": "take get_normalized_expression, of which counts are Poisson or the declared likelihood",
    "get_marginal_ll": "take get_elbo() of a BetaTCVAE, a bound of it",
    "get_normalized_expression": "it has no decoder of single cells: take generate(), or get_observed_expression()",
    "get_reconstruction_error": "only a beta-TCVAE has one: BetaTCVAE.get_reconstruction_error(), of a MichiGAN "
    "latent_model.get_reconstruction_error()",
    "load_query_data": "set up the query and the reference together, or load(folder, query) where its genes and batches are "
    "the same",
    "minify_adata": "the registered counts are needed; save the model, and keep the cells on disk",
    "posterior_predictive_sample": "take generate(), whose cells have the name of their source in obs['michigan_source']",
    "prepare_query_anndata": "take the model's genes in their order: query[:, model.adata.var_names].copy()",
    "prepare_query_mudata": "take the features of the model in their order, in each modality of model.adata",
    "setup_annbatch": "cells are held in memory: take setup_anndata",
    "setup_datamodule": "cells are held in memory: take setup_anndata",
}


OF_OTHER_MODELS = (
    "differential_abundance",
    "differential_expression",
    "get_aggregated_posterior",
    "get_batch_representation",
    "get_feature_correlation_matrix",
    "get_importance_weights",
    "get_latent_library_size",
    "get_likelihood_parameters",
    "get_marginal_ll",
    "load_query_data",
    "minify_adata",
    "posterior_predictive_sample",
    "prepare_query_anndata",
    "prepare_query_mudata",
    "setup_annbatch",
    "setup_datamodule",
)
"""Methods of models of scvi-tools that none of ours has."""
OF_VAES = ("get_elbo", "get_normalized_expression", "get_reconstruction_error")
"""Methods of the beta-TCVAE that the closed-form models have not."""


def refuses(*names: str) -> Callable[[type], type]:
    """Have a model class say what to do in place of methods that other models of scvi-tools have."""

    def decorate(cls: type) -> type:
        for name in names:
            setattr(cls, name, classmethod(_refusal(name)))
        return cls

    return decorate


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(cls: type, *args, **kwargs) -> NoReturn:
        raise NotImplementedError(f"{cls.__name__} has no {name}: {_INSTEAD[name]}")

    refuse.__name__, refuse.__doc__ = name, f"Not available: {_INSTEAD[name]}."
    return refuse


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
