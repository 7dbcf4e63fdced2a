"""One table of all that can be judged. Legend: n cells."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from scmichigan import _keys
from scmichigan._cells import Cells, in_layer, matrices
from scmichigan._checks import check_anndata, check_obs_keys, counted, obsm_matrix, warn

from ._disentanglement_table import plan_disentanglement, plan_generator_disentanglement
from ._factors import checked_mean, checked_var
from ._metric import ARITHMETIC, DISENTANGLEMENT, GENERATOR, PREDICTION, Cost, PredictedLatents
from ._prediction import split_half
from ._prediction_table import plan_prediction
from ._realism_table import plans_of_realism
from ._remarks import HIDDEN, remark_on_copies
from ._tables import Plan, computed, metric_table, one_below_another, without_label

_JUDGED = "model"


def summary(
    real: AnnData | MuData,
    generated: AnnData | MuData | None = None,
    predicted: AnnData | None = None,
    *,
    keys: str | Sequence[str] | None = None,
    latent_key: str = _keys.LATENT,
    hidden: Cells | None = None,
    control_labels: Mapping[str, str] | None = None,
    labels_key: str | None = None,
    held_out: AnnData | MuData | None = None,
    layer: str | None = None,
    key_added: str = "michigan",
    n_cells: int = 2000,
    n_trees: int = 200,
    seed: int = 0,
    n_jobs: int | None = None,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Table of all metrics of a model: of its latent, generated cells and prediction, as far as these are given.

    Parameters
    ----------
    real
        Cells that the model was trained on. Of MuData, generated cells are judged, see :func:`realism`; give one of its
        modalities, with latents in its own obsm, for the rest.
    generated, predicted
        Cells from ``model.generate``, for :func:`realism`, and from ``model.predict_combination``, for
        :func:`prediction`; ``hidden`` and ``control_labels`` are needed too. Cells of ``real`` with the same context
        and other labels than both are the other targets of :func:`discrimination_rank`.
    keys, latent_key
        Columns of ``real.obs`` with factors, and key of ``real.obsm`` with latents, for :func:`disentanglement`, and
        for :func:`generator_disentanglement` where there are generated cells.
    hidden
        Real cells of the predicted combination, hidden from every fit. There is a :func:`delta_entropy` too, if latents
        are stored: those of ``hidden`` in ``obsm[latent_key]``, those of ``real`` with variances, and the predicted
        ones where the model left them.
    control_labels
        The untreated label and its column, such as ``{"condition": "control"}``. Control cells and other contexts are
        then found in ``real`` by the labels of the prediction.
    labels_key, held_out, layer, key_added, n_cells, n_trees, seed, n_jobs, enable_progress_bar
        As in :func:`realism`, but ``key_added`` is the first part of all keys, as in ``"michigan_realism"``.

    Returns
    -------
    One row for each question and metric (:func:`registry` has ranges and sources). Columns: "model", the latent, the
    generated or the predicted cells; "chance", see :func:`disentanglement`; "no change", "additive" and "additive,
    weighted", simple predictions; "real cells", the best possible value with so many cells; and "best". NaN where a
    column does not apply. ``attrs`` holds the attributes of each table under its question. Components for the
    prediction are those of control and contexts, or of ``real`` where there is no other context.

    Errors and warnings are those of the single functions, and all is checked before anything is computed. Also warns
    where cells of ``real`` lack a label that was predicted, or are the hidden ones, by their labels or number for
    number.

    Examples
    --------
    >>> adata.layers["lognorm"] = model.get_observed_expression()
    >>> predicted = model.predict_combination({"cell_type": "B cells", "condition": "stim"})
    >>> sides = {"hidden": model.get_observed_expression(hidden), "control_labels": {"condition": "ctrl"}}
    >>> mg.metrics.summary(adata, model.generate(2000), predicted, keys="cell_type", **sides, layer="lognorm")
    """
    for name, value in {"keys": keys, "predicted": predicted}.items():
        if isinstance(real, MuData) and value is not None:
            raise ValueError(
                f"{name} is given with MuData, of which generated cells are judged: give one modality as real, such as "
                "real['rna'], with the latents in its obsm"
            )
    if generated is None and predicted is None and keys is None:
        raise ValueError(
            "there is nothing to judge: give keys, generated cells, or predicted ones with their hidden cells"
        )
    if not isinstance(real, MuData):  # of which realism alone is judged
        sides = {"real": real, "hidden": hidden, "held_out": held_out, "generated": generated, "predicted": predicted}
        _check({name: cells for name, cells in sides.items() if cells is not None}, labels_key, layer)
    cost = Cost(n_cells, n_trees, seed, n_jobs)
    added = lambda default: default.replace("michigan", key_added, 1)
    plans = {}
    if keys is not None:
        of_keys = {"keys": keys, "seed": seed}
        asked = {"latent_key": latent_key, "var_key": None, "key": added(_keys.DISENTANGLEMENT), "n_cells": n_cells}
        plans[DISENTANGLEMENT] = plan_disentanglement(real, "real", **of_keys, **asked)
        if generated is not None:
            asked = {"latent_key": _keys.LATENT, "layer": layer, "key": added(_keys.GENERATOR_DISENTANGLEMENT)}
            plans[GENERATOR] = plan_generator_disentanglement(real, generated, **of_keys, **asked)
    if generated is not None:
        sides = {"real": real, "generated": generated, "held_out": held_out}
        asked = {"labels_key": labels_key, "layer": layer, "key_added": added(_keys.REALISM)}
        plans |= plans_of_realism(sides, **asked, cost=cost)
    if predicted is not None:
        labels = _predicted_labels(predicted, hidden, control_labels)
        sides = _prediction_sides(real, hidden, labels, control_labels, layer)
        asked = {"name_of_real": "hidden", "key_added": added(_keys.PREDICTION)}
        plans[PREDICTION] = plan_prediction(predicted=predicted, **sides, **asked, cost=cost)
        if (plan := _plan_arithmetic(real, predicted, hidden, labels, latent_key, seed)) is not None:
            plans[ARITHMETIC] = plan
    tables = computed(plans, enable_progress_bar=enable_progress_bar)
    names = dict.fromkeys((latent_key, _keys.LATENT, "generated", "predicted"), _JUDGED)
    whole = one_below_another({name: table.rename(columns=names) for name, table in tables.items()})
    order = [name for name in whole.columns if name not in ("real cells", "best")]
    return whole[[*order, *(name for name in ("real cells", "best") if name in whole)]]


