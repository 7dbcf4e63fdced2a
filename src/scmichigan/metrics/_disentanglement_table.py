"""How disentangled latents are, by all measures at once.

Legend: n cells, k latents, f factors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from scmichigan import _keys
from scmichigan._cells import in_layer, keep, matrices
from scmichigan._checks import check_anndata, check_obs_keys, counted, is_number, obsm_matrix

from ._correlation import has_order, spearman_correlation, spearman_gap
from ._factors import check_factors, codes_of, latents_by_factors, numbers, sample_cells, varies
from ._inference import infer_factors
from ._information import mutual_information, mutual_information_gap
from ._predictability import dci, largest_sap, sap
from ._registry import DISENTANGLEMENT, GENERATOR
from ._remarks import remark_on
from ._tables import Plan, Side, computed, equal_number, metric_table, or_nan, warn, with_best, without_label
from ._total_correlation import total_correlation
from ._votes import beta_vae_score, factor_vae_score

# Only names differ by what the values rest on, so that no two of different kinds stand side by side.
_MIG = {"aggregate posterior": "MIG, aggregate posterior", "knn": "MIG, nearest neighbours"}
_SPEARMAN = "Spearman gap"
_CHANCE = "chance"
_N_QUANTILES = 4  # what the metrics cut floating-point factors into
_STEPS = 4  # of a progress bar, for each latent


def disentanglement(
    adata: AnnData,
    factors: str | Sequence[str],
    latent_key: str | Sequence[str] = _keys.LATENT,
    *,
    latent_var_key: str | None = None,
    n_cells: int = 4000,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Judge how disentangled latents are, by all measures at once.

    Parameters
    ----------
    adata
        Cells with latents in ``obsm`` and factors in ``obs``.
    factors
        Columns of ``obs``. Floating-point columns are taken as numbers, and cut at their quartiles where a measure
        needs categories; all others are categories, integers among them (unlike in :func:`generator_disentanglement`).
        Cells without a label are left out for that factor.
    latent_key
        One or more keys of ``obsm``, each with 2 latents or more.
    latent_var_key
        Key of ``obsm`` with the posterior variances, for a single latent. By default they are taken from the key of the
        latent and ``"_var"``, as in ``X_michigan_var``, where there is one.
    n_cells
        Cells to use; of more, so many are drawn at random, the same for all latents. 4,000 cells with 10 latents and 4
        factors take about 20 s on one core, most of it for DCI, and as long again for "chance".
    seed
        Of all draws.
    enable_progress_bar
        Whether to show how far it is.

    Returns
    -------
    One row a metric (:func:`registry` has ranges and sources), one column a latent. Beside them "chance", what the first
    latent gets when the rows of its factors are shuffled over the cells, so that it knows nothing of them (the total
    correlation: when each of its dimensions is shuffled by itself, so that all are independent), and "best".
    Mutual information and total correlation are under the aggregate posterior where there are variances, and have rows
    of their own where there are none: these values do not compare. What needs two factors is NaN for one, the Spearman
    gap where no factor has an order, and the total correlation where fewer than two latents vary.

    ``attrs["factors"]`` says how each factor was taken, ``attrs["without_label"]`` how many cells lack one,
    ``attrs["estimator"]`` which mutual information each latent got, and ``attrs["left_out_of_spearman"]`` lists factors
    without an order.

    Table and attributes are also written to ``adata.uns["michigan_disentanglement"]``, with the normalised mutual
    information and the absolute Spearman correlation of each latent with each factor; not to a view, which would be
    copied for it.

    Raises
    ------
    KeyError
        If a column or key does not exist.
    ValueError
        If latents have a single dimension or are not finite, variances do not fit them, factors are unusable (see
        :func:`mutual_information` and :func:`dci`), or there are fewer than 5 cells.

    Warns
    -----
    UserWarning
        If there are fewer than 50 cells, some lack a label, fewer than two latents vary, or an integer factor has more
        values than each of them has cells on average, and so is hardly one of categories.

    Notes
    -----
    Factors that go together in the cells keep all values below 1, whatever the latent. The measures see what a latent
    tells of the factors given, not of others. How far "best" can be reached with factors that go together is not known,
    but for SAP, where it is what the factors get as their own latents.

    Narrow posteriors in few cells raise the total correlation under the aggregate posterior by several nats, also of
    independent latents (see :func:`total_correlation`): compare it between latents, and with "chance" rather than 0.

    Examples
    --------
    >>> mg.metrics.disentanglement(adata, ["cell_type", "condition"], ["X_michigan", "X_pca"])
    """
    plan = plan_disentanglement(adata, factors, latent_key, latent_var_key=latent_var_key, n_cells=n_cells, seed=seed)
    return computed({DISENTANGLEMENT: plan}, enable_progress_bar=enable_progress_bar)[DISENTANGLEMENT]


