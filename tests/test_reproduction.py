"""The commands of reproduction/: which runs there are, which are kept, and how they are shown."""

import logging
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.stats import norm
from scvi import REGISTRY_KEYS

from scmichigan import PPCA, BetaTCVAE, datasets, metrics
from scmichigan.closed_form import fit_ppca

FOLDER = Path(__file__).parents[1] / "reproduction"
FACTORS = ["cell_type", "condition"]


@pytest.fixture
def tables(monkeypatch):
    if not FOLDER.exists():
        pytest.skip(f"{FOLDER} is not there; it is no part of the distribution")
    monkeypatch.syspath_prepend(FOLDER)
    import tables

    yield tables
    for name in ("tables", "figures_1_4", "label_free", "_runs", "_cells"):
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


def test_the_best_training_is_the_one_of_lower_total_correlation(tables, monkeypatch):
    trainings, rng = [], np.random.default_rng(0)
    mean = rng.normal(size=(2000, 2))
    dependent = np.column_stack([mean[:, 0], 0.9 * mean[:, 0] + 0.4 * mean[:, 1]])

    def fitted(args, data, method, n_latent, beta, seed, *, again=0):
        trainings.append((method, beta, seed, again))
        return (dependent, mean)[again], np.full(mean.shape, 0.1), 2.0

    monkeypatch.setattr(tables, "fitted_latent", fitted)
    chosen, _, minutes = tables.latent_of(None, tables.TABLES[1], "linear", "beta-TCVAE, best of 2", 3)
    assert trainings == [("beta-TCVAE", 10, 3, 0), ("beta-TCVAE", 10, 3, 1)]
    assert chosen is mean
    assert minutes == 4


@pytest.fixture
def of_known_latents(tables, monkeypatch):
    """Simulated cells, and latents each of which is one of their factors."""
    parameters = datasets.SplatterParameters(
        n_genes=40, batch_cells=(75, 75), group_prob=(0.5, 0.5), de_prob=0.5, path_n_steps=20
    )
    cells = datasets.splatter(parameters, seed=0)
    cells.obs["library size"] = cells.obs["total_counts"].astype(float)
    cells.X = cells.X.log1p()
    table = tables.TABLES[4]
    mean = np.random.default_rng(0).normal(size=(cells.n_obs, table.n_latent))
    for latent, factor in enumerate(table.factors):
        values = cells.obs[factor]
        mean[:, latent] = values.cat.codes if factor in ("batch", "path") else values.rank() / cells.n_obs
    monkeypatch.setattr(tables, "load", lambda *_: cells)
    return cells, mean


def test_gans_stand_beside_their_own_latents_sampled_or_not(tables, of_known_latents, monkeypatch, tmp_path):
    cells, mean = of_known_latents
    table = tables.TABLES[4]
    wide = np.full_like(mean, 1e6)
    monkeypatch.setattr(tables, "latent_of", lambda *_: (mean, wide, 0.0))
    args = SimpleNamespace(real=None, quick=True, epochs=1, gan_epochs=1, folder=tmp_path)
    of_means, sampled, of_prior = (
        tables.measure(args, table, "linear", method, 0)
        for method in ("MichiGAN, means, our settings", "MichiGAN, our settings", "WGAN-GP")
    )
    correlation = metrics.spearman_correlation(mean, cells.obs[table.factors])
    assert of_means["Spearman gap, its latents"] == metrics.spearman_gap(correlation) > 0.6
    # Samples have a thousandth of the means' spread, and so no relation to a factor: the gap of two of ten correlations
    # with standard errors of 1 / sqrt(150).
    assert sampled["Spearman gap, its latents"] < 4 / np.sqrt(150)
    assert "Spearman gap, its latents" not in of_prior
    assert of_means["minutes"] > 0
    assert of_means["latent recovery"] > sampled["latent recovery"]

    monkeypatch.setattr(tables.MichiGAN, "train", lambda *_, **__: pytest.fail("it was trained again"))
    again = tables.measure(args, table, "linear", "MichiGAN, our settings", 0)
    assert again == pytest.approx(sampled, nan_ok=True)


