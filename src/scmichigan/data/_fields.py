"""What is registered of cells, one field each, and refused at the door.

The checks live in the fields, so they also meet data that come later: to be encoded, or with a loaded model.
"""

import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from scvi import REGISTRY_KEYS
from scvi.data.fields import (
    CategoricalJointObsField,
    CategoricalObsField,
    LayerField,
    NumericalJointObsField,
    NumericalObsField,
    ObsmField,
)

from scmichigan._checks import check_obs_keys, obsm_matrix, own_keys

from ._expression import (
    ExpressionKind,
    declared_otherwise,
    detect_expression,
    expression_of,
    kind_of_values,
    not_counts,
    place_of,
)

_ROUNDING = 1e-3
_LEAST_CORRELATION = 0.5
_LEAST_VARIATION = 0.2
# Squares of more have no place in single precision.
_LARGEST_LATENT = 1e18
_TOTALS_NEEDED = "size factors must be positive numbers: give each cell's total counts"
ARGUMENTS = {
    REGISTRY_KEYS.BATCH_KEY: "batch_key",
    REGISTRY_KEYS.LABELS_KEY: "labels_key",
    REGISTRY_KEYS.CAT_COVS_KEY: "categorical_covariate_keys",
    REGISTRY_KEYS.CONT_COVS_KEY: "continuous_covariate_keys",
}


class ExpressionField(LayerField):
    """Raw counts or log-normalised expression of a layer (of a modality), checked against the declared kind."""

    def __init__(
        self,
        layer: str | None,
        kind: ExpressionKind,
        *,
        modality: str | None = None,
        registry_key: str = REGISTRY_KEYS.X_KEY,
    ) -> None:
        # Correcting the format would change the user's matrix in place.
        super().__init__(registry_key, layer, is_count_data=False, correct_data_format=False)
        self.kind = kind
        self.owner = "adata" if modality is None else f"mdata[{modality!r}]"

    def validate_field(self, adata: AnnData) -> None:
        """Refuse anything but the declared kind."""
        found = detect_expression(adata, self.attr_key, self.owner)
        if found != self.kind:
            place = place_of(self.attr_key, self.owner)
            raise ValueError(
                declared_otherwise(place, found, self.kind) if self.owner == "adata" else not_counts(place)
            )
        super().validate_field(adata)

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Refuse other genes than the registered ones."""
        check_genes(state_registry[self.COLUMN_NAMES_KEY], adata_target.var_names, self.owner)
        return super().transfer_field(state_registry, adata_target, **kwargs)


def check_genes(genes: ArrayLike, given: ArrayLike, owner: str) -> None:
    """Refuse other names of genes than a model's, and another order."""
    genes, given = np.asarray(genes), np.asarray(given)
    if np.array_equal(genes, given):
        return
    missing = np.setdiff1d(genes, given)
    cure = (
        f"{len(missing)} of its genes are missing, the first is {missing[0]!r}"
        if missing.size
        else "take them in the model's order: adata[:, genes].copy(), where genes is model.adata.var_names, or of a "
        "saved model MichiGAN.load_registry(folder)['field_registries']['X']['state_registry']['column_names']"
    )
    raise ValueError(f"{owner} has {len(given)} genes, the model was set up with {len(genes)}, and they differ: {cure}")


class ProteinField(ObsmField):
    """Protein counts in obsm, beside the expression of an AnnData."""

    def __init__(self, key: str) -> None:
        super().__init__(REGISTRY_KEYS.PROTEIN_EXP_KEY, key, correct_data_format=False)

    def validate_field(self, adata: AnnData) -> None:
        """Refuse anything but counts."""
        place = f"obsm[{self.attr_key!r}]"
        cure = "store the protein counts there"
        x = obsm_matrix(adata, self.attr_key, cure)
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(f"{place} has shape {x.shape}; {cure}, cells x proteins")
        if kind_of_values(x, place, adata.obs_names) != "counts":
            raise ValueError(not_counts(place))
        super().validate_field(adata)


