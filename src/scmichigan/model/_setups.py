"""The setups of the GANs, and of models without batches and covariates."""

from typing import Literal

from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from scmichigan import data
from scmichigan._compat import setup_method_args


def setup_anndata(
    cls: type[BaseModelClass],
    adata: AnnData,
    layer: str | None = None,
    batch_key: str | None = None,
    labels_key: str | None = None,
    size_factor_key: str | None = None,
    categorical_covariate_keys: list[str] | None = None,
    continuous_covariate_keys: list[str] | None = None,
    protein_expression_obsm_key: str | None = None,
    latent_key: str | None = None,
    latent_var_key: str | None = None,
    expression: Literal["auto", "counts", "log_normalized"] = "auto",
    target_sum: float = 1e4,
    **kwargs,
) -> None:
    """Register the cells, and the latent where one is stored.

    Arguments and errors that are not listed here are those of :meth:`BetaTCVAE.setup_anndata`. Generator and critic are
    conditioned on batch and covariates; :class:`WGANGP` and :class:`InfoWGANGP` refuse them. Protein counts are generated
    beside those of the genes.

    Parameters
    ----------
    latent_key
        Key of ``adata.obsm`` with the latent to generate from; ``None`` fits a beta-TCVAE first.
    latent_var_key
        Key of ``adata.obsm`` with its posterior variances; ``None`` where there are none.

    Raises
    ------
    ValueError
        If the latent is misshapen, not finite or the same for all cells, or its variances are negative, of another shape or
        without means.
    """
    expression = data.checked_expression(adata, layer, expression, target_sum)
    setup_args = setup_method_args(locals())
    cls.row.check_setup(cls.__name__, setup_args["setup_args"])
    fields = [
        data.ExpressionField(layer, expression),
        data.CategoryField(REGISTRY_KEYS.BATCH_KEY, batch_key),
        data.CategoryField(REGISTRY_KEYS.LABELS_KEY, labels_key, may_be_new=True),
        data.CategoryCovariatesField(REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys),
        data.NumberCovariatesField(REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys),
        *data.size_factor_fields(adata.obs, size_factor_key, layer, expression, target_sum),
        *data.protein_fields(protein_expression_obsm_key, layer, expression),
        *data.latent_fields(latent_key, latent_var_key),
    ]
    data.check_setup_arguments(cls.__name__, setup_args, kwargs)
    manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
    manager.register_fields(adata, **kwargs)
    cls.register_manager(manager)


def setup_mudata(
    cls: type[BaseModelClass],
    mdata: MuData,
    rna_layer: str | None = None,
    protein_layer: str | None = None,
    batch_key: str | None = None,
    labels_key: str | None = None,
    size_factor_key: str | None = None,
    categorical_covariate_keys: list[str] | None = None,
    continuous_covariate_keys: list[str] | None = None,
    latent_key: str | None = None,
    latent_var_key: str | None = None,
    target_sum: float = 1e4,
    modalities: dict[str, str] | None = None,
    **kwargs,
) -> None:
    """Register cells whose RNA and proteins are generated together, and the latent where one is stored.

    Arguments and errors are those of :meth:`BetaTCVAE.setup_mudata`. ``latent_key`` and ``latent_var_key`` are keys of
    ``mdata.obsm``, as in :meth:`setup_anndata`.
    """
    setup_args = setup_method_args(locals())
    cls.row.check_setup(cls.__name__, setup_args["setup_args"])
    data.check_scale("counts", target_sum)
    fields = data.Modalities(mdata, modalities, setup_args["setup_args"]).fields()
    fields += data.latent_fields(latent_key, latent_var_key)
    data.check_setup_arguments(cls.__name__, setup_args, kwargs)
    manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
    manager.register_fields(mdata, **kwargs)
    cls.register_manager(manager)


def setup_plain(
    cls: type[BaseModelClass],
    adata: AnnData,
    layer: str | None = None,
    labels_key: str | None = None,
    size_factor_key: str | None = None,
    expression: Literal["auto", "counts", "log_normalized"] = "auto",
    target_sum: float = 1e4,
    **kwargs,
) -> None:
    """Register the cells. Batches and covariates are not modelled, and refused.

    Arguments and errors are those of :meth:`BetaTCVAE.setup_anndata`.
    """
    expression = data.checked_expression(adata, layer, expression, target_sum)
    setup_args = setup_method_args(locals())
    data.check_setup_arguments(cls.__name__, setup_args, kwargs)
    fields = [
        data.ExpressionField(layer, expression),
        data.CategoryField(REGISTRY_KEYS.LABELS_KEY, labels_key, may_be_new=True),
        *data.size_factor_fields(adata.obs, size_factor_key, layer, expression, target_sum),
    ]
    manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
    manager.register_fields(adata, **kwargs)
    cls.register_manager(manager)
