"""The commands of reproduction/: which runs there are, which are kept, and how they are shown."""

import sys
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "reproduction"


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


def test_ours_stand_beside_the_published_values(run, capsys):
    run("1", "--seeds", "0", "1", "2", "--data", "linear", "--methods", "beta-TCVAE")
    header, _, row = capsys.readouterr().out.strip().splitlines()[-3:]
    shown = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    # The mean of 0.70, 0.71 and 0.72 and its standard deviation; the paper has 0.72.
    assert shown["MIG"] == "0.71 ± 0.01 (0.72, -0.01)"
    assert (shown["seeds"], shown["minutes"]) == ("3", "2.0")


def test_every_method_and_metric_of_the_paper_is_run(tables):
    published = pd.read_csv(FOLDER / "published.csv")
    for number, rows in published.groupby("table"):
        table = tables.TABLES[number]
        assert set(rows["data"]) == set(table.betas)
        assert set(rows["method"]) <= set(table.methods)
        assert set(rows["metric"]) <= set(table.shown)
        assert not rows.duplicated(["data", "method", "metric"]).any()