def _check(given: Mapping[str, AnnData], labels_key: str | None, layer: str | None) -> None:
    """Refuse what a later table would, before the first one is made."""
    made = {name: given[name] for name in ("generated", "predicted") if name in given}
    check_anndata(real=given["real"], **made)
    if made:
        matrices({name: cells if name in made else in_layer(cells, layer, name) for name, cells in given.items()})
        annotated = "held_out" if "held_out" in given else "real"
        check_obs_keys(given[annotated].obs, [labels_key], annotated)


def _predicted_labels(
    predicted: AnnData, hidden: Cells | None, control_labels: Mapping[str, str] | None
) -> dict[str, str]:
    if hidden is None or control_labels is None:
        raise ValueError(
            "predicted is given without hidden or control_labels: give both, or call prediction with cells"
        )
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
    if not isinstance(control_labels, Mapping) or len(control_labels) != 1 or not set(control_labels) <= set(labels):
        raise ValueError(
            f"control_labels is {control_labels!r}: give one of the columns {list(labels)} with its untreated label, as "
            "{column: label}"
        )
    return labels


def _prediction_sides(
    real: AnnData, hidden: Cells, labels: Mapping[str, str], control_labels: Mapping[str, str], layer: str | None
) -> dict[str, Any]:
    """Arguments of :func:`plan_prediction`, from the labels that were predicted."""
    check_obs_keys(real.obs, labels, "real")
    ((key, untreated),) = control_labels.items()
    if labels[key] == untreated:
        raise ValueError(f"control_labels is the prediction's own label {untreated!r}: give that of untreated cells")
    without_label(real.obs[list(labels)], "real")
    kept = real.obs[list(labels)].notna().all(axis=1).to_numpy()
    obs = real.obs.loc[:, list(labels)].astype(str)
    cells = in_layer(real, layer, "real")

    def under(context: Mapping[str, str], label: str) -> AnnData:
        return cells[kept & (obs[[*context, key]] == [*context.values(), label]).all(axis=1).to_numpy()]

    own = {name: label for name, label in labels.items() if name != key}
    untreated_cells = under(own, untreated)
    if untreated_cells.n_obs == 0:
        raise ValueError(f"no cell of real is {own | {key: untreated}}: {_why_none(obs[kept], own, control_labels)}")
    hidden = in_layer(hidden, layer, "hidden")
    if n_seen := under(own, labels[key]).n_obs:
        warn(f"{counted(n_seen, 'cell')} of real {'is' if n_seen == 1 else 'are'} {dict(labels)}, {HIDDEN}")
    else:
        sides_ng = dict(zip(("hidden", "real"), matrices({"hidden": hidden, "real": cells}), strict=True))
        remark_on_copies(sides_ng, {("hidden", "real"): HIDDEN})
    known = obs.loc[kept, list(own)].drop_duplicates().to_dict("records")
    pairs = [(under(context, untreated), under(context, labels[key])) for context in known if context != own]
    contexts = [pair for pair in pairs if min(part.n_obs for part in pair)]
    others = [label for label in obs.loc[kept, key].unique() if label not in (untreated, labels[key])]
    targets = {label: under(own, label) for label in others}
    return {
        "real": hidden,
        "control": untreated_cells,
        "contexts": contexts,
        "targets": {label: rivals for label, rivals in targets.items() if rivals.n_obs},
        **({} if contexts else {"basis": cells, "fitted_on": "real"}),
    }


