"""Tables of disentanglement: of latents, and of a generator. Legend: n cells, g genes, k latents, f factors."""

from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData

from scmichigan import _keys
from scmichigan._cells import in_layer, keep, matrices
from scmichigan._checks import check_anndata, is_number

from . import _latents
from ._correlation import correlation_of
from ._factors import check_factors, sample_cells
from ._inference import infer_factors
from ._information import information_of
from ._latents import CHANCE, Keys, kept
from ._metric import DISENTANGLEMENT, GENERATOR, Latents
from ._remarks import remark_on
from ._tables import Plan, Side, Tick, computed, derived_key, equal_number, metric_table


def disentanglement(
    adata: AnnData,
    *,
    keys: Keys,
    latent_key: Keys = _keys.LATENT,
    latent_var_key: str | None = None,
    key_added: str = _keys.DISENTANGLEMENT,
    n_cells: int = 4000,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Table of all metrics that say how disentangled latents are: whether each of them stands for one known factor.

    Parameters
    ----------
    adata
        Cells with latents in ``obsm`` and factors in ``obs``, 5 or more.
    keys
        Columns of ``obs`` with the factors. Floating-point columns are taken as numbers, and cut at their quartiles
        where a metric needs categories. All others are categories, integers too (unlike in
        :func:`generator_disentanglement`). Cells without a label are left out for that factor.
    latent_key, latent_var_key
        One or more keys of ``obsm``, each with 2 latents or more; key of the posterior variances of a single one, by
        default that of the latent and ``"_var"``, as in ``X_michigan_var``, where there is one.
    n_cells
        Cells to use; of more, a random sample, the same for all latents. 4,000 cells with 10 latents and 4 factors take
        about 20 s on one core, most of it for DCI, and as long again for "chance".
    key_added, seed, enable_progress_bar
        Key of ``uns`` that the result is written to; others as in :func:`realism`.

    Returns
    -------
    One row a metric (:func:`registry` has ranges and sources), one column a latent, and two more. "chance" is what the
    first latent gets with shuffled factors (the total correlation: with each of its dimensions shuffled by itself).
    "best" is the best possible value; factors that go together keep all values below it. Mutual information and total
    correlation have rows of their own where there are no variances, as these values do not compare with those under the
    aggregate posterior. NaN: a metric that needs two factors, for one; the Spearman gap, where no factor has an order;
    the total correlation, where fewer than two latents vary.

    ``attrs["factors"]`` says how each factor was taken, ``attrs["without_label"]`` how many cells lack one,
    ``attrs["estimator"]`` how mutual information was estimated for each latent, and ``attrs["left_out_of_spearman"]``
    lists factors without an order. Table and attributes are also written to ``adata.uns[key_added]``, with the
    normalised mutual information and the absolute Spearman correlation of each latent with each factor; not to a view,
    which would be copied.

    Raises
    ------
    KeyError, ValueError
        If a column or key does not exist, or latents, variances or factors are unusable (see
        :func:`mutual_information` and :func:`dci`).

    Warns
    -----
    UserWarning
        If there are fewer than 50 cells, some lack a label, fewer than two latents vary, or an integer factor has so
        many values that it is hardly one of categories.

    Examples
    --------
    >>> mg.metrics.disentanglement(adata, keys=["cell_type", "condition"], latent_key=["X_michigan", "X_pca"])
    """
    asked = {"keys": keys, "latent_key": latent_key, "var_key": latent_var_key, "key": key_added}
    plan = plan_disentanglement(adata, "adata", **asked, n_cells=n_cells, seed=seed)
    return computed({DISENTANGLEMENT: plan}, enable_progress_bar=enable_progress_bar)[DISENTANGLEMENT]


def plan_disentanglement(
    adata: AnnData, name: str, *, keys: Keys, latent_key: Keys, var_key: str | None, key: str, n_cells: int, seed: int
) -> Plan:
    """Check what :func:`disentanglement` is given; ``name`` is that of the cells to whoever calls."""
    check_anndata(**{name: adata})
    factors_nf = _latents.factors_in(adata, keys, name)
    latent_keys = [latent_key] if isinstance(latent_key, str) else list(latent_key)
    if var_key is not None and len(latent_keys) != 1:
        raise ValueError(
            f"latent_var_key is given for {len(latent_keys)} latents: store the variances of each as key + '_var'"
        )
    _latents.check_latent_keys(latent_keys)
    latents = {
        each: (_latents.latent_in(adata, each, name), _latents.variance_in(adata, each, var_key, name))
        for each in latent_keys
    }
    equal_number(n_cells, {name: Side(adata.n_obs)}, beside=CHANCE)
    cells = sample_cells(adata.n_obs, n_cells, seed)
    factors_nf = factors_nf.iloc[cells]
    attributes = _latents.described(factors_nf, name)
    shared = {"factors_nf": factors_nf, "ordered": _latents.ordered_in(factors_nf), "n_cells": len(cells), "seed": seed}
    columns = {}
    for each, (mean_nk, var_nk) in latents.items():
        _latents.remark_on_constants(mean_nk[cells], each, name)
        columns[each] = Latents(mean_nk=mean_nk[cells], var_nk=None if var_nk is None else var_nk[cells], **shared)
    first = columns[latent_keys[0]]
    apart = _shuffled_apart(first.mean_nk, first.var_nk, seed)
    chance = replace(first, factors_nf=_latents.shuffled(factors_nf, seed), independence_of=apart)

    def compute(tick: Tick) -> pd.DataFrame:
        table = metric_table(DISENTANGLEMENT, columns | {CHANCE: chance}, tick)
        information = {each: information_of(column) for each, column in columns.items()}
        details = {
            "mutual_information": information,
            "spearman": {each: correlation_of(column) for each, column in columns.items() if column.ordered},
            "estimator": {each: table_kf.attrs["estimator"] for each, table_kf in information.items()},
        }
        return kept(adata, key, table, details, attributes)

    return Plan(len(columns) + 1, compute)


def generator_disentanglement(
    real: AnnData,
    generated: AnnData,
    *,
    keys: Keys,
    latent_key: str = _keys.LATENT,
    layer: str | None = None,
    n_neighbors: int = 3,
    key_added: str = _keys.GENERATOR_DISENTANGLEMENT,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Table of metrics that say whether each latent of a generator changes one factor of the generated cells.

    Generated cells have no known factors. Theirs are inferred from the nearest real cells (:func:`infer_factors`), and
    compared with the latents that the cells were made from (Yu and Welch 2021). Generated cells that are far from all
    real ones get factors too: look at :func:`realism` first.

    Parameters
    ----------
    real, generated
        Real cells with the factors in ``obs``; generated ones with the latents that they were made from in
        ``obsm[latent_key]``, and expression in ``X``.
    keys
        Columns of ``real.obs`` with the factors. Integers (unlike in :func:`disentanglement`) and floating-point
        columns are taken as numbers, all others are categories. Real cells without a label are no neighbours for that
        factor.
    latent_key, key_added
        Keys of ``generated.obsm``, and of ``generated.uns`` that the result is written to.
    n_neighbors, layer, seed, enable_progress_bar
        As in :func:`infer_factors` and :func:`realism`.

    Returns
    -------
    Rows "Spearman gap" and "MIG, nearest neighbours"; columns as in :func:`disentanglement`. A factor that is inferred
    to be the same for all generated cells is related to none of their latents. Attributes, errors and warnings are as
    there, and of cells as in :func:`realism`. The same is written to ``generated.uns[key_added]``, and the inferred
    factors to ``generated.obsm["michigan_inferred_factors"]`` (of another ``key_added``: that key and
    ``"_inferred_factors"``; the name is in ``uns``).
    """
    asked = {"keys": keys, "latent_key": latent_key, "layer": layer, "key": key_added}
    plan = plan_generator_disentanglement(real, generated, **asked, n_neighbors=n_neighbors, seed=seed)
    return computed({GENERATOR: plan}, enable_progress_bar=enable_progress_bar)[GENERATOR]


def plan_generator_disentanglement(
    real: AnnData,
    generated: AnnData,
    *,
    keys: Keys,
    latent_key: str,
    layer: str | None,
    key: str,
    seed: int,
    **how: int,
) -> Plan:
    """Check what :func:`generator_disentanglement` is given."""
    check_anndata(generated=generated, real=real)
    factors_nf = _latents.factors_in(real, keys, "real")
    _latents.check_latent_keys([latent_key])
    mean_nk = _latents.latent_in(generated, latent_key, "generated")
    real_cells = in_layer(real, layer, "real")
    generated_ng, real_ng = matrices({"generated": generated, "real": real_cells})
    equal_number(None, {"generated": Side(generated.n_obs), "real": Side(real.n_obs)}, beside=CHANCE)
    as_inferred = {name: factor.astype(float) if is_number(factor) else factor for name, factor in factors_nf.items()}
    check_factors(factors_nf, factors_nf)
    attributes = _latents.described(pd.DataFrame(as_inferred), "real")
    _latents.remark_on_constants(mean_nk, latent_key, "generated")
    remark_on({"generated": generated_ng, "real": real_ng})

    def compute(tick: Tick) -> pd.DataFrame:
        inferred_nf = infer_factors(real_cells, generated, factors=factors_nf, seed=seed, **how)
        ordered = _latents.ordered_in(factors_nf)
        column = Latents(mean_nk=mean_nk, factors_nf=inferred_nf, ordered=ordered, seed=seed)
        chance = replace(column, factors_nf=_latents.shuffled(inferred_nf, seed))
        table = metric_table(GENERATOR, {latent_key: column, CHANCE: chance}, tick)
        inferred_key = derived_key(key, _keys.GENERATOR_DISENTANGLEMENT, "inferred_factors")
        keep(generated, "obsm", inferred_key, inferred_nf)
        details = {"inferred_factors_key": inferred_key, "mutual_information": information_of(column)}
        if column.ordered:
            details["spearman"] = correlation_of(column)
        return kept(generated, key, table, details, attributes)

    return Plan(2, compute)


def _shuffled_apart(mean_nk: np.ndarray, var_nk: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The posteriors of each latent in an order of their own, so that no latent goes with another."""
    order_nk = np.random.default_rng(seed).random(mean_nk.shape).argsort(axis=0)
    return tuple(None if a_nk is None else np.take_along_axis(a_nk, order_nk, axis=0) for a_nk in (mean_nk, var_nk))
