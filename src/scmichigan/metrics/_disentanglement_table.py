"""How disentangled latents are, by all measures at once.

Legend: n cells, k latents, f factors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scmichigan import _keys
from scmichigan._cells import check_anndata, check_obs_keys, in_layer, keep, obsm_matrix

from ._correlation import has_order, spearman_correlation, spearman_gap
from ._factors import check_factors, latents_by_factors, sample_cells
from ._inference import infer_factors
from ._information import mutual_information, mutual_information_gap
from ._predictability import dci, sap
from ._registry import DISENTANGLEMENT, GENERATOR
from ._tables import metric_table
from ._total_correlation import total_correlation
from ._votes import beta_vae_score, factor_vae_score

# Only names differ by what the values rest on, so that no two of different kinds stand side by side.
_MIG = {"aggregate posterior": "MIG, aggregate posterior", "knn": "MIG, nearest neighbours"}
_SPEARMAN = "Spearman gap"


def disentanglement(
    adata: AnnData,
    factors: str | Sequence[str],
    latent_key: str | Sequence[str] = _keys.LATENT,
    *,
    latent_var_key: str | None = None,
    n_cells: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge how disentangled latents are, by all measures at once.

    Parameters
    ----------
    adata
        Cells with latents in ``obsm`` and factors in ``obs``.
    factors
        Columns of ``obs``. Floating-point columns are taken as numbers, and cut at their quartiles where a measure
        needs categories; all others are categories.
    latent_key
        One or more keys of ``obsm``, each with 2 latents or more.
    latent_var_key
        Key of ``obsm`` with the posterior variances, for a single latent. By default they are taken from the key of the
        latent and ``"_var"``, as in ``X_michigan_var``, where there is one.
    n_cells
        Cells to use; of more, so many are drawn at random, the same for all latents. 4,000 cells with 10 latents and 4
        factors take about 20 s on one core, most of it for DCI.
    seed
        Of all draws.

    Returns
    -------
    One row a metric (:func:`registry` has ranges, best values and sources), one column a latent. Mutual information and
    total correlation are under the aggregate posterior where there are variances, and have rows of their own where
    there are none: these values do not compare. What needs two factors is NaN for one, and the Spearman gap where no
    factor has an order. ``attrs["estimator"]`` says which mutual information each latent got, and
    ``attrs["left_out_of_spearman"]`` lists factors without an order.

    Table and attributes are also written to ``adata.uns["michigan_disentanglement"]``, with the normalised mutual
    information and the absolute Spearman correlation of each latent with each factor; not to a view, which would be
    copied for it.

    Raises
    ------
    KeyError
        If a column or key does not exist.
    ValueError
        If latents have a single dimension or are not finite, variances do not fit them, or factors are unusable: see
        :func:`mutual_information` and :func:`dci`.

    Notes
    -----
    Factors that go together in the cells keep all values below 1, whatever the latent. The measures see what a latent
    tells of the factors given, not of others.

    Narrow posteriors in few cells raise the total correlation under the aggregate posterior by several nats, also of
    independent latents (see :func:`total_correlation`): compare it between latents, not with 0.

    Examples
    --------
    >>> mg.metrics.disentanglement(adata, ["cell_type", "condition"], ["X_michigan", "X_pca"])
    """
    check_anndata(adata=adata)
    factors_nf = _columns(adata, factors)
    keys = [latent_key] if isinstance(latent_key, str) else list(latent_key)
    if latent_var_key is not None and len(keys) != 1:
        raise ValueError(
            f"latent_var_key is given for {len(keys)} latents: store the variances of each as key + '_var'"
        )
    latents = {key: (_latent(adata, key), _variance(adata, key, latent_var_key)) for key in keys}
    cells = sample_cells(adata.n_obs, n_cells, seed)
    factors_nf = factors_nf.iloc[cells]
    columns, details = {}, {"mutual_information": {}, "spearman": {}, "estimator": {}}
    for key, (mean_nk, var_nk) in latents.items():
        var_nk = None if var_nk is None else var_nk[cells]
        columns[key], information, correlation = _judge(mean_nk[cells], var_nk, factors_nf, seed)
        details["mutual_information"][key] = information
        details["estimator"][key] = information.attrs["estimator"]
        if correlation is not None:
            details["spearman"][key] = correlation
    table = metric_table(DISENTANGLEMENT, columns)
    without_order = [name for name in factors_nf.columns if not has_order(factors_nf[name])]
    return _kept(adata, _keys.DISENTANGLEMENT, table, details, without_order)