def _why_none(obs: pd.DataFrame, own: Mapping[str, str], control_labels: Mapping[str, str]) -> str:
    """Say which label of control cells is missing, and give the cure for that one."""
    ((key, untreated),) = control_labels.items()
    if untreated not in set(obs[key]):
        return f"give control_labels another label, as obs[{key!r}] has {sorted(obs[key].unique())}"
    for name, label in own.items():
        if label not in set(obs[name]):
            return f"obs[{name!r}] has no {label!r}, which was predicted; give the cells that the model was trained on"
    return "these labels are there, but not together; call prediction with cells to compare with"


def _plan_arithmetic(
    real: AnnData, predicted: AnnData, hidden: Cells, labels: Mapping[str, str], latent_key: str, seed: int
) -> Plan | None:
    """Plan a delta entropy, of posterior means on both sides, where all that it takes has been stored."""
    var_key = f"{latent_key}_var"
    is_stored = (
        predicted.uns[_keys.PROVENANCE].get("latent") == latent_key
        and {_keys.PREDICTED_LATENT, latent_key, var_key} <= set(real.obsm)
        and dict(real.uns.get(_keys.PREDICTED_LATENT, {}).get("target", {})) == dict(labels)
        and isinstance(hidden, AnnData)
        and latent_key in hidden.obsm
    )
    if not is_stored:
        return None
    mean_nk, var_nk, predicted_nk = (
        obsm_matrix(real, key, "store it", "real") for key in (latent_key, var_key, _keys.PREDICTED_LATENT)
    )
    predicted_mk = predicted_nk[np.isfinite(predicted_nk).all(axis=1)]  # other cells are no source of it
    hidden_mk = obsm_matrix(hidden, latent_key, "store it", "hidden")
    if hidden_mk.shape[1:] != mean_nk.shape[1:] or not np.isfinite(hidden_mk).all():
        raise ValueError(
            f"hidden.obsm[{latent_key!r}] has shape {hidden_mk.shape}, real.obsm[{latent_key!r}] {mean_nk.shape}: give "
            "finite latents of one width, model.get_latent_representation of either"
        )
    checked_var(var_nk, checked_mean(mean_nk))
    half_mk, other_mk = split_half(hidden_mk, seed=seed)
    columns = {
        _JUDGED: PredictedLatents(hidden_mk, predicted_mk, mean_nk, var_nk),
        "real cells": PredictedLatents(other_mk, half_mk, mean_nk, var_nk),
    }
    return Plan(2, partial(metric_table, ARITHMETIC, columns))
