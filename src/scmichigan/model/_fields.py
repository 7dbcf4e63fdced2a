"""What is registered from an AnnData, and refused at the door.

The checks live in the fields, so they also meet data that come later: to be encoded, or with a loaded model.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.data.fields import (
    BaseAnnDataField,
    CategoricalJointObsField,
    CategoricalObsField,
    LayerField,
    MuDataWrapper,
    NumericalJointObsField,
    NumericalObsField,
    ObsmField,
)

from scmichigan import _keys
from scmichigan._checks import check_obs_keys, obsm_matrix, own_keys
from scmichigan._compat import MINIFIED, setup_method_args

ExpressionKind = Literal["counts", "log_normalized"]

# log1p of a million: no cell that was scaled to a total and logged exceeds it.
_MAX_LOG_NORMALIZED = 14.0
_CHUNK_ROWS = 4096
_TARGET_SUM = 1e4  # by default
_ROUNDING = 1e-3
_LEAST_CORRELATION = 0.5
_LEAST_VARIATION = 0.2
# Squares of more have no place in single precision.
_LARGEST_LATENT = 1e18
_COVARIATE_ARGUMENTS = ("batch_key", "categorical_covariate_keys", "continuous_covariate_keys")


def place_of(layer: str | None, owner: str = "adata") -> str:
    """How errors and summaries call a layer."""
    return f"{owner}.X" if layer is None else f"{owner}.layers[{layer!r}]"


def _expression(adata: AnnData, layer: str | None, owner: str = "adata") -> np.ndarray | sp.spmatrix:
    if layer is not None and layer not in adata.layers:
        # anndata 0.13 lists X among the layers, under None.
        layers = sorted(name for name in adata.layers if name is not None)
        raise KeyError(f"{place_of(layer, owner)} does not exist; the layers are {layers}")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(
            f"{owner} has {adata.n_obs} cells and {adata.n_vars} genes; both must be at least 1 (look at the last filter)"
        )
    if adata.isbacked:
        raise ValueError(f"{owner} is backed by a file; load it with adata.to_memory() first")
    refuse_minified(adata, owner)
    x = adata.X if layer is None else adata.layers[layer]
    if x is None:
        raise ValueError(f"{owner}.X is None; pass layer= with the name of the layer that holds the expression")
    return x


def refuse_minified(cells: AnnData | MuData, owner: str) -> None:
    """Refuse cells whose counts scvi-tools has put away."""
    if MINIFIED in cells.uns:
        raise ValueError(
            f"{owner} was minified by scvi-tools ({cells.uns[MINIFIED]}), and its counts are needed; where they were kept, "
            f"copy it and delete uns[{MINIFIED!r}], else take the {type(cells).__name__} from before; the latents can be "
            "given to MichiGAN as latent_key='scvi_latent_qzm' and latent_var_key='scvi_latent_qzv'"
        )


def _values(x: np.ndarray | sp.spmatrix) -> Iterator[np.ndarray]:
    """Stored values in blocks, so that no check copies the whole matrix."""
    if sp.issparse(x):
        for start in range(0, x.data.size, _CHUNK_ROWS * 256):
            yield x.data[start : start + _CHUNK_ROWS * 256]
    else:
        for start in range(0, x.shape[0], _CHUNK_ROWS):
            yield np.asarray(x[start : start + _CHUNK_ROWS])


def detect_expression(adata: AnnData, layer: str | None, owner: str = "adata") -> ExpressionKind:
    """Tell raw counts from log-normalised expression; refuse what is neither.

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError
        If there is no cell or gene, a value is NaN, infinite or negative, a cell is empty, or the values are neither
        integers nor small enough to be logarithms.
    """
    return _detect(_expression(adata, layer, owner), place_of(layer, owner), adata.obs_names)


def _detect(x: np.ndarray | sp.spmatrix, place: str, names: pd.Index) -> ExpressionKind:
    is_integer, largest = True, 0.0
    for block in _values(x):
        if not np.isfinite(block).all():
            bad = block[~np.isfinite(block)][0]
            raise ValueError(f"{place} contains {bad}; remove or impute such values first")
        if block.size and block.min() < 0:
            raise ValueError(
                f"{place} contains {block.min():g}; expression must not be negative: give raw counts or log-normalised "
                "expression (of proteins, counts only), not scaled or centred values"
            )
        largest = max(largest, float(block.max(initial=0)))
        is_integer = is_integer and bool(np.array_equal(block, np.round(block)))
    totals = np.asarray(x.sum(axis=1)).ravel()
    if (totals == 0).any():
        cell = names[int(np.argmax(totals == 0))]
        raise ValueError(
            f"{int((totals == 0).sum())} cells have no counts in {place}, the first is {cell!r}; remove them, for "
            "example with scanpy.pp.filter_cells(adata, min_counts=1)"
        )
    if is_integer:
        return "counts"
    if largest > _MAX_LOG_NORMALIZED:
        raise ValueError(
            f"{place} is neither counts (it has fractions) nor log-normalised (its largest value is {largest:g}, more "
            f"than {_MAX_LOG_NORMALIZED:g}); give raw counts, or apply scanpy.pp.log1p after normalising"
        )
    return "log_normalized"


class ExpressionField(LayerField):
    """Raw counts or log-normalised expression, checked against what was declared.

    Parameters
    ----------
    layer
        Layer that holds it; ``None`` for ``adata.X``.
    kind
        What it must be.
    modality
        Name of the modality of a MuData that it is in.
    registry_key
        Name of the tensor.
    """

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
            if self.owner != "adata":
                raise ValueError(not_counts(place))
            raise ValueError(
                f"{place} holds {_describe(found)}, but {_describe(self.kind)} were declared; pass "
                f"expression={found!r} to setup_anndata, or the layer that holds {_describe(self.kind)}"
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


def _describe(kind: ExpressionKind) -> str:
    return {"counts": "raw counts", "log_normalized": "log-normalised values"}[kind]


def not_counts(place: str) -> str:
    return (
        f"{place} holds log-normalised values; modalities that are generated together must be raw counts: give the layer "
        "that holds them"
    )


class ProteinField(ObsmField):
    """Protein counts beside the expression of an AnnData.

    Parameters
    ----------
    key
        Key of ``adata.obsm``.
    """

    def __init__(self, key: str) -> None:
        super().__init__(REGISTRY_KEYS.PROTEIN_EXP_KEY, key, correct_data_format=False)

    def validate_field(self, adata: AnnData) -> None:
        """Refuse anything but counts."""
        place = f"obsm[{self.attr_key!r}]"
        cure = "store the protein counts there"
        x = obsm_matrix(adata, self.attr_key, cure)
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(f"{place} has shape {x.shape}; {cure}, cells x proteins")
        if _detect(x, place, adata.obs_names) != "counts":
            raise ValueError(not_counts(place))
        super().validate_field(adata)


class SizeFactorField(NumericalObsField):
    """Total counts of each cell.

    Parameters
    ----------
    key
        Column of ``adata.obs``.
    layer
        Layer of the counts that it belongs to.
    modality
        Name of the modality of a MuData that these are in.
    """

    def __init__(self, key: str, layer: str | None, modality: str | None = None) -> None:
        super().__init__(REGISTRY_KEYS.SIZE_FACTOR_KEY, key)
        self.layer = layer
        self.modality = modality

    def validate_field(self, adata: AnnData) -> None:
        """Refuse factors that are not finite and positive, or that cannot be totals."""
        check_obs_keys(adata, [self.attr_key])
        factors = _numbers(adata, self.attr_key, "size factors must be positive numbers: give each cell's total counts")
        if (factors <= 0).any():
            row = int(np.argmax(factors <= 0))
            raise ValueError(
                f"obs[{self.attr_key!r}] is {factors[row]:g} for cell {adata.obs_names[row]!r}; size factors must be "
                "positive numbers: give each cell's total counts"
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
        return np.asarray(_expression(counted, self.layer).sum(axis=1)).ravel()


class CategoryField(CategoricalObsField):
    """Batches, of which later cells have none but those of the setup; or labels, which may be new.

    Parameters
    ----------
    registry_key
        Name of the tensor.
    key
        Column of ``adata.obs``, or ``None``.
    may_be_new
        Whether cells that come later may have other levels.
    """

    def __init__(self, registry_key: str, key: str | None, *, may_be_new: bool = False) -> None:
        super().__init__(registry_key, key)
        self.key = key
        self.may_be_new = may_be_new

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Refuse cells without a level, and with one that the model does not know."""
        if self.key is not None:
            known = None if self.may_be_new else state_registry[self.CATEGORICAL_MAPPING_KEY]
            _check_levels(adata_target, self.key, known)
        kwargs["extend_categories"] = self.may_be_new or kwargs.get("extend_categories", False)
        return super().transfer_field(state_registry, adata_target, **kwargs)


