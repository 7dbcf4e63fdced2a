import json
from multiprocessing import parent_process

import numpy as np
import pandas as pd
import pytest
import torch

from scmichigan import MichiGAN, benchmark_predictions, datasets, metrics
from scmichigan.model._benchmark import PREDICTORS, hide

FACTORS = ["cell_type", "condition"]
CONTROL = {"condition": "control"}
TARGET = {"cell_type": "type B", "condition": "drug 1"}
SETUP = {"size_factor_key": "total_counts"}
JUDGE = {"n_trees": 3}


@pytest.fixture
def counts():
    """1,000 cells of 3 types x 3 treatments: enough of each to judge by."""
    return datasets.screen(1000, 40, n_treatments=3, seed=0)


@pytest.fixture
def arguments(small):
    return {
        "n_genes": 30,
        "setup_kwargs": SETUP,
        "model_kwargs": {"n_latent": 3, **small.gan},
        "train_kwargs": {"max_epochs": 0, "batch_size": 64, "accelerator": "cpu", "latent_kwargs": {"max_epochs": 2}},
        "judge_kwargs": JUDGE,
    }


def test_values_are_those_of_a_fit_without_the_hidden_cells(counts, arguments):
    table = benchmark_predictions(counts, FACTORS, CONTROL, hold_out=[TARGET], **arguments)
    assert list(table) == [*FACTORS, "predictor", "metric", "value"]
    assert set(table["predictor"]) == {*PREDICTORS, "no change", "additive", "additive, weighted", "real cells"}
    wide = table.pivot(index="metric", columns="predictor", values="value")

    hidden = ((counts.obs["cell_type"] == "type B") & (counts.obs["condition"] == "drug 1")).to_numpy()
    variance = np.log1p(1e4 * counts.X.toarray() / counts.obs[["total_counts"]].to_numpy())[~hidden].var(axis=0)
    genes = np.sort(np.argsort(-variance)[:30])
    train, real = counts[~hidden, genes].copy(), counts[hidden, genes].copy()
    MichiGAN.setup_anndata(train, **SETUP)
    model = MichiGAN(train, **arguments["model_kwargs"])
    model.train(**arguments["train_kwargs"], enable_progress_bar=False)
    x, truth = model.get_normalized_expression(), model.get_normalized_expression(real)

    def cells(cell_type, condition):
        return x[((train.obs["cell_type"] == cell_type) & (train.obs["condition"] == condition)).to_numpy()]

    control = cells("type B", "control")
    contexts = [(cells(other, "control"), cells(other, "drug 1")) for other in ("type A", "type C")]
    expected = metrics.prediction(
        truth, model.predict_combination(TARGET), control, contexts=contexts, basis=x, seed=0, **JUDGE
    )
    for ours, theirs in {"MichiGAN": "predicted", "additive": "additive", "real cells": "real cells"}.items():
        forest = "random forest AUROC, genes"
        pd.testing.assert_series_equal(
            wide[ours].drop(forest), expected[theirs].drop(forest), check_names=False, check_like=True, rtol=1e-6
        )


def test_the_hidden_cells_have_no_say_in_the_genes(counts):
    hidden = (counts.obs["cell_type"] == "type B").to_numpy()
    changed = counts.copy()
    changed.X = changed.X.toarray()
    changed.X[hidden] = np.random.default_rng(0).integers(0, 500, changed.X[hidden].shape)
    for adata in (counts, changed):
        train, real = hide(adata, hidden, 10, layer=None)
        assert list(train.var_names) == list(real.var_names) == list(hide(counts, hidden, 10)[0].var_names)


def test_finished_combinations_are_not_run_again(counts, arguments, tmp_path):
    asked = []

    def predictor(model, target):
        asked.append(target)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return model.predict_combination(target)

    request = {"predictors": {"ours": predictor}, "folder": tmp_path / "run", **arguments}
    with pytest.raises(KeyboardInterrupt):
        benchmark_predictions(counts, FACTORS, CONTROL, **request)
    table = benchmark_predictions(counts, FACTORS, CONTROL, **request)
    # 3 types x 2 drugs, one of them asked for twice
    assert len(asked) == 7
    assert len(table.groupby(FACTORS)) == 6
    again = benchmark_predictions(counts, FACTORS, CONTROL, **request)
    assert len(asked) == 7
    pd.testing.assert_frame_equal(again, table)
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["genes"] == 30
    with pytest.raises(ValueError, match="other cells or arguments: genes 30 and not 20; give another folder"):
        benchmark_predictions(counts, FACTORS, CONTROL, **request | {"n_genes": 20})
    # the same cells with two labels, or two counts, changed about
    relabelled, recounted = counts.copy(), counts[[1, 0, *range(2, counts.n_obs)]].copy()
    types = relabelled.obs["cell_type"].to_numpy().copy()
    other = int(np.argmax(types != types[0]))
    types[[0, other]] = types[[other, 0]]
    relabelled.obs["cell_type"], recounted.obs = types, counts.obs
    for changed in (relabelled, recounted):
        with pytest.raises(ValueError, match="other cells or arguments: cells .*; give another folder"):
            benchmark_predictions(changed, FACTORS, CONTROL, **request)


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({"factors": ["cell_type", "nope"]}, KeyError, r"obs\['nope'\] does not exist"),
        ({"factors": ["condition"]}, ValueError, "give two or more columns, and a label of one"),
        ({"control": {"pseudotime": 0.5}}, ValueError, "give two or more columns, and a label of one"),
        ({"control": {"condition": "nope"}}, ValueError, "no cell has obs.'condition'. == 'nope'"),
        ({"hold_out": [{"cell_type": "type B"}]}, ValueError, "hold_out has .*give one label for each of"),
        (
            {"hold_out": [TARGET | {"cell_type": "type Z"}]},
            ValueError,
            "no cell has obs.'cell_type'. == 'type Z'; the lev",
        ),
        ({"hold_out": TARGET}, ValueError, r"hold_out is .*; give a list of such combinations, \[{"),
        ({"hold_out": [TARGET | CONTROL]}, ValueError, "it is no treated one whose control"),
        ({"setup_kwargs": {"latent_key": "Z"}}, ValueError, "a stored latent has seen the hidden cells; leave it out"),
    ],
)
def test_bad_requests(counts, request_, error, message):
    with pytest.raises(error, match=message):
        benchmark_predictions(counts, **{"factors": FACTORS, "control": CONTROL} | request_)


def test_processes_find_what_one_finds(counts, arguments, tmp_path):
    hold_out = [TARGET, TARGET | {"cell_type": "type A"}]

    def predictor(model, target):
        if parent_process() is not None and torch.get_num_threads() != 1:
            raise RuntimeError(f"{torch.get_num_threads()} threads")
        return model.predict_combination(target)

    request = {"hold_out": hold_out, "predictors": {"ours": predictor}}
    alone = benchmark_predictions(counts, FACTORS, CONTROL, **request, **arguments)
    together = benchmark_predictions(counts, FACTORS, CONTROL, **request, **arguments, n_jobs=2, folder=tmp_path)
    pd.testing.assert_frame_equal(together, alone)
    assert len(list(tmp_path.glob("*.csv"))) == 2