def test_what_each_latent_has_to_do_with_each_factor(tables, of_known_latents, monkeypatch, tmp_path, capsys):
    import figures_1_4

    _, mean = of_known_latents
    for module in (tables, figures_1_4):
        monkeypatch.setattr(module, "latent_of", lambda *_: (mean, np.full_like(mean, 0.01), 0.0))
    monkeypatch.setattr(figures_1_4, "load", tables.load)
    methods = ["PCA", "MichiGAN, our settings"]
    command = ["figures_1_4.py", "4", "--data", "linear", "--quick", "--gan-epochs", "5", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*command, "--methods", *methods])
    figures_1_4.main()
    results = pd.read_csv(tmp_path / "figure_4.csv")
    for method, measure in product(methods, ("Spearman correlation", "mutual information")):
        table = results.query("method == @method").pivot(index="latent", columns="factor", values=measure)
        # Of what is generated from them, the effect of the step is too faint among 40 genes.
        known = ["batch", "path", "step", "library size"] if method == "PCA" else ["batch", "path"]
        assert table[known].idxmax().to_list() == [1, 2, 3, 4][: len(known)], (method, measure)
    assert "(latent 1)" in capsys.readouterr().out
    bars = {f"quick_linear_60_0_{measure}.png" for measure in ("Spearman-correlation", "mutual-information")}
    cells = {"quick_linear_PCA_0_0_0.png", "quick_linear_MichiGAN-our-settings_60_5_0.png"}
    pictures = {path.name: path for path in (tmp_path / "figure_4").iterdir()}
    assert set(pictures) == bars | cells

    # Of what is kept, a picture that is missing is drawn again.
    monkeypatch.setattr(tables.MichiGAN, "train", lambda *_, **__: pytest.fail("it was trained again"))
    monkeypatch.setattr(figures_1_4, "related", lambda *_: pytest.fail("it was measured again"))
    pictures["quick_linear_PCA_0_0_0.png"].unlink()
    figures_1_4.main()
    assert len(pd.read_csv(tmp_path / "figure_4.csv")) == len(results)
    assert pictures["quick_linear_PCA_0_0_0.png"].exists()


def test_generated_cells_are_drawn_in_the_colours_of_real_ones(tables, of_known_latents, tmp_path, monkeypatch):
    import figures_1_4

    cells, mean = of_known_latents
    figures = []
    latents = figures_1_4.pl.latents
    monkeypatch.setattr(figures_1_4.pl, "latents", lambda *a, **k: figures.append(latents(*a, **k)) or figures[-1])
    few = cells[cells.obs["step"] > 15].copy()  # as from a generator that makes the last steps only
    few.obsm["X_umap"], few.obsm["latent"] = np.zeros((few.n_obs, 2)), mean[cells.obs["step"] > 15]
    factors = cells.obs[["batch", "step"]]
    figures_1_4.draw_cells(few, np.random.default_rng(0).normal(size=(150, 2)), factors, "few", tmp_path / "few.png")
    of_batch, of_step, *of_latents = figures[0].axes[:12]
    assert [ax.get_title() for ax in (of_batch, of_step)] == ["batch", "step"]
    assert of_step.collections[0].get_clim() == (1, 20)
    assert all(ax.get_xlim()[1] - ax.get_xlim()[0] > 3 for ax in (of_batch, of_step, *of_latents))