def generator_disentanglement(
    generated: AnnData,
    real: AnnData,
    factors: str | Sequence[str],
    *,
    latent_key: str = _keys.LATENT,
    layer: str | None = None,
    n_neighbors: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge whether the latents that cells were generated from can be told apart in these cells.

    Generated cells have no encoder: their factors are inferred from the nearest real cells, and set beside the latents
    they were made from.

    Parameters
    ----------
    generated
        Cells with the latents that they were made from in ``obsm``; expression in ``X``.
    real
        Real cells with the factors in ``obs``.
    factors
        Columns of ``real.obs``, none of them with missing values.
    latent_key
        Key of ``generated.obsm``.
    layer
        Layer of ``real`` with expression on the scale of the generated cells; ``X`` without it.
    n_neighbors
        Nearest real cells; the paper takes 3.
    seed
        Of the principal components and of draws.

    Returns
    -------
    Rows "Spearman gap" (NaN where no factor has an order) and "MIG, nearest neighbours", one column; 1 is best.
    ``attrs["left_out_of_spearman"]`` lists factors without an order. A factor that comes out the same for all generated
    cells is related to none of their latents.

    The inferred factors are also written to ``generated.obsm["michigan_inferred_factors"]``; table, attributes and both
    matrices to ``generated.uns["michigan_generator_disentanglement"]``; not to a view.

    Raises
    ------
    KeyError
        If a column, key or layer does not exist.
    ValueError
        If cells are unusable (see the message), latents have a single dimension or are not finite, or a factor has
        missing values.

    Notes
    -----
    Generated cells far from all real ones get factors as well: look at :func:`realism` first.

    References
    ----------
    Yu and Welch 2021, "MichiGAN samples from disentangled representations".
    """
    check_anndata(generated=generated, real=real)
    factors_nf = _columns(real, factors)
    mean_nk = _latent(generated, latent_key)
    inferred = infer_factors(generated, in_layer(real, layer, "real"), factors_nf, n_neighbors=n_neighbors, seed=seed)
    information = _of_varied(partial(mutual_information, estimator="knn", seed=seed), mean_nk, inferred)
    gaps, details = {_MIG["knn"]: mutual_information_gap(information)}, {"mutual_information": information}
    ordered = [name for name in factors_nf if has_order(factors_nf[name])]
    if ordered:
        details["spearman"] = _of_varied(spearman_correlation, mean_nk, inferred[ordered])
    gaps[_SPEARMAN] = spearman_gap(details["spearman"]) if ordered else np.nan
    keep(generated, "obsm", _keys.INFERRED_FACTORS, inferred)
    without_order = [name for name in factors_nf if name not in ordered]
    table = metric_table(GENERATOR, {latent_key: gaps})
    return _kept(generated, _keys.GENERATOR_DISENTANGLEMENT, table, details, without_order)


def _of_varied(
    relation: Callable[[np.ndarray, pd.DataFrame], pd.DataFrame], mean_nk: np.ndarray, factors_nf: pd.DataFrame
) -> pd.DataFrame:
    """Latents x factors; 0 for a factor that is the same in all cells."""
    varied = factors_nf.loc[:, factors_nf.nunique() > 1]
    if varied.empty:
        return latents_by_factors(np.zeros((mean_nk.shape[1], factors_nf.shape[1])), factors_nf)
    return relation(mean_nk, varied).reindex(columns=factors_nf.columns, fill_value=0.0)


def _columns(adata: AnnData, factors: str | Sequence[str]) -> pd.DataFrame:
    names = [factors] if isinstance(factors, str) else list(factors)
    check_obs_keys(adata, names)
    return adata.obs[names]


def _latent(adata: AnnData, key: str) -> np.ndarray:
    mean_nk = obsm_matrix(adata, key, "store latents there, or name others as latent_key")
    if mean_nk.ndim != 2 or mean_nk.shape[1] < 2:
        raise ValueError(f"obsm[{key!r}] has shape {mean_nk.shape}: give 2 or more latents, they are compared")
    n_bad = np.count_nonzero(~np.isfinite(mean_nk).all(axis=1))
    if n_bad:
        raise ValueError(f"obsm[{key!r}] is not finite in {n_bad} cells: leave these cells out, or compute it again")
    return mean_nk


def _variance(adata: AnnData, key: str, var_key: str | None) -> np.ndarray | None:
    if var_key is None:
        var_key = f"{key}_var"
        if var_key not in adata.obsm:
            return None
    var_nk = obsm_matrix(adata, var_key, "leave latent_var_key out, or name variances that are there")
    if var_nk.shape != np.shape(adata.obsm[key]):
        raise ValueError(
            f"obsm[{var_key!r}] has shape {var_nk.shape}, obsm[{key!r}] has {np.shape(adata.obsm[key])}: store one "
            "variance for each mean"
        )
    if not (np.isfinite(var_nk).all() and (var_nk > 0).all()):
        raise ValueError(f"obsm[{var_key!r}] must be finite and positive everywhere: store variances, or remove it")
    return var_nk


def _judge(
    mean_nk: np.ndarray, var_nk: np.ndarray | None, factors_nf: pd.DataFrame, seed: int
) -> tuple[dict[str, float], pd.DataFrame, pd.DataFrame | None]:
    """All values of one latent, and the matrices of mutual information and Spearman correlation."""
    check_factors(factors_nf, mean_nk)
    information = mutual_information(mean_nk, factors_nf, var=var_nk, n_cells=len(mean_nk), seed=seed)
    ordered = [name for name in factors_nf.columns if has_order(factors_nf[name])]
    correlation = spearman_correlation(mean_nk, factors_nf[ordered]) if ordered else None
    values = {
        _MIG[information.attrs["estimator"]]: mutual_information_gap(information),
        _SPEARMAN: spearman_gap(correlation) if ordered else np.nan,
        **_of_several_factors(mean_nk, factors_nf, seed),
        "SAP": sap(mean_nk, factors_nf, n_cells=len(mean_nk), seed=seed),
        f"total correlation, {'Gaussian' if var_nk is None else 'aggregate posterior'}": total_correlation(
            mean_nk, var_nk, seed=seed
        ),
    }
    return values, information, correlation


def _of_several_factors(mean_nk: np.ndarray, factors_nf: pd.DataFrame, seed: int) -> dict[str, float]:
    names = ("DCI disentanglement", "DCI completeness", "DCI informativeness")
    if factors_nf.shape[1] < 2:
        return dict.fromkeys(("FactorVAE metric", "beta-VAE metric", *names), np.nan)
    of_trees = dci(mean_nk, factors_nf, n_cells=len(mean_nk), seed=seed)
    return {
        "FactorVAE metric": factor_vae_score(mean_nk, factors_nf, seed=seed),
        "beta-VAE metric": beta_vae_score(mean_nk, factors_nf, seed=seed),
        **dict(zip(names, (of_trees.disentanglement, of_trees.completeness, of_trees.informativeness), strict=True)),
    }


def _kept(
    adata: AnnData, key: str, table: pd.DataFrame, details: dict[str, Any], without_order: list[str]
) -> pd.DataFrame:
    """Write the result to uns; the table with attributes that say how it was made."""
    details = {"table": table.copy(), "left_out_of_spearman": np.array(without_order, dtype=str)} | details
    keep(adata, "uns", key, details)
    table.attrs["left_out_of_spearman"] = without_order
    if "estimator" in details:
        table.attrs["estimator"] = dict(details["estimator"])
    return table