def plan_disentanglement(
    adata: AnnData,
    factors: str | Sequence[str],
    latent_key: str | Sequence[str],
    *,
    latent_var_key: str | None = None,
    n_cells: int,
    seed: int,
    name: str = "adata",
) -> Plan:
    """Check what :func:`disentanglement` is given; ``name`` is that of the cells to whoever calls."""
    check_anndata(**{name: adata})
    factors_nf = _columns(adata, factors, name)
    keys = [latent_key] if isinstance(latent_key, str) else list(latent_key)
    if latent_var_key is not None and len(keys) != 1:
        raise ValueError(
            f"latent_var_key is given for {len(keys)} latents: store the variances of each as key + '_var'"
        )
    _check_keys(keys)
    latents = {key: (_latent(adata, key, name), _variance(adata, key, latent_var_key, name)) for key in keys}
    equal_number(n_cells, {name: Side(adata.n_obs)}, beside=_CHANCE)
    cells = sample_cells(adata.n_obs, n_cells, seed)
    factors_nf = factors_nf.iloc[cells]
    attributes = _described(factors_nf, name)
    drawn = {
        key: (mean_nk[cells], None if var_nk is None else var_nk[cells]) for key, (mean_nk, var_nk) in latents.items()
    }
    for key, (mean_nk, _) in drawn.items():
        _remark_on_constants(mean_nk, key, name)

    def compute(tick: Callable[[], object]) -> pd.DataFrame:
        columns, details = {}, {"mutual_information": {}, "spearman": {}, "estimator": {}}
        for key, latent in drawn.items():
            judged = _judge(*latent, factors_nf, seed, tick)
            columns[key] = judged.values | _independence(*latent, seed)
            details["mutual_information"][key] = judged.information
            details["estimator"][key] = judged.information.attrs["estimator"]
            if judged.correlation is not None:
                details["spearman"][key] = judged.correlation
        first = drawn[keys[0]]
        columns[_CHANCE] = _judge(*first, _shuffled(factors_nf, seed), seed, tick).values
        columns[_CHANCE] |= _independence(*_apart(*first, seed), seed)
        columns["best"] = {"SAP": largest_sap(factors_nf, seed=seed)}
        table = with_best(DISENTANGLEMENT, metric_table(DISENTANGLEMENT, columns))
        return _kept(adata, _keys.DISENTANGLEMENT, table, details, attributes)

    return Plan(_STEPS * (len(keys) + 1), compute)