def test_files_that_are_not_there_are_named(tables, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="splatter_linear_small.h5ad is not there: --real takes"):
        tables.load("linear", tmp_path, False, 0)
    monkeypatch.setenv("SCMICHIGAN_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="pancreas_endocrinogenesis.h5ad is not there: set the environment variable"):
        tables.load("pancreas", None, False, 0)


def test_branches_without_an_order_have_no_rank_correlation(tables, monkeypatch):
    import figures_1_4

    branch = pd.Categorical(np.repeat(["a", "b", "c"], 50))
    obs = pd.DataFrame({"branch": branch, "time": np.arange(150.0), "library size": np.arange(150.0)[::-1]})
    cells = AnnData(csr_matrix(np.random.default_rng(0).random((150, 20))), obs=obs.set_axis(map(str, obs.index)))
    mean = np.column_stack([branch.codes, obs["time"] / 150])
    monkeypatch.setattr(figures_1_4, "load", lambda *_: cells)
    monkeypatch.setattr(figures_1_4, "latent_of", lambda *_: (mean, np.full_like(mean, 0.01), 0.0))
    args = SimpleNamespace(real=None, quick=True, seed=0)
    run = {"data": "3 trajectories", "method": "VAE"}
    related = figures_1_4.related(args, tables.TABLES[3], run)
    assert list(related.loc[1].index) == ["branch", "time", "library size"]
    assert related.loc[(slice(None), "branch"), "Spearman correlation"].isna().all()
    assert related.loc[(2, "time"), "Spearman correlation"] == pytest.approx(1)
    settings = dict.fromkeys(figures_1_4.SETTINGS, 0)
    (_, ranks), _ = figures_1_4.summary(related.reset_index().assign(**settings)).iterrows()
    assert (ranks["branch"], ranks["time"].split()[0]) == ("", "1.00")
    assert related.loc[(1, "branch"), "mutual information"] == pytest.approx(1, abs=0.01)


def test_a_beta_is_chosen_without_the_factors(tables, of_known_latents, monkeypatch, tmp_path, capsys):
    import label_free

    cells, known = of_known_latents
    var = np.full_like(known, 0.01)

    def fitted(args, data, method, n_latent, beta, seed):
        assert (method, n_latent) == ("beta-TCVAE" if beta else "VAE", known.shape[1])
        rng = np.random.default_rng(seed)
        order = rng.permutation(n_latent)
        rotation = np.linalg.qr(rng.normal(size=(n_latent, n_latent)))[0]
        return (known[:, order] if beta else known @ rotation), var, 1.0

    monkeypatch.setattr(label_free, "fitted_latent", fitted)
    monkeypatch.setattr(label_free, "load", lambda *_: cells)
    command = ["label_free.py", "--real", str(tmp_path), "--data", "linear", "--betas", "0", "10", "--seeds", "0", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--folder", str(tmp_path)])
    label_free.main()
    results = pd.read_csv(tmp_path / "label_free.csv")
    mean, of_ten = (
        results.groupby("beta")[["MIG", "UDR"]].mean(),
        results[results["beta"] == 10].set_index("seed")["MIG"],
    )
    assert mean.loc[10, "MIG"] > mean.loc[0, "MIG"] + 0.2
    assert mean.loc[10, "UDR"] > mean.loc[0, "UDR"] + 0.2
    header, _, row = capsys.readouterr().out.strip().splitlines()[-3:]
    shown = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert shown["MIG, beta by UDR"] == f"{mean.loc[10, 'MIG']:.3f} (beta 10)"
    assert shown["MIG, seed by UDR"] == ""  # of two trainings, either agrees with the other as well
    assert shown["MIG, seed by total correlation"] in [f"{mig:.3f} (seed {s})" for s, mig in of_ten.items()]
    assert (tmp_path / "label_free.png").stat().st_size > 10_000


@pytest.fixture
def figures(monkeypatch):
    if not FOLDER.exists():
        pytest.skip(f"{FOLDER} is not there; it is no part of the distribution")
    monkeypatch.syspath_prepend(FOLDER)
    levels = {name: logging.getLogger(name).level for name in ("lightning.pytorch", "scvi")}
    import ablations
    import figure_5
    import figures_2_4
    import figures_6_7

    scripts = {"ablations": ablations, "figure_5": figure_5, "figures_2_4": figures_2_4, "figures_6_7": figures_6_7}
    yield SimpleNamespace(**scripts)
    for name in (*scripts, "_runs"):
        sys.modules.pop(name, None)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_both_rounds_of_predictions(figures, monkeypatch, tmp_path, capsys):
    figures = figures.figures_6_7
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
        ([("B", "x"), ("B", "y"), ("A", "x")], [("B", "x"), ("B", "y"), ("A", "x")]),
        # The third would leave "x" without a type, and B without a treatment.
        ([("B", "x"), ("C", "x"), ("A", "x"), ("A", "y")], [("B", "x"), ("C", "x"), ("A", "y")]),
        ([("B", "x"), ("B", "y"), ("B", "z"), ("A", "y")], [("B", "x"), ("B", "y"), ("A", "y")]),
    ],
)
def test_what_is_hidden_can_be_predicted_from_the_rest(figures, ordered, chosen):
    obs = pd.DataFrame(list(product("ABC", "xyz")), columns=FACTORS, index=list("012345678"))
    args = SimpleNamespace(factors=FACTORS)
    assert figures.figures_6_7.predictable_together(AnnData(np.zeros((9, 1)), obs=obs), ordered, args) == chosen


