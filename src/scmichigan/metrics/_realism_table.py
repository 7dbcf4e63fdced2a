"""Table of realism. Legend: n cells, g genes."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
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
from ._metric import MODALITIES, REALISM, Comparison, Cost, ModalityPair
from ._remarks import HELD_OUT, MADE, remark_on, remark_on_copies
from ._tables import Plan, Side, computed, derived_key, equal_number, metric_table, one_below_another, without_label

_N_COMPONENTS = 50
_N_LABELLED = 5  # cells that an inception score takes


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
        Real cells like those of ``real`` that no fit has seen. All cells are then compared with them. One random half
        of ``real`` is for the principal components, the other half is the "real cells". Without ``held_out``, ``real``
        is split in thirds for components, comparison and "real cells". The cells compared with were then seen in
        training, which flatters a generator that keeps close to its training cells.
    labels_key
        Column of ``obs`` with cell types, for the inception score. Cells without a type are left out of it.
    layer, key_added
        Layer of the real cells with expression on the scale of the generated ones, None for ``X``; key of
        ``generated.uns`` that the result is written to.
    n_cells, n_trees
        Cells of each side at most (all values are of the same number on each side, as most get worse with fewer), and
        trees of each random forest that classifies cells. The paper has 3,000 and 1,000, which takes longer and hardly
        changes the values. The inception score always has 1,000 trees.
    seed, n_jobs, enable_progress_bar
        Random seed, processes that grow trees (as in scikit-learn), and whether to show a progress bar.

    Returns
    -------
    One row a metric (:func:`registry` has ranges and sources). Columns: "generated"; "real cells", the value of a
    perfect generator with so many cells; and "best". NaN where a value is not defined for the cells.
    ``attrs["compared_with"]`` is "held-out cells" or "cells seen in training", and so is the name of the columns;
    ``attrs["n_cells"]`` is the number of cells on each side, ``attrs["without_label"]`` that of cells compared with
    that lack a type. Of MuData, there are the rows of each modality (index levels "question", such as "realism, rna",
    and "metric"), and ``attrs`` holds the attributes under each question.

    Table and attributes are also written to ``generated.uns[key_added]``. The forests' probability that a cell is real
    is written to ``obsm["michigan_probability_real"]`` (of another ``key_added``: that key and ``"_probability_real"``;
    the name is in ``uns``) of ``generated`` and of the cells compared with (``held_out``, or ``real`` with NaN for two
    thirds), columns "components" and "genes". Nothing is written to views, which would be copied.

    Raises
    ------
    KeyError, ValueError
        If the column or layer does not exist, the cells are unusable (see the message), too few, or on two scales, or
        fewer than 5 of the cells compared with have a type, or one type only, or more than one for every two.

    Warns
    -----
    UserWarning
        If there are fewer than 50 cells on a side (of ``real``, in each part), sides are counts, more than one in 20
        genes is zero in all cells, cells of one side are those of another number for number, or cells lack a type.

    Notes
    -----
    If the forest's error is small on genes but good on components, single genes are wrong: their noise, or their zeros,
    which the last rows show. Copies of training cells are real cells, and score as such beside held-out ones. Beside
    the cells that they are copies of, the forest's error is above 0.5. A rare type that is missing is hardly seen.

    Examples
    --------
    >>> adata.layers["lognorm"] = model.get_observed_expression()
    >>> mg.metrics.realism(adata, model.generate(2000), labels_key="cell_type", layer="lognorm")
    """
    sides = {"real": real, "generated": generated, "held_out": held_out}
    asked = {"labels_key": labels_key, "layer": layer, "key_added": key_added}
    plans = plans_of_realism(sides, **asked, cost=Cost(n_cells, n_trees, seed, n_jobs))
    tables = computed(plans, enable_progress_bar=enable_progress_bar)
    return tables[REALISM] if REALISM in tables else one_below_another(tables)


