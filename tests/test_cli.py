import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad
from typer.testing import CliRunner

from scmichigan import MichiGAN, datasets, demo
from scmichigan.cli import app
from scmichigan.demo import DemoData, run_demo


def _run(*arguments):
    # A wide terminal keeps messages on one line; colours would cut through the options' names.
    env = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}
    return CliRunner().invoke(app, [str(a) for a in arguments], env=env)


OPTIONS = ["data", "cell-type-key", "condition-key", "hold-out", "control", "layer", "size-factor-key", "n-genes"]


def test_help():
    result = _run("demo", "--help")
    assert result.exit_code == 0
    for option in [*OPTIONS, "out", "seed"]:
        assert f"--{option}" in result.output
    assert "TYPE,CONDITION" in result.output
    assert "demo" in _run("--help").output
    assert "Usage" in _run().output


def test_help_does_not_wait_for_heavy_imports():
    code = "import sys, scmichigan.cli; sys.exit('scvi' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def file(counts, tmp_path):
    counts.obs["cell_type"] = counts.obs["cell_type"].cat.rename_categories({"type B": "T cells, naive"})
    counts.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


HOLD_OUT = ["--hold-out", "type A,drug 1", "--control", "control"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--hold-out TYPE,CONDITION is missing; types are ['T cells, naive', 'type A', 'type C'], conditions are"),
        (["--hold-out", "type A"], "--hold-out 'type A' is no TYPE,CONDITION; types are ['T cells, naive', "),
        (["--hold-out", "type Z,drug 1"], "--hold-out 'type Z,drug 1' is no TYPE,CONDITION; types are"),
        (["--hold-out", "type A,drug 1"], "which condition is untreated? pass --control with one of ['control', 'drug"),
        (["--hold-out", "T cells, naive,drug 1"], "which condition is untreated? pass --control with one of"),
        (["--hold-out", "type A,drug 1", "--control", "drug 1"], "'drug 1' is the control; hide a treated one"),
        (
            ["--hold-out", "type A,drug 1", "--control", "none"],
            "no cell has obs['condition'] == 'none'; the levels are",
        ),
        ([*HOLD_OUT, "--cell-type-key", "nope"], "obs['nope'] does not exist in "),
        ([*HOLD_OUT, "--condition-key", "nope"], "obs['nope'] does not exist in "),
        ([*HOLD_OUT, "--layer", "nope"], "adata.layers['nope'] does not exist; the layers are []"),
        ([*HOLD_OUT, "--size-factor-key", "nope"], "obs['nope'] does not exist; the columns are"),
        ([*HOLD_OUT, "--size-factor-key", "response"], "size factors must be positive numbers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_requests(file, tmp_path, arguments, message):
    result = _run("demo", "--data", file, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert "error: " in result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_combination_that_nothing_can_stand_in_for(file, tmp_path):
    adata = read_h5ad(file)
    others = (adata.obs["condition"] == "drug 1") & (adata.obs["cell_type"] != "type A")
    adata[~others.to_numpy()].copy().write_h5ad(file)
    result = _run("demo", "--data", file, "--out", tmp_path / "out", *HOLD_OUT)
    assert result.exit_code == 2
    assert "cannot be predicted: it takes another cell type under 'drug 1'" in result.stderr


def test_missing_layer_where_totals_are_missing_too(file, tmp_path):
    adata = read_h5ad(file)
    del adata.obs["total_counts"]
    adata.write_h5ad(file)
    result = _run("demo", "--data", file, "--out", tmp_path / "out", *HOLD_OUT, "--layer", "nope")
    assert result.exit_code == 2
    assert "adata.layers['nope'] does not exist; the layers are []" in result.stderr


def test_bad_files(tmp_path):
    missing = tmp_path / "missing.h5ad"
    result = _run("demo", "--data", missing, *HOLD_OUT)
    assert result.exit_code == 2
    assert f"{missing} does not exist" in result.stderr
    text = tmp_path / "cells.csv"
    text.write_text("no,cells\n")
    result = _run("demo", "--data", text, *HOLD_OUT)
    assert result.exit_code == 2
    assert str(text) in result.stderr


def test_too_few_genes(file):
    result = _run("demo", "--data", file, *HOLD_OUT, "--n-genes", "3")
    assert result.exit_code == 2
    assert "--n-genes" in result.output


def test_demo_writes_its_results(tmp_path):
    adata = datasets.screen(720, 40, n_cell_types=2, n_treatments=3)
    data = DemoData(adata, "cell_type", "condition", ("type B", "drug 1"), "control", n_genes=30)
    before = adata.copy()
    table = run_demo(data, tmp_path / "out", latent_steps=5, generator_steps=6, seed=1)

    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files >= {"cells.h5ad", "generated.h5ad", "predicted.h5ad", "table.csv", "model"}
    assert {"latents.png", "real_vs_generated.png", "prediction.png"} <= files
    cells, generated, predicted = (
        read_h5ad(tmp_path / "out" / f"{name}.h5ad") for name in ("cells", "generated", "predicted")
    )
    is_target = (cells.obs[["cell_type", "condition"]] == list(data.target)).all(axis=1)
    assert not is_target.any()
    assert cells.n_obs == 720 - (adata.obs[["cell_type", "condition"]] == list(data.target)).all(axis=1).sum()
    assert (predicted.obs[["cell_type", "condition"]] == list(data.target)).all(axis=None)
    assert cells.n_vars == generated.n_vars == predicted.n_vars == 30
    read = pd.read_csv(tmp_path / "out" / "table.csv", index_col=[0, 1])
    pd.testing.assert_frame_equal(read, table, check_exact=False)
    assert np.isfinite(read.loc[("prediction", "E-distance"), ["model", "additive", "no change", "real cells"]]).all()
    assert np.isfinite(read.loc[("realism", "inception score"), ["model", "real cells"]]).all()
    assert {"michigan_realism", "michigan_probability_real"} <= {*generated.uns, *generated.obsm}
    assert "michigan_prediction" in predicted.uns
    loaded = MichiGAN.load(str(tmp_path / "out" / "model"), cells, accelerator="cpu")
    assert (loaded.generate(5).X >= 0).all()
    assert adata.X.shape == before.X.shape
    assert (adata.X != before.X).nnz == 0
    assert list(adata.obs) == list(before.obs)


@pytest.mark.parametrize("hold_out", ["T cells, naive,drug 1", " T cells, naive , drug 1"])
def test_demo_from_a_file(file, tmp_path, monkeypatch, hold_out):
    calls = []
    monkeypatch.setattr(demo, "run_demo", lambda data, out, *, seed: calls.append((data, out, seed)))
    arguments = ["--hold-out", hold_out, "--control", "control", "--n-genes", 20, "--seed", 3]
    result = _run("demo", "--data", file, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    ((data, out, seed),) = calls
    assert data.labels == {"cell_type": "T cells, naive", "condition": "drug 1"}
    assert (data.control, data.n_genes, data.size_factor_key, data.layer) == ("control", 20, "total_counts", None)
    assert data.adata.shape == (240, 40)
    assert (out, seed) == (tmp_path / "out", 3)
