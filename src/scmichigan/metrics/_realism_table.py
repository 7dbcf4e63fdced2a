"""Table of realism.

Legend: n cells, g genes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from scmichigan import _keys
from scmichigan._arrays import Matrix, fit_pca, sample_rows
from scmichigan._cells import in_layer, keep, matrices
from scmichigan._checks import all_obs, check_anndata, check_at_least, check_obs_keys, counted

from ._discrimination import forest_on_components, forest_on_genes
from ._metric import MODALITIES, REALISM, Comparison
from ._modalities_table import check_modalities, plan_together
from ._remarks import HELD_OUT, MADE, remark_on, remark_on_copies
from ._tables import (
    Plan,
    Side,
    Tick,
    computed,
    derived_key,
    equal_number,
    metric_table,
    n_values,
    one_below_another,
    without_label,
)

_N_COMPONENTS = 50
_N_LABELLED = 5  # cells that an inception score takes
_FORESTS = {"components": forest_on_components, "genes": forest_on_genes}


def realism(
    real: AnnData | MuData,
    generated: AnnData | MuData,
    *,
    held_out: AnnData | MuData | None = None,
    labels_key: str | None = None,
    layer: str | None = None,
    key_added: str = _keys.REALISM,
    n_cells: int = 2000,
    n_trees: int = 200,
    seed: int = 0,
    n_jobs: int | None = None,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Table of all metrics that say how real generated cells are, with the values of real cells.

    Parameters
    ----------
    real
        Cells that the generator was trained on. Of MuData, each modality of the generated cells is judged by itself; of
        two modalities, also whether they belong together.
    generated
        Generated cells, expression in ``X``.
    held_out
        Real cells like those of ``real`` that no fit has seen. All cells are then compared with them. One random half of
        ``real`` is for the principal components, the other half is the "real cells". Without ``held_out``, ``real`` is
        split in thirds for components, comparison and "real cells". The cells compared with were then seen in training,
        which flatters a generator that keeps close to its training cells.
    labels_key
        Column of ``obs`` with cell types, for the inception score. Cells without a type are left out of it.
    layer
        Layer of the real cells with expression on the scale of the generated ones; None for ``X``.
    key_added
        Key of ``generated.uns`` that the result is written to.
    n_cells
        Cells of each side at most. All values are of the same number of cells on each side, as most get worse with
        fewer.
    n_trees
        Trees of each random forest that classifies cells as real or generated. The paper has 1,000, and 3,000 cells, which
        takes longer and hardly changes the values. The inception score, which few trees change, always has 1,000.
    seed
        Random seed.
    n_jobs
        Processes that grow trees, as in scikit-learn.
    enable_progress_bar
        Whether to show a progress bar.

    Returns
    -------
    One row a metric (:func:`registry` has ranges and sources). Columns: "generated"; "real cells", the value of a perfect
    generator with so many cells; and "best". NaN where a value is not defined for the cells.
    ``attrs["compared_with"]`` is "held-out cells" or "cells seen in training", and so is the name of the columns;
    ``attrs["n_cells"]`` is the number of cells on each side, ``attrs["without_label"]`` that of cells compared with that
    lack a type. Of MuData, there are the rows of each modality (index levels "question", such as "realism, rna", and
    "metric"), and ``attrs`` holds the attributes under each question.

    Table and attributes are also written to ``generated.uns[key_added]``. The forests' probability that a cell is real is
    written to ``obsm["michigan_probability_real"]`` (of another ``key_added``: that key and ``"_probability_real"``;
    ``uns`` has the name) of ``generated`` and of the cells compared with (``held_out``, or ``real`` with NaN for two
    thirds), columns "components" and "genes". Nothing is written to views, which would be copied.

    Raises
    ------
    KeyError
        If the column or layer does not exist.
    ValueError
        If the cells are unusable (see the message), too few, or log-normalised on one side and counts, or not logged, on
        the other; or if fewer than 5 of the cells compared with have a type, or they have one type only or more than one
        for every two.

    Warns
    -----
    UserWarning
        If there are fewer than 50 cells on a side (of ``real``, in each part), sides are counts, more than a twentieth of
        the genes are zero in all cells, generated cells are real ones number for number or held-out ones those of
        ``real``, or cells lack a type.

    Notes
    -----
    If the forest's error is small on genes but good on components, single genes are wrong: their noise, or their zeros,
    which the last rows show. Copies of training cells are real cells, and score as such beside held-out ones. Beside the
    cells that they are copies of, the forest's error is above 0.5. A rare type that is missing is hardly seen.

    Examples
    --------
    >>> adata.layers["lognorm"] = model.get_observed_expression()
    >>> mg.metrics.realism(adata, model.generate(2000), labels_key="cell_type", layer="lognorm")
    """
    arguments = {"held_out": held_out, "labels_key": labels_key, "layer": layer, "key_added": key_added}
    cost = {"n_cells": n_cells, "n_trees": n_trees, "seed": seed, "n_jobs": n_jobs}
    plans = plans_of_realism(real, generated, **arguments, **cost)
    tables = computed(plans, enable_progress_bar=enable_progress_bar)
    return tables[REALISM] if REALISM in tables else one_below_another(tables)


