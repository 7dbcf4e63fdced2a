"""One table of all that can be judged.

Legend: n cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from scmichigan import _keys
from scmichigan._cells import Cells, in_layer, matrices
from scmichigan._checks import check_anndata, check_obs_keys, counted, obsm_matrix

from ._disentanglement_table import plan_disentanglement, plan_generator_disentanglement
from ._entropy import delta_entropy
from ._factors import checked_mean, checked_var
from ._modalities_table import one_below_another
from ._prediction import split_half
from ._prediction_table import plan_prediction
from ._realism_table import plans_of_realism
from ._registry import ARITHMETIC, DISENTANGLEMENT, GENERATOR, PREDICTION
from ._remarks import TARGET, remark_on_copies
from ._tables import Plan, computed, metric_table, warn, with_best, without_label

_JUDGED = "model"


def summary(
    real: AnnData | MuData,
    generated: AnnData | MuData | None = None,
    predicted: AnnData | None = None,
    *,
    factors: str | Sequence[str] | None = None,
    latent_key: str = _keys.LATENT,
    target: Cells | None = None,
    control: Mapping[str, str] | None = None,
    labels_key: str | None = None,
    held_out: AnnData | MuData | None = None,
    layer: str | None = None,
    n_cells: int = 2000,
    n_trees: int = 200,
    seed: int = 0,
    n_jobs: int | None = None,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Judge a model by all that is at hand, in one table.

    Parameters
    ----------
    real
        Cells that the model was trained on. Of MuData, generated cells are judged, see :func:`realism`; give one of its
        modalities, with latents in its own obsm, for the rest.
    generated
        Cells from ``model.generate``, for :func:`realism`.
    predicted
        Cells from ``model.predict_combination``, for :func:`prediction`; ``target`` and ``control`` are needed, too. Where
        ``real`` has cells of the same context under other labels than both, they are the other targets of
        :func:`discrimination_rank`.
    factors
        Columns of ``real.obs``, for :func:`disentanglement`, and for :func:`generator_disentanglement` where there are
        generated cells.
    latent_key
        Key of ``real.obsm`` with the latents that are judged.
    target
        Real cells of the predicted combination, hidden from every fit. With their latents in ``obsm[latent_key]``, those
        of ``real`` with variances, and the predicted ones where the model left them, there is a :func:`delta_entropy`,
        too.
    control
        The untreated label and its column, such as ``{"condition": "control"}``. Control cells and other contexts are
        then found in ``real`` by the labels of the prediction.
    labels_key
        Column of ``obs`` with cell types, for the inception score.
    held_out
        Real cells like those of ``real`` that no fit has seen, for :func:`realism`.
    layer
        Layer of the real cells with expression on the scale of the generated ones; ``X`` without it.
    n_cells, n_trees
        Cells of each side at most, and trees of each random forest but that of the inception score.
    seed
        Of all draws.
    n_jobs
        Processes that grow trees, as in scikit-learn.
    enable_progress_bar
        Whether to show how far it is.

    Returns
    -------
    One row for each question and metric (:func:`registry` has ranges and sources). Columns: "model", the latent, the
    generated or the predicted cells; "chance", what the latent gets beside shuffled factors (the total correlation: with
    its dimensions shuffled apart); "no change", "additive" and "additive, weighted", what a prediction has to beat; "real
    cells", the best there can be with so many cells; and "best". NaN where a column does not apply. ``attrs`` holds the
    attributes of each table under its question.
    Components for the prediction are those of control and contexts, or of ``real`` where there is no other context.

    What the single functions write, this writes too.

    Raises
    ------
    KeyError
        If a column, key or layer does not exist.
    ValueError
        If there is nothing to judge, a prediction lacks its target or control, or cells are unusable: see the single
        functions. All is checked before anything is computed.

    Warns
    -----
    UserWarning
        As the single functions, and where cells of ``real`` lack a label that was predicted, or are the target itself, by
        their labels or number for number.

    Examples
    --------
    >>> adata.layers["lognorm"] = model.get_normalized_expression()
    >>> mg.metrics.summary(
    ...     adata,
    ...     model.generate(2000),
    ...     model.predict_combination({"cell_type": "B cells", "condition": "stim"}),
    ...     factors=["cell_type", "condition"],
    ...     target=model.get_normalized_expression(hidden),
    ...     control={"condition": "ctrl"},
    ...     layer="lognorm",
    ... )
    """
    if isinstance(real, MuData):
        _refuse_on_mudata(factors=factors, predicted=predicted)
    else:
        check_anndata(real=real)
    if generated is None and predicted is None and factors is None:
        raise ValueError(
            "there is nothing to judge: give factors, generated cells, or predicted ones with their target"
        )
    _check(real, generated, predicted, target, held_out=held_out, labels_key=labels_key, layer=layer)
    cost = {"n_cells": n_cells, "n_trees": n_trees, "seed": seed, "n_jobs": n_jobs}
    plans = {}
    if factors is not None:
        plans[DISENTANGLEMENT] = plan_disentanglement(
            real, factors, latent_key, n_cells=n_cells, seed=seed, name="real"
        )
        if generated is not None:
            plans[GENERATOR] = plan_generator_disentanglement(
                generated, real, factors, latent_key=_keys.LATENT, layer=layer, seed=seed
            )
    if generated is not None:
        plans |= plans_of_realism(real, generated, held_out=held_out, labels_key=labels_key, layer=layer, **cost)
    if predicted is not None:
        labels = _predicted_labels(predicted, target, control)
        sides = _prediction_sides(real, target, labels, control, layer)
        plans[PREDICTION] = plan_prediction(predicted, **sides, name_of_real="target", **cost)
        if (plan := _plan_arithmetic(real, predicted, target, labels, latent_key, seed)) is not None:
            plans[ARITHMETIC] = plan
    tables = computed(plans, enable_progress_bar=enable_progress_bar)
    names = dict.fromkeys((latent_key, _keys.LATENT, "generated", "predicted"), _JUDGED)
    whole = one_below_another({name: with_best(name, table.rename(columns=names)) for name, table in tables.items()})
    order = [name for name in whole.columns if name not in ("real cells", "best")]
    return whole[[*order, *(name for name in ("real cells", "best") if name in whole)]]


