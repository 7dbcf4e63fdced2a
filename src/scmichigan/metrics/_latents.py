"""Latents and factors in an AnnData, for tables of disentanglement. Legend: n cells, k latents, f factors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scmichigan._cells import keep
from scmichigan._checks import check_obs_keys, counted, obsm_matrix, warn

from ._correlation import has_order
from ._factors import check_factors, codes_of, numbers, varies
from ._tables import without_label

Keys = str | Sequence[str]
CHANCE = "chance"
_N_QUANTILES = 4  # what the metrics cut floating-point factors into


def factors_in(adata: AnnData, keys: Keys, name: str) -> pd.DataFrame:
    """Columns of obs; an error where one is missing or infinite."""
    keys = [keys] if isinstance(keys, str) else list(keys)
    if not keys:
        raise ValueError("keys is empty: name one column of obs or more")
    check_obs_keys(adata.obs, keys, name)
    factors_nf = adata.obs[keys]
    for _, factor in factors_nf.items():  # of all cells: which ones are sampled must not decide what is refused
        if pd.api.types.is_float_dtype(factor):
            numbers(factor)
    return factors_nf


def check_latent_keys(keys: Sequence[str]) -> None:
    """Raise a ``ValueError`` where there is no key, or one is a column of the tables."""
    if not keys:
        raise ValueError("latent_key is empty: name one key of obsm or more")
    for key in keys:
        if key in (CHANCE, "best"):
            raise ValueError(f"latent_key is {key!r}, a column of the table: store these latents under another key")


def latent_in(adata: AnnData, key: str, name: str) -> np.ndarray:
    """Two or more finite latents of obsm."""
    mean_nk = obsm_matrix(adata, key, "store latents there, or name others as latent_key", name)
    place = f"{name}.obsm[{key!r}]"
    if mean_nk.ndim != 2:
        raise ValueError(f"{place} has shape {mean_nk.shape}: give a matrix of 2 dimensions, cells x latents")
    if mean_nk.shape[1] < 2:
        raise ValueError(f"{place} has shape {mean_nk.shape}: give 2 or more latents, they are compared")
    n_bad = np.count_nonzero(~np.isfinite(mean_nk).all(axis=1))
    if n_bad:
        raise ValueError(
            f"{place} is not finite in {counted(n_bad, 'cell')}: leave these cells out, or compute it again"
        )
    return mean_nk


def variance_in(adata: AnnData, key: str, var_key: str | None, name: str) -> np.ndarray | None:
    """Posterior variances of the latents under a key; None where there are none."""
    if var_key is None:
        var_key = f"{key}_var"
        if var_key not in adata.obsm:
            return None
    var_nk = obsm_matrix(adata, var_key, "leave latent_var_key out, or name variances that are there", name)
    if var_nk.shape != np.shape(adata.obsm[key]):
        raise ValueError(
            f"{name}.obsm[{var_key!r}] has shape {var_nk.shape}, obsm[{key!r}] has {np.shape(adata.obsm[key])}: store one "
            "variance for each mean"
        )
    if not (np.isfinite(var_nk).all() and (var_nk > 0).all()):
        raise ValueError(
            f"{name}.obsm[{var_key!r}] must be finite and positive everywhere: store variances, or remove it"
        )
    return var_nk


def ordered_in(factors_nf: pd.DataFrame) -> list[str]:
    """Factors whose values have ranks."""
    return [name for name in factors_nf if has_order(factors_nf[name])]


def described(factors_nf: pd.DataFrame, name: str) -> dict[str, Any]:
    """Check the factors as the metrics will, say how they are taken, and warn where that is hardly meant."""
    check_factors(factors_nf, factors_nf)
    codes_nf = codes_of(factors_nf, _N_QUANTILES, min_cells=2)
    taken, numbers_in_disguise = {}, []
    for (factor, values), n_values in zip(factors_nf.items(), codes_nf.max(axis=0) + 1, strict=True):
        taken[factor] = "numbers" if pd.api.types.is_float_dtype(values) else f"{n_values} categories"
        # Categories have more cells than there are of them.
        if pd.api.types.is_integer_dtype(values.infer_objects()) and n_values**2 > values.notna().sum():
            numbers_in_disguise.append(f"{factor!r} has {n_values} in {values.notna().sum()} cells")
    if numbers_in_disguise:
        warn(
            f"integer factors are taken as categories, and these have many: {', '.join(numbers_in_disguise)}; if they are "
            "numbers, give them as floating point"
        )
    without_order = [factor for factor in factors_nf if factor not in ordered_in(factors_nf)]
    missing = without_label(factors_nf, name)
    return {"factors": taken, "without_label": missing, "left_out_of_spearman": without_order}


def remark_on_constants(mean_nk: np.ndarray, key: str, name: str) -> None:
    """Warn of latents of which fewer than two vary."""
    moving = varies(mean_nk)
    if np.count_nonzero(moving) < 2:
        constant = ", ".join(f"latent {k + 1}" for k in np.flatnonzero(~moving))
        warn(
            f"{name}.obsm[{key!r}] has fewer than two latents that vary, so that nothing can be disentangled: {constant} "
            f"of {len(moving)} are the same in all cells; fit it again, with a smaller beta, or name another"
        )


def shuffled(factors_nf: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same rows in another order, so that factors go together as before."""
    return factors_nf.iloc[np.random.default_rng(seed).permutation(len(factors_nf))].set_axis(factors_nf.index)


def kept(
    adata: AnnData, key: str, table: pd.DataFrame, details: dict[str, Any], attributes: dict[str, Any]
) -> pd.DataFrame:
    """Write the result to uns; the table with attributes that say how it was made."""
    writable = {
        "table": table.copy(),
        "factors": pd.DataFrame({"taken as": attributes["factors"]}),
        "without_label": attributes["without_label"],
        "left_out_of_spearman": np.array(attributes["left_out_of_spearman"], dtype=str),
    }
    keep(adata, "uns", key, writable | details)
    table.attrs |= attributes
    if "estimator" in details:
        table.attrs["estimator"] = dict(details["estimator"])
    return table
