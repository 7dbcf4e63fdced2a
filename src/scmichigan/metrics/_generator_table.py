"""Table of disentanglement of a generator.

Legend: n cells, g genes, k latents, f factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from anndata import AnnData

from scmichigan import _keys
from scmichigan._cells import in_layer, keep, matrices
from scmichigan._checks import check_anndata, is_number

from ._correlation import correlation_of
from ._factors import check_factors
from ._inference import infer_factors
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
)
from ._metric import GENERATOR, Latents
from ._remarks import remark_on
from ._tables import Plan, Side, Tick, computed, derived_key, equal_number, metric_table, n_values

_MAX_CELLS = 12_000  # as mutual_information has it


def generator_disentanglement(
    real: AnnData,
    generated: AnnData,
    *,
    keys: str | Sequence[str],
    latent_key: str = _keys.LATENT,
    layer: str | None = None,
    n_neighbors: int = 3,
    key_added: str = _keys.GENERATOR_DISENTANGLEMENT,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Table of metrics that say whether generated cells show their latents: whether each latent changes one factor of them.

    Generated cells have no known factors. Theirs are inferred from the nearest real cells (:func:`infer_factors`), and
    compared with the latents that the cells were made from.

    Parameters
    ----------
    real
        Real cells with the factors in ``obs``.
    generated
        Cells with the latents that they were made from in ``obsm``; expression in ``X``.
    keys
        Columns of ``real.obs`` with the factors. Integers (unlike in :func:`disentanglement`) and floating-point columns
        are taken as numbers, and averaged over neighbours. All others are categories. Real cells without a label are no
        neighbours for that factor.
    latent_key
        Key of ``generated.obsm``.
    layer
        Layer of ``real`` with expression on the scale of the generated cells; None for ``X``.
    n_neighbors
        Nearest real cells; the paper takes 3.
    key_added
        Key of ``generated.uns`` that the result is written to.
    seed, enable_progress_bar
        As in :func:`disentanglement`.

    Returns
    -------
    Rows "Spearman gap" (NaN where no factor has an order) and "MIG, nearest neighbours". Columns: the latent; "chance",
    what it gets with shuffled inferred factors; and "best". A factor that is inferred to be the same for all generated
    cells is related to none of their latents. ``attrs`` are those of :func:`disentanglement`, but for the estimator; labels
    are those of real cells.

    Table, attributes, mutual information and Spearman correlations are also written to ``generated.uns[key_added]``, and
    the inferred factors to ``generated.obsm["michigan_inferred_factors"]`` (of another ``key_added``: that key and
    ``"_inferred_factors"``; ``uns`` has the name). Nothing is written to a view.

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
    Generated cells that are far from all real ones get factors too: look at :func:`realism` first.

    References
    ----------
    Yu and Welch 2021, "MichiGAN samples from disentangled representations".

    Examples
    --------
    >>> mg.metrics.generator_disentanglement(adata, generated, keys=["cell_type", "condition"], layer="lognorm")
    """
    plan = plan_generator_disentanglement(
        real,
        generated,
        keys=keys,
        latent_key=latent_key,
        key_added=key_added,
        layer=layer,
        n_neighbors=n_neighbors,
        seed=seed,
    )
    return computed({GENERATOR: plan}, enable_progress_bar=enable_progress_bar)[GENERATOR]


def plan_generator_disentanglement(
    real: AnnData,
    generated: AnnData,
    *,
    keys: str | Sequence[str],
    latent_key: str,
    key_added: str,
    layer: str | None,
    n_neighbors: int = 3,
    seed: int,
) -> Plan:
    """Check what :func:`generator_disentanglement` is given."""
    check_anndata(generated=generated, real=real)
    factors_nf = factors_in(real, keys, "real")
    check_latent_keys([latent_key])
    mean_nk = latent_in(generated, latent_key, "generated")
    real_cells = in_layer(real, layer, "real")
    generated_ng, real_ng = matrices({"generated": generated, "real": real_cells})
    equal_number(None, {"generated": Side(generated.n_obs), "real": Side(real.n_obs)}, beside=CHANCE)
    as_inferred = {name: factor.astype(float) if is_number(factor) else factor for name, factor in factors_nf.items()}
    check_factors(factors_nf, factors_nf)
    attributes = described(pd.DataFrame(as_inferred), "real")
    remark_on_constants(mean_nk, latent_key, "generated")
    remark_on({"generated": generated_ng, "real": real_ng})

    def compute(tick: Tick) -> pd.DataFrame:
        inferred_nf = infer_factors(real_cells, generated, factors=factors_nf, n_neighbors=n_neighbors, seed=seed)
        column = Latents(
            mean_nk=mean_nk,
            var_nk=None,
            factors_nf=inferred_nf,
            ordered=ordered_in(factors_nf),
            n_cells=_MAX_CELLS,
            seed=seed,
        )
        chance = replace(column, factors_nf=shuffled(inferred_nf, seed))
        table = metric_table(GENERATOR, {latent_key: column, CHANCE: chance}, tick)
        inferred_key = derived_key(key_added, _keys.GENERATOR_DISENTANGLEMENT, "inferred_factors")
        keep(generated, "obsm", inferred_key, inferred_nf)
        details = {"inferred_factors_key": inferred_key, "mutual_information": information_of(column)}
        if column.ordered:
            details["spearman"] = correlation_of(column)
        return kept(generated, key_added, table, details, attributes)

    return Plan(n_values(GENERATOR, 2), compute)