def _refuse_on_mudata(**given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name} is given with MuData, of which generated cells are judged: give one modality as real, such as "
                "real['rna'], with the latents in its obsm"
            )


def _check(
    real: AnnData,
    generated: AnnData | None,
    predicted: AnnData | None,
    target: Cells | None,
    *,
    held_out: AnnData | None,
    labels_key: str | None,
    layer: str | None,
) -> None:
    """Refuse what a later table would, before the first one is made."""
    if isinstance(real, MuData):
        return  # realism alone has nothing before it
    real_cells = {"real": real, "target": target, "held_out": held_out}
    sides = {name: in_layer(cells, layer, name) for name, cells in real_cells.items() if cells is not None}
    made = {"generated": generated, "predicted": predicted}
    made = {name: cells for name, cells in made.items() if cells is not None}
    check_anndata(**made)
    if made:
        matrices(sides | made)
        check_obs_keys(real if held_out is None else held_out, [labels_key], "real" if held_out is None else "held_out")


def _predicted_labels(predicted: AnnData, target: Cells | None, control: Mapping[str, str] | None) -> dict[str, str]:
    if target is None or control is None:
        raise ValueError("predicted is given without target or control: give both, or call prediction with cells")
    provenance = predicted.uns.get(_keys.PROVENANCE, {})
    labels = provenance.get("target") if isinstance(provenance, Mapping) else None
    if not isinstance(labels, Mapping):
        held = f"has the target {labels!r}, which is no dict of labels"
        if labels is None:
            held = "names no target" if isinstance(provenance, Mapping) else f"is {provenance!r} and names no target"
        raise ValueError(
            f"predicted.uns[{_keys.PROVENANCE!r}] {held}: give cells from predict_combination, or call prediction with "
            "cells"
        )
    if not isinstance(control, Mapping) or len(control) != 1 or not set(control) <= set(labels):
        raise ValueError(
            f"control is {control!r}: give one of the columns {list(labels)} with its untreated label, as {{column: label}}"
        )
    return labels