def plans_of_realism(
    sides: Mapping[str, Any], *, labels_key: str | None, layer: str | None, key_added: str, cost: Cost
) -> dict[str, Plan]:
    """Check what :func:`realism` is given; a table for each modality and, of two, one of both together."""
    sides = {name: cells for name, cells in sides.items() if name != "held_out" or cells is not None}
    annotated = "held_out" if "held_out" in sides else "real"
    asked = {"layer": layer, "key_added": key_added, "cost": cost}
    if not isinstance(sides["real"], MuData):
        check_anndata(**sides)
        check_obs_keys(sides[annotated].obs, [labels_key], annotated)
        labels = None if labels_key is None else sides[annotated].obs[labels_key]
        return {REALISM: _plan(sides, labels, **asked)}
    _check_modalities(sides)
    obs = all_obs(sides[annotated])
    check_obs_keys(obs, [labels_key], annotated)
    labels = None if labels_key is None else obs[labels_key]
    plans = {}
    for name in sides["generated"].mod:
        plans[f"{REALISM}, {name}"] = _plan({side: cells[name] for side, cells in sides.items()}, labels, **asked)
    if len(plans) == 2:
        plans[MODALITIES] = _plan_together(sides, layer=layer, cost=cost)
    return plans


def _plan(
    sides: dict[str, AnnData], labels: pd.Series | None, *, layer: str | None, key_added: str, cost: Cost
) -> Plan:
    """Check the cells of one modality; ``labels`` are those of the cells compared with."""
    check_at_least(1, n_trees=cost.n_trees)
    parts = _split(sides, layer=layer, cost=cost)
    missing = {}
    if labels is not None:
        labels = labels.iloc[parts.compared]
        missing = without_label(labels.to_frame(), parts.name)
        _check_labels(labels, parts.name)
    attributes = {
        "compared_with": "held-out cells" if "held_out" in sides else "cells seen in training",
        "n_cells": parts.n_each,
        "without_label": missing,
    }

    def compute(tick: Callable[[], object]) -> pd.DataFrame:
        reference_ng, real_ng, generated_ng = parts.sampled
        shared = {
            "reference_ng": reference_ng,
            "pca": fit_pca(parts.basis_ng, n_components=_N_COMPONENTS, seed=cost.seed),
            "cost": cost._replace(n_cells=parts.n_each),
        }
        held = slice(0) if labels is None else labels.notna().to_numpy()
        judged = Comparison(
            cells_ng=generated_ng,
            # All cells there are, so that each of them gets its probability.
            forest_sides=(parts.reference_ng, parts.generated_ng),
            labelled=None if labels is None else (parts.reference_ng[held], labels[held]),
            **shared,
        )
        ceiling = Comparison(cells_ng=real_ng, ceiling_of=judged, **shared)
        table = metric_table(REALISM, {"generated": judged, "real cells": ceiling}, tick)
        _write(sides, parts, judged, key_added, {"table": table.copy()} | attributes)
        table.attrs |= attributes
        return table.rename_axis(columns=f"beside {attributes['compared_with']}")

    return Plan(2, compute)


def _check_labels(label_n: pd.Series, name: str) -> None:
    n_labelled, n_labels = label_n.count(), label_n.nunique()
    if n_labelled < _N_LABELLED or not 2 <= n_labels <= n_labelled / 2:
        raise ValueError(
            f"{name}.obs[{label_n.name!r}] has {counted(n_labels, 'different label')} in {n_labelled} of the "
            f"{len(label_n)} cells compared with: give 2 or more, each in two cells on average or more, and "
            f"{_N_LABELLED} cells, or leave labels_key out"
        )


class _Parts(NamedTuple):
    """Cells for each purpose, ``compared`` as rows of the side ``name``; and a sample of ``n_each`` cells of each."""

    name: str
    compared: np.ndarray
    basis_ng: Matrix
    reference_ng: Matrix
    generated_ng: Matrix
    n_each: int
    sampled: list[np.ndarray]