class CategoryCovariatesField(CategoricalJointObsField):
    """Categorical covariates, of which later cells have no other levels than those of the setup."""

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Refuse cells without a level, and with one that the model does not know."""
        for key, known in state_registry.get(self.MAPPINGS_KEY, {}).items():
            _check_levels(adata_target, key, known)
        return super().transfer_field(state_registry, adata_target, **kwargs)


class NumberCovariatesField(NumericalJointObsField):
    """Continuous covariates, finite in later cells, too."""

    def validate_field(self, adata: AnnData) -> None:
        """Refuse what is missing or no finite number."""
        check_obs_keys(adata, self.attr_keys)
        for key in self.attr_keys:
            _numbers(adata, key, "continuous covariates must be finite numbers: impute it or remove the cell")
            _check_number_type(adata, key)
        super().validate_field(adata)


class LatentField(ObsmField):
    """A stored latent (or its variance) that a generator can be trained on.

    Parameters
    ----------
    registry_key
        Name of the tensor.
    key
        Key of ``adata.obsm``.
    is_variance
        Whether these are variances, which must not be negative.
    """

    def __init__(self, registry_key: str, key: str, *, is_variance: bool = False) -> None:
        super().__init__(registry_key, key, correct_data_format=False)
        self.is_variance = is_variance

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
        if self.is_variance and z.min() < 0:
            raise ValueError(f"{place} contains {z.min():g}; variances must not be negative (is it the mean?)")
        if not self.is_variance and adata.n_obs > 1 and not np.ptp(z, axis=0).any():
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


def _check_labels(adata: AnnData, key: str) -> None:
    missing = adata.obs[key].isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"obs[{key!r}] is missing for {int(missing.sum())} cells, the first is "
            f"{adata.obs_names[int(np.argmax(missing))]!r}; remove these cells or give them a label of their own"
        )


def _check_levels(adata: AnnData, key: str, known: np.ndarray | None) -> None:
    """Refuse cells without a label, and those with one that is not known, where it has to be."""
    check_obs_keys(adata, [key])
    _check_labels(adata, key)
    unknown = [] if known is None else [level for level in adata.obs[key].unique() if level not in set(known)]
    if unknown:
        raise ValueError(
            f"obs[{key!r}] is {unknown[0]!r} for some cells, and the model was set up with {list(known)}; give these cells "
            "the one of these that is most like theirs, or train a model with them"
        )


def check_scale(expression: str, target_sum: float) -> None:
    if expression not in get_args(ExpressionKind):
        raise ValueError(f"expression is {expression!r}; choose from {['auto', *get_args(ExpressionKind)]}")
    if not isinstance(target_sum, Real) or not 0 < target_sum < np.inf:
        raise ValueError(f"target_sum is {target_sum!r}; it must be a positive number, for example 1e4")


@dataclass(frozen=True)
class Places:
    """Where each argument of a setup is looked for.

    Parameters
    ----------
    cells
        What is set up.
    modalities
        Of a MuData, the modality of each argument; those without one are looked for in the MuData itself.
    """

    cells: AnnData | MuData
    modalities: Mapping[str, str] = field(default_factory=dict)

    def of(self, argument: str) -> AnnData | MuData:
        """What holds this argument's columns."""
        name = self.modalities.get(argument)
        return self.cells if name is None else self.cells[name]

    def name(self, argument: str) -> str:
        """How errors call it."""
        name = self.modalities.get(argument)
        return "" if name is None else f"mdata[{name!r}]"

    def check_obs(self, argument: str, keys: list[str | None]) -> None:
        """Refuse columns of obs that are not there; of a MuData, with the argument that finds them in a modality."""
        cells = self.of(argument)
        for key in keys if isinstance(cells, MuData) else ():
            owners = [name for name, modality in cells.mod.items() if key in modality.obs]
            if owners and key not in cells.obs:
                raise KeyError(
                    f"mdata.obs has no {key!r}, but mdata[{owners[0]!r}].obs has: add {argument!r}: {owners[0]!r} to modalities"
                )
        check_obs_keys(cells, keys, self.name(argument))

    def field(self, field_class: type[BaseAnnDataField], argument: str, *args, **kwargs) -> BaseAnnDataField:
        """A field of this argument."""
        name = self.modalities.get(argument)
        return (
            field_class(*args, **kwargs) if name is None else MuDataWrapper(field_class)(*args, mod_key=name, **kwargs)
        )


