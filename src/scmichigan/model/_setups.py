"""The setups of the GANs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager

from scmichigan._compat import setup_method_args
from scmichigan.data import (
    CategoryCovariatesField,
    CategoryField,
    ExpressionField,
    Modalities,
    NumberCovariatesField,
    check_scale,
    check_setup_arguments,
    checked_expression,
    latent_fields,
    protein_fields,
    size_factor_fields,
)

if TYPE_CHECKING:
    from ._gan import GAN


def setup_anndata(
    cls: type[GAN],
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

    Parameters
    ----------
    adata
        Cells x genes.
    layer, labels_key, size_factor_key, expression, target_sum
        As in :meth:`BetaTCVAE.setup_anndata`.
    batch_key, categorical_covariate_keys, continuous_covariate_keys
        As in :meth:`BetaTCVAE.setup_anndata`; generator and critic are conditioned on them. :class:`WGANGP` and
        :class:`InfoWGANGP` refuse them.
    protein_expression_obsm_key
        Key of ``adata.obsm`` with protein counts, which are generated beside those of the genes. Their size factor is
        their sum.
    latent_key
        Key of ``adata.obsm`` with the latent to generate from; ``None`` fits a beta-TCVAE first.
    latent_var_key
        Key of ``adata.obsm`` with its posterior variances; ``None`` where there are none.
    **kwargs
        Passed to scvi-tools' registration.

    Raises
    ------
    KeyError
        If a column, layer or obsm key does not exist.
    ValueError
        As in :meth:`BetaTCVAE.setup_anndata`, and if the latent is misshapen, not finite or the same for all cells, or its
        variances are negative, of another shape or without means.
    """
    expression = checked_expression(adata, layer, expression, target_sum)
    setup_args = setup_method_args(locals())
    cls.row.check_setup(cls.__name__, setup_args["setup_args"])
    fields = [
        ExpressionField(layer, expression),
        CategoryField(REGISTRY_KEYS.BATCH_KEY, batch_key),
        CategoryField(REGISTRY_KEYS.LABELS_KEY, labels_key, may_be_new=True),
        CategoryCovariatesField(REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys),
        NumberCovariatesField(REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys),
        *size_factor_fields(adata.obs, size_factor_key, layer, expression, target_sum),
        *protein_fields(protein_expression_obsm_key, layer, expression),
        *latent_fields(latent_key, latent_var_key),
    ]
    check_setup_arguments(cls.__name__, setup_args, kwargs)
    manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
    manager.register_fields(adata, **kwargs)
    cls.register_manager(manager)


def setup_mudata(
    cls: type[GAN],
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

    Parameters
    ----------
    mdata, rna_layer, protein_layer, modalities
        As in :meth:`BetaTCVAE.setup_mudata`.
    batch_key, labels_key, size_factor_key, categorical_covariate_keys, continuous_covariate_keys, target_sum
        As in :meth:`setup_anndata`. The size factor is that of the RNA; proteins are scaled by their sum.
    latent_key, latent_var_key
        Keys of ``mdata.obsm`` with the latent to generate from and its variances, as in :meth:`setup_anndata`.
    **kwargs
        Passed to scvi-tools' registration.

    Raises
    ------
    KeyError
        If a modality, column, layer or obsm key does not exist.
    ValueError
        As in :meth:`setup_anndata`, and if the modalities have other cells or hold no counts.

    Examples
    --------
    >>> mg.MichiGAN.setup_mudata(mdata, modalities={"rna_layer": "rna", "protein_layer": "protein"})
    >>> model = mg.MichiGAN(mdata)
    >>> model.train()
    >>> cells = model.generate(1000)
    >>> cells["protein"].layers["counts"]
    """
    setup_args = setup_method_args(locals())
    cls.row.check_setup(cls.__name__, setup_args["setup_args"])
    check_scale("counts", target_sum)
    places = Modalities(mdata, modalities, setup_args["setup_args"])
    fields = [
        *places.count_fields(
            rna_layer=(REGISTRY_KEYS.X_KEY, rna_layer), protein_layer=(REGISTRY_KEYS.PROTEIN_EXP_KEY, protein_layer)
        ),
        places.field(CategoryField, REGISTRY_KEYS.BATCH_KEY, batch_key),
        places.field(CategoryField, REGISTRY_KEYS.LABELS_KEY, labels_key, may_be_new=True),
        places.field(CategoryCovariatesField, REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys),
        places.field(NumberCovariatesField, REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys),
        *places.size_factor_fields(size_factor_key, rna_layer),
        *latent_fields(latent_key, latent_var_key),
    ]
    check_setup_arguments(cls.__name__, setup_args, kwargs)
    manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
    manager.register_fields(mdata, **kwargs)
    cls.register_manager(manager)