def plans_of_realism(
    real: AnnData | MuData,
    generated: AnnData | MuData,
    *,
    held_out: AnnData | MuData | None,
    labels_key: str | None,
    **arguments: Any,
) -> dict[str, Plan]:
    """Check what :func:`realism` is given; a table for each modality and, of two, one of both together."""
    sides = {"real": real, "generated": generated} | ({} if held_out is None else {"held_out": held_out})
    annotated = "real" if held_out is None else "held_out"
    if not isinstance(real, MuData):
        check_anndata(**sides)
        check_obs_keys(sides[annotated].obs, [labels_key], annotated)
        labels = None if labels_key is None else sides[annotated].obs[[labels_key]]
        return {REALISM: plan_realism(real, generated, held_out=held_out, labels=labels, **arguments)}
    check_modalities(sides)
    obs = all_obs(sides[annotated])
    check_obs_keys(obs, [labels_key], annotated)
    labels = None if labels_key is None else obs[[labels_key]]
    plans = {}
    for name in generated.mod:
        of_name = {"held_out": None} | {side: cells[name] for side, cells in sides.items()}
        plans[f"{REALISM}, {name}"] = plan_realism(**of_name, labels=labels, **arguments)
    if len(plans) == 2:
        plans[MODALITIES] = plan_together(sides, **{key: arguments[key] for key in ("layer", "n_cells", "seed")})
    return plans


def plan_realism(
    real: AnnData,
    generated: AnnData,
    *,
    held_out: AnnData | None,
    labels: pd.DataFrame | None,
    layer: str | None,
    key_added: str,
    n_cells: int,
    n_trees: int,
    seed: int,
    n_jobs: int | None,
) -> Plan:
    """Check what :func:`realism` is given of one modality; ``labels`` has one column, of the cells compared with."""
    check_at_least(1, n_trees=n_trees)
    annotated = "real" if held_out is None else "held_out"
    parts = _split(real, generated, held_out, layer=layer, n_cells=n_cells, seed=seed)
    labels = pd.DataFrame() if labels is None else labels.iloc[parts.compared]
    missing = without_label(labels, annotated)
    _check_labels(labels, annotated)
    attributes = {
        "compared_with": "cells seen in training" if held_out is None else "held-out cells",
        "n_cells": parts.n_each,
        "without_label": missing,
    }

    def compute(tick: Tick) -> pd.DataFrame:
        shared = {
            "pca": fit_pca(parts.basis_ng, n_components=_N_COMPONENTS, seed=seed),
            "n_cells": parts.n_each,
            "n_trees": n_trees,
            "seed": seed,
            "n_jobs": n_jobs,
        }
        reference_ng, real_ng, generated_ng = parts.sampled
        judged = Comparison(
            reference_ng=reference_ng,
            cells_ng=generated_ng,
            # All cells there are, so that each of them gets its probability.
            forest_sides=(parts.reference_ng, parts.generated_ng),
            labelled=_labelled(parts.reference_ng, labels),
            **shared,
        )
        ceiling = Comparison(reference_ng=reference_ng, cells_ng=real_ng, ceiling_of=judged, **shared)
        table = metric_table(REALISM, {"generated": judged, "real cells": ceiling}, tick)
        _write(generated, parts, judged, key_added, {"table": table.copy()} | attributes)
        table.attrs |= attributes
        return table.rename_axis(columns=f"beside {attributes['compared_with']}")

    return Plan(n_values(REALISM, 2), compute)