def register_cells(setup_locals: dict[str, Any]) -> None:
    """Check and register the cells: the body of every ``setup_anndata``; takes its ``locals()``."""
    cls, adata, kwargs = (setup_locals[name] for name in ("cls", "adata", "kwargs"))
    if isinstance(adata, MuData):
        raise ValueError("adata is a MuData; use setup_mudata, or give one of its modalities")
    # Whatever a setup_anndata does not list ends up in kwargs.
    covariates = [name for name in _COVARIATE_ARGUMENTS if kwargs.get(name) is not None]
    if covariates:
        raise ValueError(
            f"{cls.__name__} does not model batches or covariates, but {covariates} were given; leave them out, or "
            "take a model that has them, such as BetaTCVAE"
        )
    expression = setup_locals["expression"]
    if expression == "auto":
        expression = detect_expression(adata, setup_locals["layer"])
    setup_args = setup_method_args(setup_locals | {"expression": expression})
    args = dict(setup_args["setup_args"])
    layer, protein_key = args.pop("layer"), args.pop("protein_expression_obsm_key", None)
    fields: list[BaseAnnDataField] = [ExpressionField(layer, expression)]
    target_sum = args.pop("target_sum")
    check_scale(args.pop("expression"), target_sum)
    if protein_key is not None:
        if expression != "counts":
            raise ValueError(not_counts(place_of(layer)))
        fields.append(ProteinField(protein_key))
    latent_keys = args.pop("latent_key", None), args.pop("latent_var_key", None)
    size_factor_key = args.pop("size_factor_key")
    fields += cell_fields(Places(adata), size_factor_key=size_factor_key, **args)
    if expression == "counts":
        if size_factor_key is not None:
            fields.append(SizeFactorField(size_factor_key, layer))
    else:
        of_counts = {"size_factor_key": (size_factor_key, None), "target_sum": (target_sum, _TARGET_SUM)}
        for name, (given, default) in of_counts.items():
            if given != default:
                warnings.warn(
                    f"{name}={given!r} is not used: {place_of(layer)} holds log-normalised values, of which no counts are "
                    "made; for counts, give the layer that holds them (layer=...)",
                    UserWarning,
                    stacklevel=3,
                )
    fields += latent_fields(adata, *latent_keys)
    register(cls, adata, fields, setup_args, kwargs)