def generator_disentanglement(
    generated: AnnData,
    real: AnnData,
    factors: str | Sequence[str],
    *,
    latent_key: str = _keys.LATENT,
    layer: str | None = None,
    n_neighbors: int = 3,
    seed: int = 0,
    enable_progress_bar: bool = True,
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
        Columns of ``real.obs``. Integers (unlike in :func:`disentanglement`) and floating-point columns are taken as
        numbers, as they are averaged over neighbours; all others are categories. Real cells without a label are no
        neighbours for that factor.
    latent_key
        Key of ``generated.obsm``.
    layer
        Layer of ``real`` with expression on the scale of the generated cells; ``X`` without it.
    n_neighbors
        Nearest real cells; the paper takes 3.
    seed
        Of the principal components and of draws.
    enable_progress_bar
        Whether to show how far it is.

    Returns
    -------
    Rows "Spearman gap" (NaN where no factor has an order) and "MIG, nearest neighbours". Columns: the latent; "chance",
    what it gets when the rows of the inferred factors are shuffled over the generated cells; and "best". A factor that
    comes out the same for all generated cells is related to none of their latents. ``attrs["factors"]`` says how each
    factor was taken, ``attrs["without_label"]`` how many real cells lack one, and ``attrs["left_out_of_spearman"]`` lists
    factors without an order.

    The inferred factors are also written to ``generated.obsm["michigan_inferred_factors"]``; table, attributes and both
    matrices to ``generated.uns["michigan_generator_disentanglement"]``; not to a view.

    Raises
    ------
    KeyError
        If a column, key or layer does not exist.
    ValueError
        If cells are unusable (see the message) or fewer than 5 on a side, latents have a single dimension or are not
        finite, or a factor has a single value or more categories than one for every two cells.

    Warns
    -----
    UserWarning
        If there are fewer than 50 cells on a side, sides are counts, more than a twentieth of the genes are zero in all
        cells, real cells lack a label, or fewer than two latents vary.

    Notes
    -----
    Generated cells far from all real ones get factors as well: look at :func:`realism` first.

    References
    ----------
    Yu and Welch 2021, "MichiGAN samples from disentangled representations".
    """
    plan = plan_generator_disentanglement(
        generated, real, factors, latent_key=latent_key, layer=layer, n_neighbors=n_neighbors, seed=seed
    )
    return computed({GENERATOR: plan}, enable_progress_bar=enable_progress_bar)[GENERATOR]


def plan_generator_disentanglement(
    generated: AnnData,
    real: AnnData,
    factors: str | Sequence[str],
    *,
    latent_key: str,
    layer: str | None,
    n_neighbors: int = 3,
    seed: int,
) -> Plan:
    """Check what :func:`generator_disentanglement` is given."""
    check_anndata(generated=generated, real=real)
    factors_nf = _columns(real, factors, "real")
    _check_keys([latent_key])
    mean_nk = _latent(generated, latent_key, "generated")
    real_cells = in_layer(real, layer, "real")
    generated_ng, real_ng = matrices({"generated": generated, "real": real_cells})
    equal_number(None, {"generated": Side(generated.n_obs), "real": Side(real.n_obs)}, beside=_CHANCE)
    as_inferred = {name: factor.astype(float) if is_number(factor) else factor for name, factor in factors_nf.items()}
    check_factors(factors_nf, factors_nf)
    attributes = _described(pd.DataFrame(as_inferred), "real")
    _remark_on_constants(mean_nk, latent_key, "generated")
    remark_on({"generated": generated_ng, "real": real_ng})

    def compute(tick: Callable[[], object]) -> pd.DataFrame:
        inferred = infer_factors(generated, real_cells, factors_nf, n_neighbors=n_neighbors, seed=seed)
        tick()
        ordered = [name for name in factors_nf if has_order(factors_nf[name])]
        values, details = _judge_inferred(mean_nk, inferred, ordered, seed)
        chance, _ = _judge_inferred(mean_nk, _shuffled(inferred, seed), ordered, seed)
        keep(generated, "obsm", _keys.INFERRED_FACTORS, inferred)
        table = with_best(GENERATOR, metric_table(GENERATOR, {latent_key: values, _CHANCE: chance}))
        return _kept(generated, _keys.GENERATOR_DISENTANGLEMENT, table, details, attributes)

    return Plan(1, compute)


def _judge_inferred(
    mean_nk: np.ndarray, inferred: pd.DataFrame, ordered: list[str], seed: int
) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    information = _of_varied(partial(mutual_information, estimator="knn", seed=seed), mean_nk, inferred)
    gaps, details = {_MIG["knn"]: mutual_information_gap(information)}, {"mutual_information": information}
    if ordered:
        details["spearman"] = _of_varied(spearman_correlation, mean_nk, inferred[ordered])
    gaps[_SPEARMAN] = spearman_gap(details["spearman"]) if ordered else np.nan
    return gaps, details


def _of_varied(
    relation: Callable[[np.ndarray, pd.DataFrame], pd.DataFrame], mean_nk: np.ndarray, factors_nf: pd.DataFrame
) -> pd.DataFrame:
    """Latents x factors; 0 for a factor that is the same in all cells."""
    varied = factors_nf.loc[:, factors_nf.nunique() > 1]
    if varied.empty:
        return latents_by_factors(np.zeros((mean_nk.shape[1], factors_nf.shape[1])), factors_nf)
    return relation(mean_nk, varied).reindex(columns=factors_nf.columns, fill_value=0.0)


def _columns(adata: AnnData, factors: str | Sequence[str], name: str) -> pd.DataFrame:
    names = [factors] if isinstance(factors, str) else list(factors)
    check_obs_keys(adata, names, name)
    factors_nf = adata.obs[names]
    for _, factor in factors_nf.items():  # of all cells: who is drawn must not decide what is refused
        if pd.api.types.is_float_dtype(factor):
            numbers(factor)
    return factors_nf


def _check_keys(keys: Sequence[str]) -> None:
    if not keys:
        raise ValueError("latent_key is empty: name one key of obsm or more")
    for key in keys:
        if key in (_CHANCE, "best"):
            raise ValueError(f"latent_key is {key!r}, a column of the table: store these latents under another key")


def _described(factors_nf: pd.DataFrame, name: str) -> dict[str, Any]:
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
    without_order = [factor for factor in factors_nf if not has_order(factors_nf[factor])]
    missing = without_label(factors_nf, name)
    return {"factors": taken, "without_label": missing, "left_out_of_spearman": without_order}


def _remark_on_constants(mean_nk: np.ndarray, key: str, name: str) -> None:
    moving = varies(mean_nk)
    if np.count_nonzero(moving) < 2:
        constant = ", ".join(f"latent {k + 1}" for k in np.flatnonzero(~moving))
        warn(
            f"{name}.obsm[{key!r}] has fewer than two latents that vary, so that nothing can be disentangled: {constant} "
            f"of {len(moving)} are the same in all cells; fit it again, with a smaller beta, or name another"
        )


def _shuffled(factors_nf: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same rows in another order, so that factors go together as before."""
    return factors_nf.iloc[np.random.default_rng(seed).permutation(len(factors_nf))].set_axis(factors_nf.index)


def _apart(mean_nk: np.ndarray, var_nk: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The posteriors of each latent in an order of their own, so that no latent goes with another."""
    order_nk = np.random.default_rng(seed).random(mean_nk.shape).argsort(axis=0)
    return tuple(None if a_nk is None else np.take_along_axis(a_nk, order_nk, axis=0) for a_nk in (mean_nk, var_nk))


def _independence(mean_nk: np.ndarray, var_nk: np.ndarray | None, seed: int) -> dict[str, float]:
    kind = "Gaussian" if var_nk is None else "aggregate posterior"
    return {f"total correlation, {kind}": or_nan(total_correlation, mean_nk, var_nk, seed=seed)}


def _latent(adata: AnnData, key: str, name: str) -> np.ndarray:
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


def _variance(adata: AnnData, key: str, var_key: str | None, name: str) -> np.ndarray | None:
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


class _Judged(NamedTuple):
    """All values of one latent, and the matrices of mutual information and Spearman correlation."""

    values: dict[str, float]
    information: pd.DataFrame
    correlation: pd.DataFrame | None


def _judge(
    mean_nk: np.ndarray, var_nk: np.ndarray | None, factors_nf: pd.DataFrame, seed: int, tick: Callable[[], object]
) -> _Judged:
    n_cells = len(mean_nk)
    information = mutual_information(mean_nk, factors_nf, var=var_nk, n_cells=n_cells, seed=seed)
    ordered = [name for name in factors_nf.columns if has_order(factors_nf[name])]
    correlation = spearman_correlation(mean_nk, factors_nf[ordered]) if ordered else None
    tick()
    values = {
        _MIG[information.attrs["estimator"]]: mutual_information_gap(information),
        _SPEARMAN: spearman_gap(correlation) if ordered else np.nan,
        "SAP": sap(mean_nk, factors_nf, n_cells=n_cells, seed=seed),
    }
    tick()
    several = factors_nf.shape[1] > 1
    values["FactorVAE metric"] = factor_vae_score(mean_nk, factors_nf, seed=seed) if several else np.nan
    values["beta-VAE metric"] = beta_vae_score(mean_nk, factors_nf, seed=seed) if several else np.nan
    tick()
    of_trees = dci(mean_nk, factors_nf, n_cells=n_cells, seed=seed) if several else None
    for name in ("disentanglement", "completeness", "informativeness"):
        values[f"DCI {name}"] = getattr(of_trees, name, np.nan)
    tick()
    return _Judged(values, information, correlation)


def _kept(
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