def test_too_few_combinations_to_hide_three(figures):
    pairs = list(product("ABC", "xy"))
    obs = pd.DataFrame(pairs, columns=FACTORS, index=list("012345"))
    with pytest.raises(SystemExit, match="no three combinations"):
        figures.figures_6_7.predictable_together(
            AnnData(np.zeros((6, 1)), obs=obs), pairs, SimpleNamespace(factors=FACTORS)
        )


@pytest.fixture
def halves(figures, monkeypatch):
    """Two halves of the screen's cells, as the only set of Figures 2 and 4."""
    counts = datasets.screen(300, 40, seed=0)
    for module in (figures.figures_2_4, figures.ablations):
        monkeypatch.setattr(module, "SETS", {"screen": ("cell_type", "total_counts", 1)})
        monkeypatch.setattr(module, "load", lambda data, seed: (counts[::2].copy(), counts[1::2].copy()))
    return counts[::2].copy(), counts[1::2].copy()


def test_realism_is_looked_at_during_training(figures, halves, monkeypatch, tmp_path, capsys):
    script, methods = figures.figures_2_4, ["real cells", "PCA", "GMM", "VAE", "MichiGAN"]
    command = ["figures_2_4.py", "--data", "screen", "--seeds", "0", "--epochs", "3", "--every", "2", "--trees", "10"]
    monkeypatch.setattr(sys, "argv", [*command, "--folder", str(tmp_path), "--methods", *methods])
    script.main()
    results = pd.read_csv(tmp_path / "figures_2_4.csv")
    looks = {method: list(_rows(runs, ["epoch", "last"])) for method, runs in results.groupby("method", sort=False)}
    once, twice = [(0, True)], [(2, False), (3, True)]
    assert looks == {"real cells": once, "PCA": once, "GMM": once, "VAE": twice, "MichiGAN": twice}

    train, held_out = (cells.X.toarray() for cells in halves)
    totals = [cells.obs["total_counts"].to_numpy()[:, None] for cells in halves]
    train, held_out = (np.log1p(1e4 * x / t).astype(np.float32) for x, t in zip((train, held_out), totals, strict=True))
    real = results.set_index("method").loc["real cells"]
    forest = {"n_trees": 10, "seed": 0}
    assert real["random forest error"] == pytest.approx(
        metrics.random_forest_error(held_out, train, **forest), abs=0.02
    )
    assert real["E-distance"] == pytest.approx(metrics.e_distance(held_out, train), rel=1e-3)
    assert real["latent recovery"] != real["latent recovery"]
    has_noise_or_not = results["random forest error, noise exchanged"].notna()
    assert set(results["method"][has_noise_or_not]) == {"PCA", "GMM", "VAE"}
    assert (tmp_path / "figures_2_4.png").stat().st_size > 10_000

    # A run that was stopped half way is begun anew, and shown once.
    results[~((results["method"] == "VAE") & results["last"])].to_csv(tmp_path / "figures_2_4.csv", index=False)
    capsys.readouterr()
    script.main()
    shown = capsys.readouterr().out
    assert shown.count(" on screen, seed 0") == 1
    assert shown.count("| VAE |") == 1
    assert len(pd.read_csv(tmp_path / "figures_2_4.csv")) == len(results) + 1


def test_noise_is_taken_from_components_and_given_to_decoders(figures, halves):
    exchanged, train = figures.figures_2_4.noise_exchanged, halves[0]
    PPCA.setup_anndata(train)
    of_components = PPCA(train, n_latent=3)
    of_components.train()
    cells = of_components.generate(5000, seed=0).X
    within = exchanged(of_components, cells, seed=0)
    values = np.linalg.svd(within - within.mean(axis=0), compute_uv=False)
    assert values[3] < 1e-4 * values[2]
    # What was taken away is the noise off three of 40 components; the mean of its 185,000 squares is within 0.3 %.
    left = np.linalg.norm(cells - within) ** 2 / (5000 * 37)
    assert left == pytest.approx(fit_ppca(of_components.get_observed_expression(), 3).noise_variance, rel=0.02)

    BetaTCVAE.setup_anndata(train)
    decoder = BetaTCVAE(train)
    decoder.train(2, enable_progress_bar=False)
    cells = decoder.generate(5000, seed=0).X
    noise = exchanged(decoder, cells, seed=0) - cells
    # Untrained so far, the decoder leaves out nearly all of each gene's variance. A standard deviation of 5,000 draws is
    # off by 1 % of itself.
    spread = decoder.get_observed_expression().toarray().std(axis=0)
    np.testing.assert_allclose(noise.std(axis=0), spread, rtol=0.15)
    assert abs(np.corrcoef(noise.T)[~np.eye(40, dtype=bool)]).max() < 5 / np.sqrt(5000)