class SizeFactorField(NumericalObsField):
    """A column of obs with the total counts of each cell, which belong to a layer (of a modality)."""

    def __init__(self, key: str, layer: str | None, modality: str | None = None) -> None:
        super().__init__(REGISTRY_KEYS.SIZE_FACTOR_KEY, key)
        self.layer = layer
        self.modality = modality

    def validate_field(self, adata: AnnData) -> None:
        """Refuse factors that are not finite and positive, or that cannot be totals."""
        check_obs_keys(adata.obs, [self.attr_key])
        factors = _numbers(adata, self.attr_key, _TOTALS_NEEDED)
        if (factors <= 0).any():
            row = int(np.argmax(factors <= 0))
            raise ValueError(
                f"obs[{self.attr_key!r}] is {factors[row]:g} for cell {adata.obs_names[row]!r}; {_TOTALS_NEEDED}"
            )
        _check_number_type(adata, self.attr_key)
        totals = self._totals(adata)
        if np.median(factors / totals) < 0.5:
            raise ValueError(
                f"obs[{self.attr_key!r}] has median {np.median(factors):g}, less than half of the counts of the cells "
                f"({np.median(totals):g}): it looks like a relative factor, and total counts are needed; multiply it "
                "by the mean total, or leave size_factor_key out to use the sum over the genes"
            )
        super().validate_field(adata)

    def register_field(self, adata: AnnData) -> dict:
        """Warn of factors that look like those of other cells."""
        state_registry = super().register_field(adata)
        factors = np.asarray(adata.obs[self.attr_key], dtype=float)
        totals = self._totals(adata)
        below = factors < totals * (1 - _ROUNDING)
        # Factors that were computed otherwise may be below a cell's counts, but they follow these, where cells differ in depth.
        can_tell = below.any() and min(factors.std() / factors.mean(), totals.std() / totals.mean()) > _LEAST_VARIATION
        correlation = spearmanr(factors, totals).statistic if can_tell else 1.0
        if correlation < _LEAST_CORRELATION:
            row = int(np.argmax(below))
            warnings.warn(
                f"obs[{self.attr_key!r}] does not follow the counts of the cells (rank correlation {correlation:.2f}): it is "
                f"{factors[row]:g} for cell {adata.obs_names[row]!r}, which has {totals[row]:g} counts; are the cells in another "
                "order than when it was computed?",
                UserWarning,
                stacklevel=2,
            )
        return state_registry

    def _totals(self, adata: AnnData) -> np.ndarray:
        counted = adata[self.modality] if isinstance(adata, MuData) else adata
        return np.asarray(expression_of(counted, self.layer).sum(axis=1)).ravel()


class CategoryField(CategoricalObsField):
    """A column of obs with batches or labels; later cells may have other levels only where these ``may_be_new``."""

    def __init__(self, registry_key: str, key: str | None, *, may_be_new: bool = False) -> None:
        if isinstance(key, list | tuple):
            raise ValueError(f"{ARGUMENTS[registry_key]} is {key!r}; give the name of one column of obs")
        super().__init__(registry_key, key)
        self.key = key
        self.may_be_new = may_be_new

    def validate_field(self, adata: AnnData) -> None:
        """Refuse a column that is not there, and cells without a level."""
        if self.key is not None:
            _check_levels(adata, self.key)
        super().validate_field(adata)

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Refuse cells with a level that the model does not know."""
        if self.key is not None and not self.may_be_new:
            _check_levels(adata_target, self.key, state_registry[self.CATEGORICAL_MAPPING_KEY])
        kwargs["extend_categories"] = self.may_be_new or kwargs.get("extend_categories", False)
        return super().transfer_field(state_registry, adata_target, **kwargs)


class CategoryCovariatesField(CategoricalJointObsField):
    """Categorical covariates, of which later cells have no other levels than those of the setup."""

    def __init__(self, registry_key: str, keys: list[str] | None) -> None:
        _check_list(registry_key, keys)
        super().__init__(registry_key, keys)

    def validate_field(self, adata: AnnData) -> None:
        """Refuse columns that are not there, and cells without a level."""
        for key in self.attr_keys:
            _check_levels(adata, key)
        super().validate_field(adata)

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Refuse cells with a level that the model does not know."""
        for key, known in state_registry.get(self.MAPPINGS_KEY, {}).items():
            _check_levels(adata_target, key, known)
        return super().transfer_field(state_registry, adata_target, **kwargs)


class NumberCovariatesField(NumericalJointObsField):
    """Continuous covariates, finite in later cells, too."""

    def __init__(self, registry_key: str, keys: list[str] | None) -> None:
        _check_list(registry_key, keys)
        super().__init__(registry_key, keys)

    def validate_field(self, adata: AnnData) -> None:
        """Refuse what is missing or no finite number."""
        check_obs_keys(adata.obs, self.attr_keys)
        for key in self.attr_keys:
            _numbers(adata, key, "continuous covariates must be finite numbers: impute it or remove the cell")
            _check_number_type(adata, key)
        super().validate_field(adata)