def register(
    cls: type,
    cells: AnnData | MuData,
    fields: list[BaseAnnDataField],
    setup_args: dict[str, Any],
    kwargs: dict[str, Any],
) -> None:
    """Register the fields; takes what ``setup_method_args`` gives."""
    if kwargs and "source_registry" not in kwargs:
        known = ", ".join(setup_args["setup_args"])
        raise TypeError(f"{cls.__name__} has no {', '.join(kwargs)} to set up; its arguments are {known}")
    manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
    manager.register_fields(cells, **kwargs)
    cls.register_manager(manager)


class PlainSetupMixin:
    """Registers cells for a model without batches and covariates; a base only."""

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        expression: Literal["auto", "counts", "log_normalized"] = "auto",
        target_sum: float = 1e4,
        **kwargs,
    ) -> None:
        """Register the cells. Batches and covariates are not modelled, and refused.

        Parameters
        ----------
        adata
            Cells x genes.
        layer, labels_key, size_factor_key, expression, target_sum
            As in :meth:`BetaTCVAE.setup_anndata`.
        **kwargs
            Passed to scvi-tools' registration.

        Raises
        ------
        KeyError
            If a column or layer does not exist.
        ValueError
            As in :meth:`BetaTCVAE.setup_anndata`, and if a batch or covariate is given.
        """
        register_cells(locals())


