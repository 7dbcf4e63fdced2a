"""What is asked of combinations and cannot be had, or not without a warning, by each way of asking."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from scmichigan import MichiGAN

KEYS = ["cell_type", "condition"]
TARGET = {"cell_type": "type B", "condition": "drug 1"}
QUIETLY = {"enable_progress_bar": False}


def _is(adata, cell_type, condition):
    return ((adata.obs["cell_type"] == cell_type) & (adata.obs["condition"] == condition)).to_numpy()


def _unseen(adata):
    return adata[~_is(adata, *TARGET.values())].copy()


def _without_what_is_shared(adata):
    """B was seen under the control, the others under drugs."""
    return adata[(adata.obs["cell_type"] == "type B") == (adata.obs["condition"] == "control")].copy()


def _three_cells(adata):
    few = np.flatnonzero(_is(adata, "type B", "control"))
    return adata[np.setdiff1d(np.arange(adata.n_obs), few[3:])].copy()


def _unlabelled(adata):
    adata.obs["condition"] = adata.obs["condition"].astype(object)
    adata.obs.iloc[[0, 1], adata.obs.columns.get_loc("condition")] = np.nan
    return adata


def _single_level(adata):
    return adata[adata.obs["condition"] == "drug 1"].copy()


def _predict_combination(model):
    model.predict_combination(TARGET, along="condition")


def _missing_combinations(model):
    model.missing_combinations(KEYS, **QUIETLY)


def _predict_all(model):
    model.predict_all(KEYS, n_samples=5, **QUIETLY)


def _predict_what_is_misspelt(model):
    model.predict_all([TARGET | {"cell_type": "type Z"}], n_samples=5, **QUIETLY)


def _predict_nothing(model):
    model.predict_all(model.missing_combinations(KEYS, **QUIETLY).head(0), n_samples=5, **QUIETLY)


def _predict_one_that_can_and_one_that_cannot(model):
    lone = {"cell_type": "type A", "condition": "drug 2"}
    predicted = model.predict_all([TARGET, lone], n_samples=5, **QUIETLY)
    assert predicted.obs[KEYS].drop_duplicates().to_dict("records") == [TARGET]


def _c_alone_with_drug_2(adata):
    """What nothing else has in common with other cells: no combination with it can be predicted."""
    is_c, is_second = adata.obs["cell_type"] == "type C", adata.obs["condition"] == "drug 2"
    return _unseen(adata[(is_c == is_second).to_numpy()])


def _predict_a_row(model):
    model.predict_all(pd.DataFrame([TARGET]), n_samples=5, **QUIETLY)


NEEDED = "it takes cells that differ from it in one label alone, and others that were seen with both.*crosstab"
UNLABELLED = "2 cells have no label in one of .*: they are left out of the arithmetic; label them, or remove them"
FEW = r"fewer than 10 cells have the labels .*'type B', 'control'.*add cells, or leave them out with references="
SINGLE = r"obs\['condition'\] has 'drug 1' only; give keys with two or more labels each"
OF_MODELS = [
    # the target seen in training
    (lambda a: a, _predict_combination, UserWarning, "they are left out of the arithmetic.*train on the others only"),
    (lambda a: a, _predict_all, ValueError, "cells were seen with all 9 combinations of"),
    (lambda a: a, _predict_a_row, ValueError, "of the cells have the labels.*give combinations that no cell"),
    # no shared treatment
    (_without_what_is_shared, _predict_combination, ValueError, f"no reference for .* along 'condition': {NEEDED}"),
    (_without_what_is_shared, _predict_all, ValueError, f"none of the 4 combinations of .* can be predicted: {NEEDED}"),
    (
        _without_what_is_shared,
        _predict_a_row,
        ValueError,
        f"none of the 1 combinations of .* can be predicted: {NEEDED}",
    ),
    (_c_alone_with_drug_2, _predict_one_that_can_and_one_that_cannot, UserWarning, f"1 of 2 .* left out, .*: {NEEDED}"),
    # what does not exist, nothing, and what is no list
    (_unseen, _predict_what_is_misspelt, ValueError, r"no cell has obs\['cell_type'\] == 'type Z'; the levels are"),
    (
        _unseen,
        _predict_nothing,
        ValueError,
        "combinations is a table without rows; take some of the table of missing ones",
    ),
    (
        _unseen,
        lambda m: m.predict_all(TARGET),
        ValueError,
        "combinations is {.*; give a list of obs keys or of targets",
    ),
    (_unseen, lambda m: m.missing_combinations("condition"), ValueError, "keys is 'condition'; give a list of two"),
    # totals are no labels
    (
        _unseen,
        lambda m: m.missing_combinations(["cell_type", "total_counts"]),
        ValueError,
        r"obs\['total_counts'\] has \d+ values in \d+ cells, which are no labels; give keys whose labels several",
    ),
    # a reference with 3 cells
    (lambda a: _three_cells(_unseen(a)), _predict_combination, UserWarning, FEW),
    (lambda a: _three_cells(_unseen(a)), _predict_all, UserWarning, FEW),
    # labels with NaN
    (lambda a: _unlabelled(_unseen(a)), _predict_combination, UserWarning, UNLABELLED),
    (lambda a: _unlabelled(_unseen(a)), _missing_combinations, UserWarning, UNLABELLED),
    (lambda a: _unlabelled(_unseen(a)), _predict_all, UserWarning, UNLABELLED),
    # a single level
    (_single_level, _predict_combination, ValueError, SINGLE),
    (_single_level, _missing_combinations, ValueError, SINGLE),
    (_single_level, _predict_all, ValueError, SINGLE),
]
OF_BENCHMARKS = [
    (lambda a: a, {"setup_kwargs": {"latent_key": "Z"}}, ValueError, "has seen the hidden cells; leave it out"),
    (_without_what_is_shared, {}, ValueError, "no combination of .* can be hidden: "),
    (
        lambda a: a[(a.obs["cell_type"] == "type B") | (a.obs["condition"] == "drug 2")].copy(),
        {"hold_out": [TARGET]},
        ValueError,
        f"cannot be hidden: the others cannot predict it: {NEEDED}.*; leave it out of hold_out",
    ),
    (_three_cells, {"hold_out": [TARGET]}, ValueError, "its control has 3 cells; 10 are the least; leave it out"),
    (_unlabelled, {"hold_out": [TARGET]}, UserWarning, UNLABELLED),
    (_single_level, {"control_labels": {"condition": "drug 1"}}, ValueError, SINGLE),
]


@pytest.mark.parametrize(("change", "call", "kind", "message"), OF_MODELS)
def test_models(stored, make_gan, change, call, kind, message):
    model = make_gan(change(stored), latent_key="Z", fit={"max_epochs": 0, "batch_size": 20})
    _assert_told(lambda: call(model), kind, message)


@pytest.mark.parametrize(("change", "request_", "kind", "message"), OF_BENCHMARKS)
def test_benchmarks(stored, small, change, request_, kind, message):
    arguments = {
        "keys": KEYS,
        "control_labels": {"condition": "control"},
        "predictors": {"ours": lambda model, target: model.predict_combination(target)},
        "n_genes": 20,
        "model_kwargs": {"n_latent": 2, **small.gan},
        "train_kwargs": {"max_epochs": 0, "accelerator": "cpu", "latent_kwargs": {"max_epochs": 1}},
        "judge_kwargs": {"n_trees": 2},
    }
    _assert_told(lambda: MichiGAN.benchmark_predictions(change(stored), **arguments | request_), kind, message)


def _assert_told(call, kind, message):
    """An error says it, or one of the warnings, of which there may be more."""
    if kind is not UserWarning:
        with pytest.raises(kind, match=message):
            call()
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert any(re.search(message, str(w.message)) for w in caught if issubclass(w.category, kind)), caught
