"""Benchmark of predictions without a model."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from scmichigan import datasets, metrics
from scmichigan.combinations import CombinationPredictor, benchmark_predictions, hide

KEYS = ["cell_type", "condition"]
CONTROL = {"condition": "control"}
TARGET = {"cell_type": "type B", "condition": "drug 1"}
SETUP = {"size_factor_key": "total_counts"}
QUICKLY = {"n_genes": 20, "judge_kwargs": {"n_trees": 2}}


@pytest.fixture(scope="module")
def cells():
    """Enough cells of each combination to judge by."""
    return datasets.screen(1000, 30, n_treatments=3, seed=0)


def _take_all(train, keys, *, method):
    return partial(CombinationPredictor(train, keys, **SETUP).predict, method=method)


def _predict(fitted, labels):
    return fitted(labels)


def test_values_are_those_of_a_predictor_without_the_hidden_cells(cells):
    table = benchmark_predictions(cells, KEYS, CONTROL, hold_out=[TARGET], setup_kwargs=SETUP, **QUICKLY)
    wide = table.pivot(index="metric", columns="predictor", values="value")
    assert {"kriging", "additive method", "no change", "additive", "real cells"} <= set(wide)

    is_hidden = (cells.obs[KEYS] == list(TARGET.values())).all(axis=1).to_numpy()
    x = np.log1p(1e4 * cells.X.toarray() / cells.obs[["total_counts"]].to_numpy()).astype(np.float32)
    genes = np.sort(np.argsort(-x[~is_hidden].var(axis=0))[:20])
    train, x = cells[~is_hidden, genes].copy(), x[:, genes]

    def of(cell_type, condition):
        return x[((cells.obs["cell_type"] == cell_type) & (cells.obs["condition"] == condition)).to_numpy()]

    predictor = CombinationPredictor(train, KEYS, **SETUP)
    expected = metrics.prediction(
        x[is_hidden],
        predictor.predict(TARGET),
        of("type B", "control"),
        contexts=[(of(other, "control"), of(other, "drug 1")) for other in ("type A", "type C")],
        others={"additive method": predictor.predict(TARGET, method="additive")},
        basis=x[~is_hidden],
        n_trees=2,
        seed=0,
        enable_progress_bar=False,
    )
    for ours, theirs in {"kriging": "predicted", "additive method": "additive method", "additive": "additive"}.items():
        # Sums of sparse and of dense rows differ in the last digit, and forests of two trees in more.
        for metric in wide.index.drop("random forest AUROC, genes"):
            assert wide.loc[metric, ours] == pytest.approx(expected.loc[metric, theirs], rel=1e-3, nan_ok=True), metric


def test_genes_are_chosen_without_the_hidden_cells(cells):
    hidden = (cells.obs["cell_type"] == "type B").to_numpy()
    changed = cells.copy()
    changed.X = changed.X.toarray()
    changed.X[hidden] = np.random.default_rng(0).integers(1, 500, changed.X[hidden].shape)
    train, real = hide(changed, hidden, 10, labels_key="cell_type")
    assert list(train.var_names) == list(real.var_names) == list(hide(cells, hidden, 10)[0].var_names)
    assert (train.n_obs, real.n_obs) == ((~hidden).sum(), hidden.sum())
    assert "_scvi_batch" not in train.obs


def test_results_of_another_fit_are_not_mixed_in(cells, tmp_path):
    request = {"hold_out": [TARGET], "predictors": {"ours": _predict}, "folder": tmp_path, **QUICKLY}
    fit = partial(_take_all, method="additive")
    table = benchmark_predictions(cells, KEYS, CONTROL, fit=fit, **request)
    pd.testing.assert_frame_equal(benchmark_predictions(cells, KEYS, CONTROL, fit=fit, **request), table)
    with pytest.raises(
        ValueError, match="holds results of other cells or arguments: fit .*_take_all.*'additive'.*krig"
    ):
        benchmark_predictions(cells, KEYS, CONTROL, fit=partial(_take_all, method="kriging"), **request)


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({"fit": _take_all}, ValueError, "fit is given without predictors; give functions that predict"),
        ({"control_labels": "control"}, ValueError, "control_labels is 'control'; give one label for each obs key"),
        (
            {"control_labels": {"batch": "1"}},
            ValueError,
            "keys are .*, control_labels are .*; give two or more columns",
        ),
        ({"keys": ["cell_type", "nope"]}, KeyError, r"obs\['nope'\] does not exist"),
        ({"hold_out": [TARGET | CONTROL]}, ValueError, "it is no treated one whose control"),
        (
            {"setup_kwargs": {"latent_key": "Z"}, "hold_out": [TARGET]},
            TypeError,
            "unexpected keyword argument 'latent_key'",
        ),
    ],
)
def test_bad_requests(cells, request_, error, message):
    with pytest.raises(error, match=message):
        benchmark_predictions(cells, **{"keys": KEYS, "control_labels": CONTROL, **QUICKLY} | request_)
