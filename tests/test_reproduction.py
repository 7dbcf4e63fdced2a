"""The commands of reproduction/: which runs there are, which are kept, and how they are shown."""

import logging
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmichigan import datasets

FOLDER = Path(__file__).parents[1] / "reproduction"
FACTORS = ["cell_type", "condition"]


@pytest.fixture
def tables(monkeypatch):
    if not FOLDER.exists():
        pytest.skip(f"{FOLDER} is not there; it is no part of the distribution")
    monkeypatch.syspath_prepend(FOLDER)
    import tables

    yield tables
    for name in ("tables", "_runs", "_simulated"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(tables, monkeypatch, tmp_path):
    """Run a command with measurements that are made up, and give the runs that it did."""
    runs = []

    def measure(args, table, data, method, seed):
        runs.append((seed, data, method))
        return {"minutes": 2.0, "MIG": 0.7 + seed / 100}

    monkeypatch.setattr(tables, "measure", measure)

    def command(*arguments):
        runs.clear()
        monkeypatch.setattr(sys, "argv", ["tables.py", *arguments, "--folder", str(tmp_path)])
        tables.main()
        return list(runs)

    return command


def test_seeds_come_one_after_the_other_and_are_not_run_again(run, tmp_path):
    everything = [
        (seed, data, method)
        for seed in (0, 1)
        for data in ("linear", "non-linear")
        for method in ("PCA", "VAE", "beta-TCVAE")
    ]
    assert run("1", "--seeds", "0", "--data", "linear") == everything[:3]
    assert run("1", "--seeds", "0", "1") == everything[3:]
    assert run("1", "--seeds") == []
    # Other cells and other epochs are other runs; PCA has no epochs.
    assert run("1", "--seeds", "0", "--real", str(tmp_path)) == everything[:6]
    assert run("1", "--seeds", "0", "--epochs", "9") == [each for each in everything[:6] if each[2] != "PCA"]
    assert run("1", "--quick") == everything[:6]


def test_a_run_that_was_stopped_leaves_what_was_done(run, tables, monkeypatch):
    measure = tables.measure

    def stopped(args, table, data, method, seed):
        if method == "VAE":
            raise KeyboardInterrupt
        return measure(args, table, data, method, seed)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            run("3", "--seeds", "0")
    assert run("3", "--seeds", "0", "--data", "3 trajectories") == [
        (0, "3 trajectories", "VAE"),
        (0, "3 trajectories", "beta-TCVAE"),
    ]


def test_ours_stand_beside_the_published_values(run, capsys, tmp_path):
    run("1", "--seeds", "0", "1", "2", "--data", "linear", "--methods", "beta-TCVAE")
    header, _, row = capsys.readouterr().out.strip().splitlines()[-3:]
    shown = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    # The mean of 0.70, 0.71 and 0.72 and its standard deviation; the paper has 0.72.
    assert shown["MIG"] == "0.71 ± 0.01 (0.72, -0.01)"
    assert (shown["seeds"], shown["minutes"]) == ("3", "2.0")
    assert (tmp_path / "table_1_simulated.png").stat().st_size > 10_000


def test_every_method_and_metric_of_the_paper_is_run(tables):
    published = pd.read_csv(FOLDER / "published.csv")
    for number, rows in published.groupby("table"):
        table = tables.TABLES[number]
        assert set(rows["data"]) == set(table.betas)
        assert set(rows["method"]) <= set(table.methods)
        assert set(rows["metric"]) <= set(table.shown)
        assert not rows.duplicated(["data", "method", "metric"]).any()


@pytest.fixture
def figures(monkeypatch):
    if not FOLDER.exists():
        pytest.skip(f"{FOLDER} is not there; it is no part of the distribution")
    monkeypatch.syspath_prepend(FOLDER)
    levels = {name: logging.getLogger(name).level for name in ("lightning.pytorch", "scvi")}
    import figures_6_7

    yield figures_6_7
    sys.modules.pop("figures_6_7", None)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_both_rounds_of_predictions(figures, monkeypatch, tmp_path, capsys):
    seen = []
    most_variable = figures.most_variable

    def spy(train, args):
        seen.append(set(train.obs[args.factors].itertuples(index=False, name=None)))
        return most_variable(train, args)

    monkeypatch.setattr(figures, "most_variable", spy)
    monkeypatch.setattr(
        figures.mg.metrics, "random_forest_error", lambda real, made, **_: float(abs(real.mean() - made.mean()))
    )
    monkeypatch.setattr(figures.mg.pl, "prediction", lambda *_, save, **__: save.touch())
    datasets.screen(210, 40, n_treatments=3, seed=0).write_h5ad(tmp_path / "cells.h5ad")
    folder = tmp_path / "results"
    command = ["figures_6_7.py", "--data", str(tmp_path / "cells.h5ad"), "--size-factor-key", "total_counts"]
    monkeypatch.setattr(sys, "argv", [*command, "--genes", "30", "--folder", str(folder), "--quick"])
    figures.main()

    types, drugs = ["type A", "type B", "type C"], ["control", "drug 1", "drug 2"]
    pairs = set(product(types, drugs))
    first, second = (pd.read_csv(folder / f"predictions_{number}.csv") for number in (1, 2))
    hidden = [set(_rows(table[table["hidden"]], FACTORS)) for table in (first, second)]
    assert [len(each) for each in hidden] == [3, 3]
    assert seen == [pairs - each for each in hidden]
    for table, trained in zip((first, second), seen, strict=True):
        # From each type that was seen with the treatment, and with one more that the target's type was seen with, too.
        expected = {
            (cell_type, drug, other, kind)
            for (cell_type, drug), other, kind in product(pairs, types, ("mean", "sample"))
            if other != cell_type
            and (other, drug) in trained
            and any({(cell_type, d), (other, d)} <= trained for d in set(drugs) - {drug})
        }
        assert sorted(_rows(table, [*FACTORS, "reference", "latent"])) == sorted(expected)
    entropy = first[first["latent"] == "sample"].groupby(FACTORS)["delta H"].mean()
    assert entropy.index[entropy.argmin()] in hidden[1]
    made = {path.name for path in folder.glob("*.png")}
    assert {f"round_{number}_{kind}.png" for number in (1, 2) for kind in ("mean", "sample")} <= made
    assert capsys.readouterr().out.count("gain with delta H: r = ") == 4

    figures.main()
    assert len(seen) == 2, "it was run again"


def _rows(table, columns):
    return list(table[columns].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("ordered", "chosen"),
    [
        # The second would leave B with one treatment, the third "x" with one type.
        ([("B", "x"), ("B", "y"), ("A", "x"), ("A", "y"), ("C", "z")], [("B", "x"), ("A", "y"), ("C", "z")]),
        ([("A", "z")], [("A", "z")]),
    ],
)
def test_what_is_hidden_leaves_every_label_with_two_combinations(figures, ordered, chosen):
    obs = pd.DataFrame(list(product("ABC", "xyz")), columns=FACTORS, index=list("012345678"))
    args = SimpleNamespace(factors=FACTORS)
    assert figures.predictable_together(AnnData(np.zeros((9, 1)), obs=obs), ordered, args) == chosen