def _labelled(cells_ng: Matrix, labels: pd.DataFrame) -> tuple[Matrix, pd.Series] | None:
    for _, label_n in labels.items():
        held = label_n.notna().to_numpy()
        return cells_ng[held], label_n[held]
    return None


def _check_labels(labels: pd.DataFrame, name: str) -> None:
    for key, label_n in labels.items():
        n_labelled, n_labels = label_n.count(), label_n.nunique()
        if n_labelled < _N_LABELLED or not 2 <= n_labels <= n_labelled / 2:
            raise ValueError(
                f"{name}.obs[{key!r}] has {counted(n_labels, 'different label')} in {n_labelled} of the {len(label_n)} "
                f"cells compared with: give 2 or more, each in two cells on average or more, and {_N_LABELLED} cells, or "
                "leave labels_key out"
            )


class _Parts(NamedTuple):
    """Cells for each purpose, and equal numbers of them for what depends on numbers."""

    annotated: AnnData
    compared: np.ndarray
    basis_ng: Matrix
    reference_ng: Matrix
    generated_ng: Matrix
    n_each: int
    sampled: tuple[np.ndarray, np.ndarray, np.ndarray]


def _split(
    real: AnnData, generated: AnnData, held_out: AnnData | None, *, layer: str | None, n_cells: int, seed: int
) -> _Parts:
    given = {"real": in_layer(real, layer, "real"), "generated": generated}
    if held_out is not None:
        given["held_out"] = in_layer(held_out, layer, "held_out")
    real_ng, generated_ng, *others = matrices(given)
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(real.n_obs), 3 if held_out is None else 2)
    fitted_on, ceiling = parts[:2]
    if held_out is None:
        annotated, compared, reference_ng = real, parts[2], real_ng[parts[2]]
        sides = {"real": Side(real.n_obs, 3, " without held_out")}
    else:
        annotated, compared, reference_ng = held_out, np.arange(held_out.n_obs), others[0]
        sides = {"real": Side(real.n_obs, 2), "held_out": Side(held_out.n_obs)}
    sides["generated"] = Side(generated.n_obs)
    n_each = equal_number(n_cells, sides, beside="real cells")
    given_ng = dict(zip(given, (real_ng, generated_ng, *others), strict=True))
    remark_on(given_ng)
    seen = {} if held_out is None else {("generated", "held_out"): MADE, ("held_out", "real"): HELD_OUT}
    remark_on_copies(given_ng, {("generated", "real"): MADE} | seen)
    sampled = tuple(sample_rows(cells, n_each, rng) for cells in (reference_ng, real_ng[ceiling], generated_ng))
    return _Parts(annotated, compared, real_ng[fitted_on], reference_ng, generated_ng, n_each, sampled)


def _write(generated: AnnData, parts: _Parts, judged: Comparison, key_added: str, result: dict[str, Any]) -> None:
    key = derived_key(key_added, _keys.REALISM, "probability_real")
    keep(generated, "uns", key_added, result | {"probability_real_key": key})
    found = {space: forest(judged) for space, forest in _FORESTS.items()}
    of_generated = {space: each.probability_of_generated for space, each in found.items()}
    keep(generated, "obsm", key, pd.DataFrame(of_generated, index=generated.obs_names))
    of_real = np.full((parts.annotated.n_obs, len(found)), np.nan)
    of_real[parts.compared] = np.column_stack([each.probability_of_real for each in found.values()])
    keep(parts.annotated, "obsm", key, pd.DataFrame(of_real, parts.annotated.obs_names, list(found)))