def _prediction_sides(
    real: AnnData, target: Cells, labels: Mapping[str, str], control: Mapping[str, str], layer: str | None
) -> dict[str, Any]:
    """Arguments of :func:`plan_prediction`, from the labels that were predicted."""
    check_obs_keys(real, labels, "real")
    ((key, untreated),) = control.items()
    if labels[key] == untreated:
        raise ValueError(f"control is the target's own label {untreated!r}: give that of untreated cells")
    without_label(real.obs[list(labels)], "real")
    kept = real.obs[list(labels)].notna().all(axis=1).to_numpy()
    obs = real.obs.loc[:, list(labels)].astype(str)
    cells = in_layer(real, layer, "real")

    def under(context: Mapping[str, str], label: str) -> AnnData:
        return cells[kept & (obs[[*context, key]] == [*context.values(), label]).all(axis=1).to_numpy()]

    own = {name: label for name, label in labels.items() if name != key}
    untreated_cells = under(own, untreated)
    if untreated_cells.n_obs == 0:
        raise ValueError(f"no cell of real is {own | {key: untreated}}: {_why_none(obs[kept], own, control)}")
    _remark_on_seen(cells, in_layer(target, layer, "target"), under(own, labels[key]).n_obs, labels)
    known = obs.loc[kept, list(own)].drop_duplicates().to_dict("records")
    pairs = [(under(context, untreated), under(context, labels[key])) for context in known if context != own]
    contexts = [pair for pair in pairs if min(part.n_obs for part in pair)]
    others = [label for label in obs.loc[kept, key].unique() if label not in (untreated, labels[key])]
    targets = {label: under(own, label) for label in others}
    return {
        "real": in_layer(target, layer, "target"),
        "control": untreated_cells,
        "contexts": contexts,
        "targets": {label: rivals for label, rivals in targets.items() if rivals.n_obs},
        **({} if contexts else {"basis": cells, "fitted_on": "real"}),
    }


def _why_none(obs: pd.DataFrame, own: Mapping[str, str], control: Mapping[str, str]) -> str:
    """Say which label of control cells is missing, and give the cure for that one."""
    ((key, untreated),) = control.items()
    if untreated not in set(obs[key]):
        return f"give control another label, as obs[{key!r}] has {sorted(obs[key].unique())}"
    for name, label in own.items():
        if label not in set(obs[name]):
            return f"obs[{name!r}] has no {label!r}, which was predicted; give the cells that the model was trained on"
    return "these labels are there, but not together; call prediction with cells to compare with"


def _remark_on_seen(real: Cells, target: Cells, n_labelled: int, labels: Mapping[str, str]) -> None:
    if n_labelled:
        warn(f"{counted(n_labelled, 'cell')} of real {'is' if n_labelled == 1 else 'are'} {dict(labels)}, {TARGET}")
        return
    sides = dict(zip(("target", "real"), matrices({"target": target, "real": real}), strict=True))
    remark_on_copies(sides, {("target", "real"): TARGET})


def _plan_arithmetic(
    real: AnnData, predicted: AnnData, target: Cells, labels: Mapping[str, str], latent_key: str, seed: int
) -> Plan | None:
    """Plan a delta entropy, of posterior means on both sides, where all that it takes has been stored."""
    var_key = f"{latent_key}_var"
    is_stored = (
        predicted.uns[_keys.PROVENANCE].get("latent") == latent_key
        and {_keys.PREDICTED_LATENT, latent_key, var_key} <= set(real.obsm)
        and dict(real.uns.get(_keys.PREDICTED_LATENT, {}).get("target", {})) == dict(labels)
        and isinstance(target, AnnData)
        and latent_key in target.obsm
    )
    if not is_stored:
        return None
    mean_nk, var_nk, predicted_nk = (
        obsm_matrix(real, key, "store it", "real") for key in (latent_key, var_key, _keys.PREDICTED_LATENT)
    )
    predicted_mk = predicted_nk[np.isfinite(predicted_nk).all(axis=1)]  # other cells are no source of it
    target_mk = obsm_matrix(target, latent_key, "store it", "target")
    if target_mk.shape[1:] != mean_nk.shape[1:] or not np.isfinite(target_mk).all():
        raise ValueError(
            f"target.obsm[{latent_key!r}] has shape {target_mk.shape}, real.obsm[{latent_key!r}] {mean_nk.shape}: give "
            "finite latents of one width, model.get_latent_representation of either"
        )
    checked_var(var_nk, checked_mean(mean_nk))

    def compute(tick: Callable[[], object]) -> pd.DataFrame:
        halves = split_half(target_mk, seed=seed)
        values = {
            _JUDGED: {"delta entropy": delta_entropy(predicted_mk, target_mk, mean_nk, var_nk)},
            "real cells": {"delta entropy": delta_entropy(*halves, mean_nk, var_nk)},
        }
        tick()
        return with_best(ARITHMETIC, metric_table(ARITHMETIC, values))

    return Plan(1, compute)