class LatentField(ObsmField):
    """A stored latent that a generator can be trained on or, with the key of the means, its variances."""

    def __init__(self, registry_key: str, key: str, *, mean_key: str | None = None) -> None:
        super().__init__(registry_key, key, correct_data_format=False)
        self.mean_key = mean_key

    def validate_field(self, adata: AnnData) -> None:
        """Refuse latents that are missing, misshapen, not finite or constant."""
        place = f"obsm[{self.attr_key!r}]"
        if self.attr_key not in adata.obsm:
            keys = sorted(own_keys(adata.obsm))
            others = f", or choose one of {keys}" if keys else ""
            raise KeyError(f"{place} does not exist; store the latent of these cells there first{others}")
        if sp.issparse(adata.obsm[self.attr_key]):
            raise ValueError(f"{place} is sparse; store it as an array, with .toarray()")
        z = np.asarray(adata.obsm[self.attr_key])
        if z.dtype.kind not in "iuf":
            raise ValueError(f"{place} holds {z.dtype} values; a latent is made of real numbers")
        if z.ndim != 2 or z.shape[1] == 0:
            raise ValueError(f"{place} has shape {z.shape}; a latent has one row a cell and at least one column")
        if z.shape[0] != adata.n_obs:
            raise ValueError(f"{place} has {z.shape[0]} rows, adata has {adata.n_obs}; store it again")
        usable = np.abs(z.astype(float)) < _LARGEST_LATENT
        if not usable.all():
            row = int(np.argmin(usable.all(axis=1)))
            bad = z[row][~usable[row]][0]
            raise ValueError(
                f"{place} is {bad:g} for cell {adata.obs_names[row]!r}; compute the latent again, it must be finite and not huge"
            )
        mean = None if self.mean_key is None else adata.obsm.get(self.mean_key)
        if mean is not None and np.shape(mean) != z.shape:
            raise ValueError(
                f"{place} has shape {z.shape}, obsm[{self.mean_key!r}] has {np.shape(mean)}; give one variance for each mean"
            )
        if self.mean_key is not None and z.min() < 0:
            raise ValueError(f"{place} contains {z.min():g}; variances must not be negative (is it the mean?)")
        if self.mean_key is None and adata.n_obs > 1 and not np.ptp(z, axis=0).any():
            raise ValueError(f"{place} is the same for all cells; a constant latent can condition nothing")
        super().validate_field(adata)


def _numbers(adata: AnnData, key: str, cure: str) -> np.ndarray:
    values = pd.to_numeric(adata.obs[key].astype(object), errors="coerce").to_numpy(dtype=float)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"obs[{key!r}] is {adata.obs[key].iloc[row]} for cell {adata.obs_names[row]!r}; {cure}")
    return values


def _check_number_type(adata: AnnData, key: str) -> None:
    if not pd.api.types.is_numeric_dtype(adata.obs[key]):
        raise ValueError(
            f"obs[{key!r}] has numbers as {adata.obs[key].dtype}, such as {adata.obs[key].iloc[0]!r}: convert the column first, "
            f"adata.obs[{key!r}] = adata.obs[{key!r}].astype(float)"
        )


def _check_list(registry_key: str, keys: list[str] | None) -> None:
    argument = ARGUMENTS[registry_key]
    if isinstance(keys, str):
        raise ValueError(f"{argument} is {keys!r}; give a list of columns of obs: [{keys!r}]")
    several = [key for key in keys or () if isinstance(key, list | tuple)]
    if several:
        raise ValueError(f"{argument} is {several[0]!r}; give the name of one column of obs")


def _check_levels(adata: AnnData, key: str, known: np.ndarray | None = None) -> None:
    """Refuse cells without a level, and those with one that is not known, where it has to be."""
    check_obs_keys(adata.obs, [key])
    missing = adata.obs[key].isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"obs[{key!r}] is missing for {int(missing.sum())} cells, the first is "
            f"{adata.obs_names[int(np.argmax(missing))]!r}; remove these cells or give them a label of their own"
        )
    unknown = [] if known is None else [level for level in adata.obs[key].unique() if level not in set(known)]
    if unknown:
        raise ValueError(
            f"obs[{key!r}] is {unknown[0]!r} for some cells, and the model was set up with {list(known)}; give these cells "
            "the one of these that is most like theirs, or train a model with them"
        )
