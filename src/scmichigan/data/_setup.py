"""What the setups of all models do alike beside listing their fields."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data.fields import BaseAnnDataField, MuDataWrapper

from scmichigan import _keys
from scmichigan._checks import check_obs_keys, warn

from ._expression import ExpressionKind, not_counts, place_of, refuse_minified
from ._fields import (
    ARGUMENTS,
    CategoryCovariatesField,
    CategoryField,
    ExpressionField,
    LatentField,
    NumberCovariatesField,
    ProteinField,
    SizeFactorField,
)

_TARGET_SUM = 1e4  # by default
_COVARIATE_ARGUMENTS = ("batch_key", "categorical_covariate_keys", "continuous_covariate_keys")
_LAYERS = {"rna_layer": REGISTRY_KEYS.X_KEY, "protein_layer": REGISTRY_KEYS.PROTEIN_EXP_KEY}
_OF_OBS = {
    REGISTRY_KEYS.BATCH_KEY: CategoryField,
    REGISTRY_KEYS.LABELS_KEY: CategoryField,
    REGISTRY_KEYS.CAT_COVS_KEY: CategoryCovariatesField,
    REGISTRY_KEYS.CONT_COVS_KEY: NumberCovariatesField,
}


def check_setup_arguments(name: str, setup_args: dict[str, Any], kwargs: dict[str, Any]) -> None:
    """Refuse arguments that the setup of a model does not have; takes what ``setup_method_args`` gives, and its ``kwargs``."""
    refuse_covariates(name, kwargs)
    if kwargs and "source_registry" not in kwargs:
        known = ", ".join(setup_args["setup_args"])
        raise TypeError(f"{name} has no {', '.join(kwargs)} to set up; its arguments are {known}")


def refuse_covariates(name: str, given: Mapping[str, Any]) -> None:
    """Refuse batches and covariates for a model that does not have any."""
    covariates = [argument for argument in _COVARIATE_ARGUMENTS if given.get(argument) is not None]
    if covariates:
        raise ValueError(
            f"{name} does not model batches or covariates, but {covariates} were given; leave them out, or "
            "take a model that has them, such as BetaTCVAE"
        )


def size_factor_fields(
    obs: pd.DataFrame, key: str | None, layer: str | None, expression: ExpressionKind, target_sum: float
) -> list[BaseAnnDataField]:
    """Field of the size factor, where there is one; one warns where log-normalised values have no use for it."""
    check_obs_keys(obs, [key])
    if expression == "counts":
        return [] if key is None else [SizeFactorField(key, layer)]
    of_counts = {"size_factor_key": (key, None), "target_sum": (target_sum, _TARGET_SUM)}
    for name, (given, default) in of_counts.items():
        if given != default:
            warn(
                f"{name}={given!r} is not used: {place_of(layer)} holds log-normalised values, of which no counts are "
                "made; for counts, give the layer that holds them (layer=...)"
            )
    return []


def protein_fields(key: str | None, layer: str | None, expression: ExpressionKind) -> list[BaseAnnDataField]:
    """Field of the proteins in obsm, where there are any; these are generated with counts only."""
    if key is None:
        return []
    if expression != "counts":
        raise ValueError(not_counts(place_of(layer)))
    return [ProteinField(key)]


def latent_fields(mean_key: str | None, var_key: str | None) -> list[BaseAnnDataField]:
    """Fields of a stored latent and, where there are any, of its variances."""
    if mean_key is None and var_key is None:
        return []
    if mean_key is None:
        raise ValueError(
            f"latent_var_key is {var_key!r} without latent_key; give latent_key=, the key of the means, too"
        )
    means = [LatentField(_keys.LATENT_MEAN_TENSOR, mean_key)]
    return means if var_key is None else [*means, LatentField(_keys.LATENT_VAR_TENSOR, var_key, mean_key=mean_key)]


class Modalities:
    """Where the arguments of a ``setup_mudata`` are looked for: in their modalities, or in the MuData itself.

    Refuses modalities that do not exist or have other cells, and a MuData without RNA.
    """

    def __init__(self, mdata: MuData, names: Mapping[str, str] | None, setup_args: Mapping[str, Any]) -> None:
        if not isinstance(mdata, MuData):
            raise ValueError(f"mdata is a {type(mdata).__name__}; give a MuData, or an AnnData to setup_anndata")
        refuse_minified(mdata, "mdata")
        example = "{'rna_layer': 'rna', 'protein_layer': 'protein'}"
        if not isinstance(names, Mapping) or names.get("rna_layer") is None:
            raise ValueError(
                f"modalities is {names!r}; say where the RNA is and, if there are any, the proteins, such as {example}: "
                f"mdata has {list(mdata.mod)}"
            )
        arguments = [argument for argument in setup_args if argument != "modalities"]
        for argument, name in names.items():
            if argument not in arguments:
                raise ValueError(
                    f"modalities has {argument!r}, which is no argument of setup_mudata; these are {arguments}"
                )
            if name is not None and name not in mdata.mod:
                raise KeyError(f"mdata[{name!r}] does not exist (modalities[{argument!r}]); it has {list(mdata.mod)}")
        for name in {names[argument] for argument in _LAYERS if names.get(argument) is not None}:
            _check_same_cells(mdata, name)
        self.mdata, self.names, self.setup_args = mdata, names, setup_args

    def fields(self) -> list[BaseAnnDataField]:
        """Fields of counts, batch, labels, covariates and size factor, each in the modality where it is."""
        args = self.setup_args
        fields = [
            self._wrapped(ExpressionField, layer, args[layer], "counts", modality=self.names[layer], registry_key=key)
            for layer, key in _LAYERS.items()
            if self.names.get(layer) is not None
        ]
        for registry_key, argument in ARGUMENTS.items():
            keys = args[argument]
            self._check_obs(argument, keys if isinstance(keys, list) else [keys])
            new = {"may_be_new": True} if argument == "labels_key" else {}
            fields.append(self._wrapped(_OF_OBS[registry_key], argument, registry_key, keys, **new))
        key = args["size_factor_key"]
        self._check_obs("size_factor_key", [key])
        if key is not None:
            of_rna = args["rna_layer"], self.names["rna_layer"]
            fields.append(self._wrapped(SizeFactorField, "size_factor_key", key, *of_rna))
        return fields

    def _wrapped(self, field_class: type[BaseAnnDataField], argument: str, *args, **kwargs) -> BaseAnnDataField:
        name = self.names.get(argument)
        if name is None:
            return field_class(*args, **kwargs)
        return MuDataWrapper(field_class)(*args, mod_key=name, **kwargs)

    def _check_obs(self, argument: str, keys: Sequence[str | None]) -> None:
        """Refuse columns that are not there, with the argument that finds them in a modality."""
        name = self.names.get(argument)
        if name is not None:
            check_obs_keys(self.mdata[name].obs, keys, f"mdata[{name!r}]")
            return
        for key in keys:
            owners = [owner for owner, modality in self.mdata.mod.items() if key in modality.obs]
            if owners and key not in self.mdata.obs:
                raise KeyError(
                    f"mdata.obs has no {key!r}, but mdata[{owners[0]!r}].obs has: add {argument!r}: {owners[0]!r} to "
                    "modalities"
                )
        check_obs_keys(self.mdata.obs, keys)


def _check_same_cells(mdata: MuData, name: str) -> None:
    given = mdata[name].obs_names
    if not given.equals(mdata.obs_names):
        missing = mdata.obs_names.difference(given)
        what = f"lacks {len(missing)} of them, the first is {missing[0]!r}" if len(missing) else "has another order"
        raise ValueError(
            f"mdata has {mdata.n_obs} cells, and mdata[{name!r}] {what}; take the cells that all modalities have, in "
            "one order: names = mdata['rna'].obs_names.intersection(mdata['protein'].obs_names), and "
            "MuData({'rna': rna[names].copy(), 'protein': protein[names].copy()})"
        )