def latent_fields(adata: AnnData, mean_key: str | None, var_key: str | None) -> list[BaseAnnDataField]:
    """Fields of a stored latent and, where there are any, of its variances."""
    if mean_key is None and var_key is None:
        return []
    if mean_key is None:
        raise ValueError(
            f"latent_var_key is {var_key!r} without latent_key; give latent_key=, the key of the means, too"
        )
    fields = [LatentField(_keys.LATENT_MEAN_TENSOR, mean_key)]
    if var_key is not None:
        fields.append(LatentField(_keys.LATENT_VAR_TENSOR, var_key, is_variance=True))
        shapes = [np.shape(adata.obsm[key]) for key in (mean_key, var_key) if key in adata.obsm]
        if len(set(shapes)) == 2:
            raise ValueError(
                f"obsm[{var_key!r}] has shape {shapes[1]}, obsm[{mean_key!r}] has {shapes[0]}; give one variance for "
                "each mean"
            )
    return fields


def cell_fields(
    places: Places,
    *,
    labels_key: str | None,
    size_factor_key: str | None,
    batch_key: str | None = None,
    categorical_covariate_keys: list[str] | None = None,
    continuous_covariate_keys: list[str] | None = None,
) -> list[BaseAnnDataField]:
    """Fields of the columns of obs that every model registers; the size factor is only looked for."""
    keys = {
        "batch_key": [batch_key],
        "labels_key": [labels_key],
        "categorical_covariate_keys": categorical_covariate_keys or [],
        "continuous_covariate_keys": continuous_covariate_keys or [],
        "size_factor_key": [size_factor_key],
    }
    for argument, names in keys.items():
        if isinstance(names, str):
            raise ValueError(f"{argument} is {names!r}; give a list of columns of obs: [{names!r}]")
        several = [name for name in names if isinstance(name, list | tuple)]
        if several:
            raise ValueError(f"{argument} is {several[0]!r}; give the name of one column of obs")
        places.check_obs(argument, names)
    for argument in ("batch_key", "labels_key", "categorical_covariate_keys"):
        for key in keys[argument]:
            if key is not None:
                _check_labels(places.of(argument), key)
    return [
        places.field(CategoryField, "batch_key", REGISTRY_KEYS.BATCH_KEY, batch_key),
        places.field(CategoryField, "labels_key", REGISTRY_KEYS.LABELS_KEY, labels_key, may_be_new=True),
        places.field(
            CategoryCovariatesField,
            "categorical_covariate_keys",
            REGISTRY_KEYS.CAT_COVS_KEY,
            categorical_covariate_keys,
        ),
        places.field(
            NumberCovariatesField, "continuous_covariate_keys", REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys
        ),
    ]
