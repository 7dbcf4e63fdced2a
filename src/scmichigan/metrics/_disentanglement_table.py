"""Table of disentanglement of latents.

Legend: n cells, k latents, f factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData

from scmichigan import _keys
from scmichigan._checks import check_anndata

from ._correlation import correlation_of
from ._factors import sample_cells
from ._information import information_of
from ._latents import (
    CHANCE,
    check_latent_keys,
    described,
    factors_in,
    kept,
    latent_in,
    ordered_in,
    remark_on_constants,
    shuffled,
    variance_in,
)
from ._metric import DISENTANGLEMENT, Latents
from ._tables import Plan, Side, Tick, computed, equal_number, metric_table, n_values


def disentanglement(
    adata: AnnData,
    *,
    keys: str | Sequence[str],
    latent_key: str | Sequence[str] = _keys.LATENT,
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
        Cells with latents in ``obsm`` and factors in ``obs``.
    keys
        Columns of ``obs`` with the factors. Floating-point columns are taken as numbers, and cut at their quartiles where
        a metric needs categories. All others are categories, integers too (unlike in :func:`generator_disentanglement`).
        Cells without a label are left out for that factor.
    latent_key
        One or more keys of ``obsm``, each with 2 latents or more.
    latent_var_key
        Key of ``obsm`` with the posterior variances, for a single latent. By default the key of the latent and
        ``"_var"``, as in ``X_michigan_var``, where there is one.
    key_added
        Key of ``uns`` that the result is written to.
    n_cells
        Cells to use; of more, a random sample, the same for all latents. 4,000 cells with 10 latents and 4 factors take
        about 20 s on one core, most of it for DCI, and as long again for "chance".
    seed
        Random seed.
    enable_progress_bar
        Whether to show a progress bar.

    Returns
    -------
    One row a metric (:func:`registry` has ranges and sources), one column a latent, and two more. "chance" is what the
    first latent gets with shuffled factors, of which it knows nothing (the total correlation: with each of its dimensions
    shuffled by itself, so that all are independent). "best" is the best possible value.

    Mutual information and total correlation use the aggregate posterior where there are variances. Where there are none,
    they are in rows of their own, as these values do not compare. NaN: a metric that needs two factors, for one factor;
    the Spearman gap, where no factor has an order; the total correlation, where fewer than two latents vary.

    ``attrs["factors"]`` says how each factor was taken, ``attrs["without_label"]`` how many cells lack one,
    ``attrs["estimator"]`` how mutual information was estimated for each latent, and ``attrs["left_out_of_spearman"]`` lists
    factors without an order.

    Table and attributes are also written to ``adata.uns[key_added]``, with the normalised mutual information and the
    absolute Spearman correlation of each latent with each factor. Nothing is written to a view, which would be copied.

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
        If there are fewer than 50 cells, some lack a label, fewer than two latents vary, or an integer factor has so many
        values that it is hardly one of categories.

    Notes
    -----
    Factors that go together in the cells keep all values below 1, whatever the latent. How far below is not known, but
    for SAP, where "best" is what the factors get as their own latents. The metrics see only the factors that are given.

    Narrow posteriors in few cells raise the total correlation under the aggregate posterior by several nats, also of
    independent latents (see :func:`total_correlation`): compare it between latents, and with "chance" rather than 0.

    Examples
    --------
    >>> mg.metrics.disentanglement(adata, keys=["cell_type", "condition"], latent_key=["X_michigan", "X_pca"])
    """
    plan = plan_disentanglement(
        adata,
        keys=keys,
        latent_key=latent_key,
        latent_var_key=latent_var_key,
        key_added=key_added,
        n_cells=n_cells,
        seed=seed,
    )
    return computed({DISENTANGLEMENT: plan}, enable_progress_bar=enable_progress_bar)[DISENTANGLEMENT]


def plan_disentanglement(
    adata: AnnData,
    *,
    keys: str | Sequence[str],
    latent_key: str | Sequence[str],
    latent_var_key: str | None = None,
    key_added: str,
    n_cells: int,
    seed: int,
    name: str = "adata",
) -> Plan:
    """Check what :func:`disentanglement` is given; ``name`` is that of the cells to whoever calls."""
    check_anndata(**{name: adata})
    factors_nf = factors_in(adata, keys, name)
    latent_keys = [latent_key] if isinstance(latent_key, str) else list(latent_key)
    if latent_var_key is not None and len(latent_keys) != 1:
        raise ValueError(
            f"latent_var_key is given for {len(latent_keys)} latents: store the variances of each as key + '_var'"
        )
    check_latent_keys(latent_keys)
    latents = {key: (latent_in(adata, key, name), variance_in(adata, key, latent_var_key, name)) for key in latent_keys}
    equal_number(n_cells, {name: Side(adata.n_obs)}, beside=CHANCE)
    cells = sample_cells(adata.n_obs, n_cells, seed)
    factors_nf = factors_nf.iloc[cells]
    attributes = described(factors_nf, name)
    columns = {
        key: Latents(
            mean_nk=mean_nk[cells],
            var_nk=None if var_nk is None else var_nk[cells],
            factors_nf=factors_nf,
            ordered=ordered_in(factors_nf),
            n_cells=len(cells),
            seed=seed,
        )
        for key, (mean_nk, var_nk) in latents.items()
    }
    for key, column in columns.items():
        remark_on_constants(column.mean_nk, key, name)
    first = columns[latent_keys[0]]
    chance = replace(
        first,
        factors_nf=shuffled(factors_nf, seed),
        independence_of=_shuffled_apart(first.mean_nk, first.var_nk, seed),
    )

    def compute(tick: Tick) -> pd.DataFrame:
        table = metric_table(DISENTANGLEMENT, columns | {CHANCE: chance}, tick)
        information = {key: information_of(column) for key, column in columns.items()}
        details = {
            "mutual_information": information,
            "spearman": {key: correlation_of(column) for key, column in columns.items() if column.ordered},
            "estimator": {key: table_kf.attrs["estimator"] for key, table_kf in information.items()},
        }
        return kept(adata, key_added, table, details, attributes)

    return Plan(n_values(DISENTANGLEMENT, len(columns) + 1), compute)


def _shuffled_apart(mean_nk: np.ndarray, var_nk: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The posteriors of each latent in an order of their own, so that no latent goes with another."""
    order_nk = np.random.default_rng(seed).random(mean_nk.shape).argsort(axis=0)
    return tuple(None if a_nk is None else np.take_along_axis(a_nk, order_nk, axis=0) for a_nk in (mean_nk, var_nk))