def _split(sides: dict[str, AnnData], *, layer: str | None, cost: Cost) -> _Parts:
    given = {name: cells if name == "generated" else in_layer(cells, layer, name) for name, cells in sides.items()}
    given_ng = dict(zip(given, matrices(given), strict=True))
    real_ng, generated_ng = given_ng["real"], given_ng["generated"]
    n_real, is_held_out = real_ng.shape[0], "held_out" in sides
    rng = np.random.default_rng(cost.seed)
    fitted_on, ceiling, *compared = np.array_split(rng.permutation(n_real), 2 if is_held_out else 3)
    if is_held_out:
        name, rows = "held_out", np.arange(sides["held_out"].n_obs)
        numbers = {"real": Side(n_real, 2), "held_out": Side(len(rows))}
        reference_ng = given_ng["held_out"]
    else:
        name, (rows,) = "real", compared
        numbers = {"real": Side(n_real, 3, " without held_out")}
        reference_ng = real_ng[rows]
    numbers["generated"] = Side(sides["generated"].n_obs)
    n_each = equal_number(cost.n_cells, numbers, beside="real cells")
    remark_on(given_ng)
    seen = {("generated", "held_out"): MADE, ("held_out", "real"): HELD_OUT} if is_held_out else {}
    remark_on_copies(given_ng, {("generated", "real"): MADE} | seen)
    sampled = [sample_rows(cells, n_each, rng) for cells in (reference_ng, real_ng[ceiling], generated_ng)]
    return _Parts(name, rows, real_ng[fitted_on], reference_ng, generated_ng, n_each, sampled)


def _write(
    sides: dict[str, AnnData], parts: _Parts, judged: Comparison, key_added: str, result: dict[str, Any]
) -> None:
    generated, annotated = sides["generated"], sides[parts.name]
    key = derived_key(key_added, _keys.REALISM, "probability_real")
    keep(generated, "uns", key_added, result | {"probability_real_key": key})
    found = {"components": forest_on_components(judged), "genes": forest_on_genes(judged)}
    of_generated = {space: each.probability_of_generated for space, each in found.items()}
    keep(generated, "obsm", key, pd.DataFrame(of_generated, index=generated.obs_names))
    of_real = np.full((annotated.n_obs, len(found)), np.nan)
    of_real[parts.compared] = np.column_stack([each.probability_of_real for each in found.values()])
    keep(annotated, "obsm", key, pd.DataFrame(of_real, annotated.obs_names, list(found)))


def _check_modalities(sides: Mapping[str, MuData]) -> None:
    """Raise an error that names the first that is no MuData, or lacks a modality of the generated cells."""
    for name, cells in sides.items():
        if not isinstance(cells, MuData):
            raise ValueError(
                f"{name} is a {type(cells).__name__}, others are MuData: give MuData, or one modality of each"
            )
    for (name, cells), modality in product(sides.items(), sides["generated"].mod):
        if modality not in cells.mod:
            raise KeyError(f"{name}[{modality!r}] does not exist, generated has it; {name} has {list(cells.mod)}")


def _plan_together(sides: Mapping[str, MuData], *, layer: str | None, cost: Cost) -> Plan:
    """Check two modalities of each side, and split the real cells as :func:`realism` does."""
    rng = np.random.default_rng(cost.seed)
    cells = {
        name: [
            matrices({name: in_layer(side[modality], None if name == "generated" else layer, name)})[0]
            for modality in sides["generated"].mod
        ]
        for name, side in sides.items()
    }
    order = rng.permutation(sides["real"].n_obs)
    if "held_out" in cells:
        seen, reference = order, cells.pop("held_out")
    else:
        seen, other = np.array_split(order, 2)
        reference = [x[other] for x in cells["real"]]
    real = [x[seen] for x in cells["real"]]
    parts = {"generated": cells["generated"], "real cells": real, "reference": reference}
    sizes = {name: Side(pair[0].shape[0]) for name, pair in parts.items()}
    n_each = equal_number(cost.n_cells, sizes, beside="real cells")
    for name, pair in parts.items():
        rows = rng.permutation(pair[0].shape[0])[:n_each]
        parts[name] = [x[rows] for x in pair]
    reference = parts.pop("reference")
    columns = {name: ModalityPair(reference, pair) for name, pair in parts.items()}
    return Plan(2, partial(metric_table, MODALITIES, columns))
