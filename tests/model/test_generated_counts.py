"""Models that make counts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch

from scmichigan import MichiGAN
from scmichigan.combinations import METHODS

START = {"max_epochs": 0}
TARGET = {"cell_type": "type B", "condition": "drug 1"}


def _without(adata, target):
    seen = np.ones(adata.n_obs, dtype=bool)
    for key, label in target.items():
        seen &= (adata.obs[key] == label).to_numpy()
    return adata[~seen].copy()


@pytest.mark.parametrize("key", [None, "total_counts", "total"])
def test_expression_is_that_of_the_counts(stored, make_gan, key):
    stored.obs["total"] = 2 * stored.obs["total_counts"]
    cells = make_gan(stored, latent_key="Z", size_factor_key=key, fit=START).generate(50)
    counts = cells.layers["counts"].toarray()
    assert (counts == np.round(counts)).all()
    assert counts.min() == 0
    totals = cells.obs[key or "total_counts"].to_numpy()
    if key is None:  # normalised as the registered cells are: by their own sum
        np.testing.assert_array_equal(totals, counts.sum(axis=1))
    np.testing.assert_allclose(cells.X, np.log1p(1e4 * counts / totals[:, None]), rtol=1e-6)
    assert cells.X.dtype == cells.layers["counts"].dtype == np.float32


def test_size_factors_are_those_of_the_source_cells(stored, make_gan):
    model = make_gan(stored, latent_key="Z", size_factor_key="total_counts", fit=START)
    cells = model.generate(50, labels={"cell_type": "type B"})
    source = stored.obs.loc[cells.obs["michigan_source"]]
    assert (source["cell_type"] == "type B").all()
    np.testing.assert_array_equal(cells.obs["total_counts"], source["total_counts"])


@pytest.mark.parametrize("given", [3000.0, np.linspace(1000, 5000, 800)], ids=["one", "one each"])
@pytest.mark.parametrize("key", [None, "total_counts"])
def test_totals_are_those_asked_for(stored, make_gan, key, given):
    model = make_gan(stored, latent_key="Z", size_factor_key=key, fit=START)
    cells = model.generate(800, size_factor=given)
    # The rates themselves, beside the counts drawn from them: the sum of all counts is Poisson.
    latent, rng = cells.obsm["X_michigan"], np.random.default_rng(0)
    rng.choice(240, 800)
    noise = torch.from_numpy(rng.standard_normal((800, 5), dtype=np.float32))
    rates = model.module.sample(torch.from_numpy(latent), noise).numpy()
    expected = (rates.sum(axis=1) * given / 1e4).sum()
    total = cells.layers["counts"].sum()
    assert abs(total - expected) < 5 * np.sqrt(expected)
    if key is None:  # the total of every cell is the sum of its counts
        np.testing.assert_allclose(rates.sum(axis=1), 1e4, rtol=1e-5)
    else:
        # What the rates of these genes sum to is their share of the counts that the cells were registered with. Cells
        # differ in it by about a tenth; 5 standard errors with 240 cells fitted.
        share = stored.X.sum() / stored.obs["total_counts"].sum()
        assert rates.sum(axis=1).mean() / 1e4 == pytest.approx(share, rel=0.05)
        np.testing.assert_array_equal(cells.obs[key], np.broadcast_to(given, 800))


def test_the_closed_form_keeps_the_mean_of_every_gene(stored, make_gan):
    # Without variance in the latent and without noise of the network the rates' means are those of the counts.
    model = make_gan(stored, latent_key="Z", fit=START)
    cells = model.generate(4000, size_factor=1e4)
    x = stored.X.toarray()
    scaled = x * (1e4 / x.sum(axis=1, keepdims=True))
    counts = cells.layers["counts"].toarray()
    # Sampling error of 4,000 generated cells and of 240 cells that they are fitted to; the network adds up to 2%.
    error = np.sqrt(counts.var(axis=0) / 4000 + scaled.var(axis=0) / 240)
    assert (np.abs(counts.mean(axis=0) - scaled.mean(axis=0)) < 5 * error + 0.02 * scaled.mean(axis=0)).all()


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, lambda x: x.toarray()])
def test_forms_of_counts_give_the_same_cells(stored, make_gan, form):
    expected = make_gan(stored.copy(), latent_key="Z", fit=START).generate(40)
    stored.X = form(stored.X.astype(np.int64))
    scvi.settings.seed = 0  # of the network's first weights
    got = make_gan(stored, latent_key="Z", fit=START).generate(40)
    # Where totals are summed in another order, rates differ in the last digit, and with them a count now and then.
    assert (expected.layers["counts"] != got.layers["counts"]).mean() < 0.01


def test_start_without_training_then_with(stored, make_gan, small, tmp_path):
    init = {"dropout": 0.5}
    model = make_gan(stored, latent_key="Z", init=init, fit=START)
    state = torch.random.get_rng_state()
    first = model.generate(30)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(model.generate(30).X, first.X)
    model.save(str(tmp_path / "start"))
    loaded = MichiGAN.load(str(tmp_path / "start"), stored, accelerator="cpu")
    np.testing.assert_array_equal(loaded.generate(30).X, first.X)
    for m in (model, loaded):
        m.train(max_epochs=0)  # once more is nothing more
        np.testing.assert_array_equal(m.generate(30).X, first.X)
        m.train(**small.gan_fit)
        assert len(m.history["critic_loss"]) == 2
        decoders = [g.decoder.weight for g in (m.module.generator, m.module.averaged_generator.module)]
        # it went on from the start: 3 steps of about 2e-4 in all
        for decoder in decoders:
            difference = (decoder - loaded.module.generator.decoder.weight).abs().max()
            assert difference < 0.005


def test_start_of_a_model_that_fits_its_own_latent(counts, make_gan):
    model = make_gan(counts, fit=START)
    assert model.latent_model.is_trained
    assert model.generate(10).shape == (10, 40)


@pytest.mark.parametrize("n", [30, 100, 240])
def test_loaded_with_another_number_of_cells(stored, make_gan, tmp_path, n):
    setup = {"latent_key": "Z", "batch_key": "batch"}
    model = make_gan(stored, **setup, fit=START)
    model.save(str(tmp_path / "model"))
    cells = stored[:n].copy()
    loaded = MichiGAN.load(str(tmp_path / "model"), cells, accelerator="cpu")
    basis = model.module.generator.basis
    torch.testing.assert_close(loaded.module.generator.basis.centres, basis.centres)
    assert len(basis.centres) == 240 // 15
    assert loaded.generate(7, seed=1).shape == (7, 40)


@pytest.mark.parametrize("n_cells", [4, 20, 29, 31])
def test_few_cells(stored, make_gan, n_cells):
    few = stored[:n_cells].copy()
    model = make_gan(few, latent_key="Z", latent_var_key="V", fit={"batch_size": n_cells // 2})
    assert len(model.module.generator.basis.centres) == (2 if n_cells > 30 else 0)
    assert np.isfinite(model.generate(30).X).all()


def test_latents_with_few_values(stored, make_gan):
    stored.obsm["Z"] = np.eye(3, dtype=np.float32)[stored.obs["cell_type"].cat.codes]
    cells = make_gan(stored, latent_key="Z").generate(50)
    assert np.isfinite(cells.X).all()


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("spoil", ["zero", "constant", "one gene"])
def test_genes_that_say_nothing(stored, make_gan, spoil, preset):
    x = stored.X.toarray()
    x[:, 7] = {"zero": 0, "constant": 4, "one gene": x[:, 7]}[spoil]
    stored.X = x
    if spoil == "one gene":
        stored = stored[x[:, 7] > 0, 7].copy()
    model = make_gan(stored, latent_key="Z", size_factor_key="total_counts", init={"preset": preset})
    cells = model.generate(100)
    assert np.isfinite(cells.X).all()
    if preset == "default" and spoil == "zero":
        assert cells.X[:, 7].max() == 0


NETWORKS = {
    "WGAN-GP": {"loss": "wgan-gp"},
    "batch norm": {"generator_norm": "batch", "critic_norm": "batch"},
    "layer norm": {"critic_norm": "layer"},
    "no norm": {"generator_norm": None},
    "no average": {"average_decay": None},
    "no start": {"closed_form_start": False},
    "no scales": {"scale_inputs": False},
    "no centres": {"n_centres": 0},
    "counts as published": {"preset": "paper", "observation": "poisson"},
}


@pytest.mark.parametrize("init", NETWORKS.values(), ids=NETWORKS)
def test_settings(stored, make_gan, tmp_path, init):
    setup = {
        "latent_key": "Z",
        "latent_var_key": "V",
        "batch_key": "batch",
        "categorical_covariate_keys": ["condition"],
        "continuous_covariate_keys": ["pseudotime"],
    }
    model = make_gan(stored, **setup, init=init)
    cells = model.generate(20)
    assert np.isfinite(cells.X).all()
    assert cells.layers["counts"].sum() > 0
    model.save(str(tmp_path / "model"))
    loaded = MichiGAN.load(str(tmp_path / "model"), stored[:100].copy(), accelerator="cpu")
    latents = cells.obsm["X_michigan"]
    assert loaded.generate(latent=latents).shape == (20, 40)


def test_learning_rate_that_breaks_the_generator(stored, make_gan):
    with pytest.raises(FloatingPointError, match="MichiGANModule became nan .*; try smaller learning rates"):
        make_gan(stored, latent_key="Z", fit={"plan_kwargs": {"lr_generator": 1e30}})


def test_latents_far_away_make_no_more_than_the_target_of_any_gene(stored, make_gan):
    cells = make_gan(stored, latent_key="Z", fit=START).generate(latent=np.full((5, 3), 1e4), size_factor=100)
    assert np.isfinite(cells.X).all()
    # A rate of all counts in one gene: Poisson with mean 100.
    assert cells.layers["counts"].max() < 100 + 6 * 10


@pytest.mark.parametrize("key", [None, "total_counts"])
def test_prediction_without_a_difference_is_the_source(stored, make_gan, key):
    # The same cells in each combination: no gene has to be moved, from neither source nor partner.
    groups = stored.obs.groupby(["cell_type", "condition"], observed=True).indices
    stored = stored[np.concatenate([rows[:25] for rows in groups.values()])].copy()
    stored.X = sp.csr_matrix(np.tile(stored.X[:25].toarray(), (len(groups), 1)))
    stored.obs["total_counts"] = np.tile(stored.obs["total_counts"].to_numpy()[:25], len(groups))
    adata = _without(stored, TARGET)
    cells = make_gan(adata, latent_key="Z", size_factor_key=key).predict_combination(TARGET)
    source = adata[cells.obs["michigan_source"].to_numpy()]
    np.testing.assert_array_equal(cells.layers["counts"].toarray(), source.X.toarray())
    np.testing.assert_allclose(cells.obs["total_counts"], source.X.sum(axis=1).A1 if key is None else source.obs[key])


@pytest.mark.parametrize("method", ["kriging", "kriging_generator"])
def test_predicted_counts_are_normalised_by_the_totals_of_their_sources(stored, make_gan, method):
    adata = _without(stored, TARGET)
    model = make_gan(adata, latent_key="Z", size_factor_key="total_counts", fit=START)
    cells = model.predict_combination(TARGET, method=method, n_samples=200)
    counts = cells.layers["counts"].toarray()
    assert (counts == np.round(counts)).all()
    assert counts.min() >= 0
    source = adata.obs.loc[cells.obs["michigan_source"]]
    np.testing.assert_array_equal(cells.obs["total_counts"], source["total_counts"])
    np.testing.assert_allclose(cells.X, np.log1p(1e4 * counts / source[["total_counts"]].to_numpy()), rtol=1e-6)


@pytest.mark.parametrize(
    "method", ["kriging", "additive", replace(METHODS["additive"], weights={"control": 3, "drug 2": 1})]
)
def test_predicted_counts_have_the_mean_of_the_weighted_combinations(stored, make_gan, method):
    adata = _without(stored, TARGET)
    model = make_gan(adata, latent_key="Z", size_factor_key="total_counts", fit=START)
    n = 4000
    cells = model.predict_combination(
        TARGET, along="cell_type", references=["type A"], method=method, n_samples=n, seed=1
    )
    x = pd.DataFrame(model.get_observed_expression().toarray(), index=adata.obs_names)
    means = x.groupby([adata.obs["cell_type"], adata.obs["condition"]], observed=True).mean()
    table = cells.uns["michigan"]["combination_weights"]
    parts = means.loc[list(zip(table["cell_type"], table["condition"], strict=True))].to_numpy()
    expected = np.maximum(table["weight"].to_numpy() @ parts, 0)
    if not isinstance(method, str):
        a, b = means.loc["type A"], means.loc["type B"]
        shift = 0.75 * (b.loc["control"] - a.loc["control"]) + 0.25 * (b.loc["drug 2"] - a.loc["drug 2"])
        np.testing.assert_allclose(expected, np.maximum(a.loc["drug 1"] + shift, 0), atol=1e-6)
    # Cells come back equally often, but for one time in 4,000 / 27, and so do their partners. The drawn counts' values
    # are less than log 2 and one count more away from the value asked for: five standard errors.
    one_more = np.log1p(1e4 / adata.obs["total_counts"].min())
    repeats = np.diff(np.percentile(x, [0, 100], axis=0), axis=0)[0] * 27 / n
    tolerance = 5 * one_more / 2 / np.sqrt(n) + 2 * repeats
    assert (np.abs(cells.X.mean(axis=0) - expected) < tolerance).all()


def test_each_gene_comes_from_the_cell_that_has_to_be_moved_less(stored, make_gan):
    # Gene 0 tells types apart, gene 1 conditions: in either, cells with the same label are the same.
    x = stored.X.toarray()
    x[:, 0] = 10 * (1 + stored.obs["cell_type"].cat.codes)
    x[:, 1] = 10 * (1 + stored.obs["condition"].cat.codes)
    x[:, :2] += np.random.default_rng(0).integers(0, 3, (len(x), 2))
    stored.X, stored.obs["total_counts"] = sp.csr_matrix(x), 1e4
    adata = _without(stored, TARGET)
    model = make_gan(adata, latent_key="Z", size_factor_key="total_counts", fit=START)
    cells = model.predict_combination(TARGET, along="condition")
    logged = pd.DataFrame(model.get_observed_expression()[:, :2].toarray(), index=adata.obs_names)
    assert set(adata.obs.loc[cells.obs["michigan_source"], "cell_type"]) == {"type B"}
    assert set(adata.obs.loc[cells.obs["michigan_partner"], "condition"]) == {"drug 1"}
    for gene, origin in enumerate(("michigan_source", "michigan_partner")):
        change = cells.X[:, gene] - logged.loc[cells.obs[origin], gene]
        # One count of ten or more, above or below, and as much for the means of 13 partners.
        assert np.abs(change).max() < 2 * np.log(11 / 10)


def test_numbers_that_are_labels_or_covariates_come_with_the_cells(stored, make_gan):
    stored.obs["leiden"] = np.arange(240) % 4
    stored.obs["day"] = np.arange(240) % 3
    stored.obs["age"] = np.linspace(0, 1, 240)
    stored.obs["quality"] = np.linspace(0, 1, 240)
    keys = {"labels_key": "leiden", "batch_key": "day", "continuous_covariate_keys": ["age"]}
    cells = make_gan(stored, latent_key="Z", fit={"max_epochs": 0}, **keys).generate(30, labels={"leiden": 2})
    sources = stored.obs.loc[cells.obs["michigan_source"]]
    for key in ("leiden", "day", "age"):
        np.testing.assert_array_equal(cells.obs[key], sources[key])
    assert "quality" not in cells.obs, "what was measured on the source cell is not of the generated one"
