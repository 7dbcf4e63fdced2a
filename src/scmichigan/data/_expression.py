"""What expression is: raw counts, log-normalised values, or neither. Asked here and nowhere else."""

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from scmichigan._compat import MINIFIED

ExpressionKind = Literal["counts", "log_normalized"]

# log1p of a million: no cell that was scaled to a total and logged exceeds it.
_MAX_LOG_NORMALIZED = 14.0
_CHUNK_ROWS = 4096


def place_of(layer: str | None, owner: str = "adata") -> str:
    """Name of a layer in errors and summaries."""
    return f"{owner}.X" if layer is None else f"{owner}.layers[{layer!r}]"


def places_of(setup_args: Mapping[str, Any]) -> list[str]:
    """Names of all that the expression of a setup comes from: genes and, where they are registered, proteins."""
    if "modalities" not in setup_args:
        proteins = setup_args.get("protein_expression_obsm_key")
        return [place_of(setup_args["layer"]), *([] if proteins is None else [f"obsm[{proteins!r}]"])]
    names = {argument: setup_args["modalities"].get(argument) for argument in ("rna_layer", "protein_layer")}
    return [place_of(setup_args[argument], f"mdata[{name!r}]") for argument, name in names.items() if name is not None]


def describe(setup_args: Mapping[str, Any]) -> str:
    """What a model took as expression, in words."""
    places = places_of(setup_args)
    place = " and ".join(places)
    if setup_args.get("expression") == "log_normalized":
        return f"log-normalised values of {place}, as they are"
    total = "their sum" if setup_args["size_factor_key"] is None else f"obs[{setup_args['size_factor_key']!r}]"
    if len(places) == 2 and setup_args["size_factor_key"] is not None:
        total += " (of proteins, their sum)"
    return f"raw counts of {place}, as log1p({setup_args['target_sum']:g} * counts / {total})"


def expression_of(adata: AnnData, layer: str | None, owner: str = "adata") -> np.ndarray | sp.spmatrix:
    """Expression of a layer, which is there, in memory and not empty."""
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
    """Refuse cells whose counts scvi-tools has removed."""
    if MINIFIED in cells.uns:
        raise ValueError(
            f"{owner} was minified by scvi-tools ({cells.uns[MINIFIED]}), and its counts are needed; where they were kept, "
            f"copy it and delete uns[{MINIFIED!r}], else take the {type(cells).__name__} from before; the latents can be "
            "given to MichiGAN as latent_key='scvi_latent_qzm' and latent_var_key='scvi_latent_qzv'"
        )


def checked_expression(
    adata: AnnData, layer: str | None, expression: str, target_sum: float, *, owner: str = "adata"
) -> ExpressionKind:
    """Kind of expression to register: the declared one, or with ``"auto"`` the one that is found."""
    if isinstance(adata, MuData):
        raise ValueError("adata is a MuData; use setup_mudata, or give one of its modalities")
    if expression == "auto":
        expression = detect_expression(adata, layer, owner)
    check_scale(expression, target_sum)
    return expression


def check_scale(expression: str, target_sum: float) -> None:
    """Refuse unknown kinds of expression, and totals that counts cannot be scaled to."""
    if expression not in get_args(ExpressionKind):
        raise ValueError(f"expression is {expression!r}; choose from {['auto', *get_args(ExpressionKind)]}")
    if not isinstance(target_sum, Real) or not 0 < target_sum < np.inf:
        raise ValueError(f"target_sum is {target_sum!r}; it must be a positive number, for example 1e4")


def detect_expression(adata: AnnData, layer: str | None, owner: str = "adata") -> ExpressionKind:
    """Tell raw counts from log-normalised expression.

    Refused are values that are NaN, infinite or negative, or neither integers nor small enough to be logarithms, cells
    without counts, and a layer that does not exist.
    """
    return kind_of_values(expression_of(adata, layer, owner), place_of(layer, owner), adata.obs_names)


def kind_of_values(x: np.ndarray | sp.spmatrix, place: str, names: pd.Index) -> ExpressionKind:
    """The same of a matrix; ``place`` and the ``names`` of its cells are for the errors."""
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


def _values(x: np.ndarray | sp.spmatrix) -> Iterator[np.ndarray]:
    """Stored values in blocks, so that no check copies the whole matrix."""
    if sp.issparse(x):
        for start in range(0, x.data.size, _CHUNK_ROWS * 256):
            yield x.data[start : start + _CHUNK_ROWS * 256]
    else:
        for start in range(0, x.shape[0], _CHUNK_ROWS):
            yield np.asarray(x[start : start + _CHUNK_ROWS])


def have_fractions(setup_args: Mapping[str, Any]) -> str:
    """Message for registered counts that are none any more."""
    return (
        f"{' or '.join(places_of(setup_args))} held raw counts when it was registered, and has fractions now: put the "
        "counts back, and keep what you normalise elsewhere, for example adata.layers['counts'] = adata.X.copy() before, "
        "and layer='counts' in the setup"
    )


def declared_otherwise(place: str, found: ExpressionKind, declared: ExpressionKind) -> str:
    """Message for expression of another kind than the declared one."""
    words = {"counts": "raw counts", "log_normalized": "log-normalised values"}
    return (
        f"{place} holds {words[found]}, but {words[declared]} were declared; pass expression={found!r} to setup_anndata, or "
        f"the layer that holds {words[declared]}"
    )


def not_counts(place: str) -> str:
    """Message for a modality that is no counts."""
    return (
        f"{place} holds log-normalised values; modalities that are generated together must be raw counts: give the layer "
        "that holds them"
    )