def test_routes_that_were_left(figures, halves, monkeypatch, tmp_path):
    script, methods = figures.ablations, ["beta-TCVAE", "joint (10)", "reverse KL (1)"]
    command = ["ablations.py", "--data", "screen", "--seeds", "0", "--epochs", "10", "--trees", "10"]
    monkeypatch.setattr(sys, "argv", [*command, "--folder", str(tmp_path), "--methods", *methods])
    script.main()
    results = pd.read_csv(tmp_path / "ablations.csv").set_index("method")
    assert list(results.index) == methods
    assert results[["E-distance", "random forest error", "latent recovery"]].notna().all(axis=None)
    # By the reverse KL divergence, the latent model is the one that there was; joint training has one of its own.
    of_vae, joint, by_kl = results["total correlation"]
    assert by_kl == of_vae
    assert joint != of_vae


def test_reverse_kl_is_the_encoders_likelihood(figures, halves):
    args = SimpleNamespace(data="screen", epochs=10)
    vae = figures.ablations.trained_vae(args, halves[0], seed=0)
    module = next(figures.ablations.adversarially(args, vae, weight=1.0)).module.eval()
    x = torch.from_numpy(vae.get_observed_expression().toarray())
    z = torch.randn(len(x), 10)
    mean, var = vae.get_latent_representation(return_dist=True)
    expected = -norm.logpdf(z, mean, np.sqrt(var)).sum(1).mean() - 5 * np.log(2 * np.pi)
    counts = {REGISTRY_KEYS.X_KEY: torch.ones_like(x)}
    with torch.no_grad():
        loss = module.loss(counts, {"condition": z}, {"x": x}, player="generator").loss
        adversarial = -module.critic(x[None], z).mean()
    assert float(loss - adversarial) == pytest.approx(expected, rel=1e-4)


def test_traversals_of_both_kinds(figures, monkeypatch, tmp_path):
    script, walks = figures.figure_5, []
    adata = datasets.screen(300, 40, seed=0)
    cells = script.Cells("", "total_counts", ("cell_type", "condition"), {"cell_type": "type A"}, 1)
    monkeypatch.setattr(script, "SETS", {"screen": cells})
    monkeypatch.setattr(script, "load", lambda data: adata)
    monkeypatch.setattr(script.pl, "traversal", lambda real, walk, **_: walks.append(walk))
    command = ["figure_5.py", "--data", "screen", "--epochs", "3", "--quick", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    results = pd.read_csv(tmp_path / "figure_5.csv")
    assert results.groupby("model", sort=False)["dimension"].apply(list).to_dict() == dict.fromkeys(
        script.MODELS, list(range(1, 11))
    )
    changes = results[["cell_type", "condition"]]
    assert changes.max(axis=None) > 0
    fraction = changes.max(axis=1) / changes.sum(axis=1)  # of all changes; those of chance leave the denominator
    counted = results["single factor"].notna()
    assert (results["single factor"][counted] >= fraction[counted] - 1e-9).all()
    assert (results["single factor"][counted] <= 1).all()
    script.main()
    assert len(walks) == 3, "it was run again"

    # Of WGAN-GP, too, one latent goes from low to high, and the others stay.
    for of_prior in walks[1:]:
        z, obs = of_prior.obsm["X_michigan"], of_prior.obs
        for dimension, here in obs.groupby("dimension").indices.items():
            np.testing.assert_allclose(z[here, dimension - 1], obs["value"].iloc[here], rtol=1e-6)
        others = np.ptp(z.reshape(10, 10, 10, -1), axis=2)  # dimensions, walks and steps
        moves = np.zeros(others.shape, bool)
        moves[range(10), :, range(10)] = True
        assert (others[moves] > 4.6).all()
        assert not others[~moves].any()
