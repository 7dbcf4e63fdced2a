import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch

from scmichigan import BetaTCVAE, MichiGAN

TARGET = {"cell_type": "type B", "condition": "drug 1"}
PAPER = {"preset": "paper"}
# How each model gets its latent: arguments of setup_anndata.
LATENTS = {
    "stored means": {"latent_key": "Z"},
    "stored means and variances": {"latent_key": "Z", "latent_var_key": "V"},
    "its own": {},
}


def _dense(x):
    return x.toarray() if sp.issparse(x) else x


def _normalized(x, totals, target_sum=1e4):
    return np.log1p(target_sum * _dense(x).astype(np.float64) / np.asarray(totals, dtype=np.float64).reshape(-1, 1))


def _without(adata, target):
    seen = np.ones(adata.n_obs, dtype=bool)
    for key, label in target.items():
        seen &= (adata.obs[key] == label).to_numpy()
    return adata[~seen].copy()


def test_setup_with_everything(stored, make_gan):
    stored.layers["raw"] = stored.X.copy()
    stored.X = sp.csr_matrix(np.ones(stored.shape, np.float32))
    stored.obs["total"] = 2 * stored.obs["total_counts"]
    model = make_gan(
        stored,
        layer="raw",
        batch_key="batch",
        labels_key="cell_type",
        size_factor_key="total",
        categorical_covariate_keys=["condition"],
        continuous_covariate_keys=["pseudotime", "response"],
    )
    expected = _normalized(stored.layers["raw"], stored.obs["total"])
    np.testing.assert_allclose(_dense(model.get_observed_expression()), expected, rtol=1e-5)
    # three latents, two batches, three conditions, two numbers; a centre for every 15 of 240 cells
    assert model.module.generator.basis.scale.shape == (3 + 2 + 3 + 2,)
    assert model.module.generator.decoder.in_features == 3 + 2 + 3 + 2 + 16
    assert model.module.critic.projection.in_features == 3 + 2 + 3 + 2
    assert np.isfinite(model.generate(20).X).all()
    # its beta-TCVAE is registered in the same way
    for key in ("layer", "batch_key", "size_factor_key", "categorical_covariate_keys", "continuous_covariate_keys"):
        assert model.latent_model.registry["setup_args"][key] == model.registry["setup_args"][key]


def test_generated_cells_have_the_covariates_of_their_source(stored, make_gan):
    init = {"observation": "log_normalized", "output_activation": None}
    model = make_gan(stored, batch_key="batch", latent_key="Z", init=init)
    generator = model.module.averaged_generator.module
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.zero_()
        generator.decoder.weight[:, 3:] = torch.tensor([10.0, 20.0]) / generator.condition_scale[3:]
        generator.decoder.bias += generator.decoder.weight @ (generator.condition_mean * generator.condition_scale)
    cells = model.generate(50)
    source = stored.obs.loc[cells.obs["michigan_source"]]
    np.testing.assert_allclose(cells.X[:, 0], 10.0 * (1 + source["batch"].cat.codes), rtol=1e-5)
    np.testing.assert_array_equal(cells.obsm["X_michigan"], stored[source.index].obsm["Z"])


def test_units_of_latents_and_covariates_do_not_matter(stored, make_gan):
    outputs = []
    for scale, mean in ((1.0, 0.0), (1e4, 3e4)):
        adata = stored.copy()
        adata.obsm["Z"] = np.float32(scale) * stored.obsm["Z"] + np.float32(mean)
        adata.obs["pseudotime"] = scale * stored.obs["pseudotime"] + mean
        scvi.settings.seed = 0
        model = make_gan(adata, latent_key="Z", continuous_covariate_keys=["pseudotime"], fit={"max_epochs": 5})
        noise = torch.ones(20, model.module.n_noise)
        outputs.append(model._render(adata.obsm["Z"][:20], np.arange(20), noise))
    # A latent of deviation 1e4 around 3e4 has lost one of the seven digits of single precision, and Adam's steps, of the
    # same size for small gradients, make more of it: 0.09. In units as they are, rates are several hundred times off.
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=0.3)
    assert np.ptp(np.log(outputs[0]), axis=0).max() > 0.5


def test_the_published_networks_are_not_given_any_unit_in_silence(stored, make_gan):
    stored.obsm["Z"] = 100 * stored.obsm["Z"]
    with pytest.warns(
        UserWarning, match=r"latent \d has the mean .* and the standard deviation .*: standardise the latent"
    ):
        make_gan(stored, latent_key="Z", init={"preset": "paper"}, fit={"max_epochs": 1})


@pytest.mark.parametrize("layer", [None, "logged"])
def test_one_small_and_one_large_unit_leave_the_closed_form_as_it_is(stored, make_gan, layer):
    stored.layers["logged"] = stored.X.log1p()
    weights, latent_recovery = [], []
    for unit in (np.ones(3), np.array([1e-7, 1.0, 1e7])):
        adata = stored.copy()
        adata.obsm["Z"] = (unit * stored.obsm["Z"]).astype(np.float32)
        model = make_gan(adata, latent_key="Z", layer=layer, batch_key="batch", fit={"max_epochs": 0})
        weights.append(model.module.covariate_weight.numpy())
        latent_recovery.append(model.latent_recovery()["generated"].to_numpy())
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-3 * np.abs(weights[0]).max())
    np.testing.assert_allclose(latent_recovery[1], latent_recovery[0], atol=0.02)


def test_a_latent_that_does_not_vary_is_not_scaled_by_its_rounding(stored, make_gan):
    stored.obsm["Z"][:, 2] = 0.1
    model = make_gan(stored, latent_key="Z", fit={"max_epochs": 2})
    other = stored.obsm["Z"] + np.array([0, 0, 0.5], dtype=np.float32)
    means = [np.asarray(model.generate(latent=z).X).mean(axis=0) for z in (stored.obsm["Z"], other)]
    assert np.corrcoef(means)[0, 1] > 0.95


def test_the_unit_of_a_covariate_does_not_matter_to_the_latent(counts, make_vae):
    latents = []
    for scale, mean in ((1.0, 0.0), (1e4, 3e4)):
        adata = counts.copy()
        adata.obs["pseudotime"] = scale * counts.obs["pseudotime"] + mean
        scvi.settings.seed = 0
        latents.append(make_vae(adata, continuous_covariate_keys=["pseudotime"]).get_latent_representation())
    # For the same reason; 0.003, and 0.16 in units as they are.
    np.testing.assert_allclose(latents[1], latents[0], atol=0.03)


def test_latent_is_drawn_from_the_posterior(stored, make_gan):
    model = make_gan(stored, latent_key="Z", latent_var_key="V")
    cells = model.generate(2000)
    source = stored[cells.obs["michigan_source"]]
    standardised = (cells.obsm["X_michigan"] - source.obsm["Z"]) / np.sqrt(source.obsm["V"])
    n = standardised.size
    assert abs(standardised.mean()) < 5 / np.sqrt(n)
    assert abs((standardised**2).mean() - 1) < 5 * np.sqrt(2 / n)
    means = make_gan(stored.copy(), latent_key="Z", latent_var_key="V", init={"latent_sampling": "mean"}).generate(50)
    np.testing.assert_array_equal(means.obsm["X_michigan"], stored[means.obs["michigan_source"]].obsm["Z"])


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, _dense])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_forms_of_expression(stored, make_gan, form, dtype):
    expected = _normalized(stored.X, stored.obs["total_counts"])
    stored.X = form(stored.X.astype(dtype))
    model = make_gan(stored, latent_key="Z", fit={"max_epochs": 1})
    np.testing.assert_allclose(_dense(model.get_observed_expression()), expected, rtol=1e-6)


def test_expression_of_other_cells_needs_no_latent(stored, make_gan):
    model = make_gan(stored.copy(), latent_key="Z", latent_var_key="V", fit={"max_epochs": 1})
    del stored.obsm["Z"], stored.obsm["V"]
    for other in (stored, stored[:50]):
        expected = _normalized(other.X, other.obs["total_counts"])
        np.testing.assert_allclose(_dense(model.get_observed_expression(other)), expected, rtol=1e-6)
        assert not other.obsm
    assert other.is_view


@pytest.mark.parametrize("latent", LATENTS.values(), ids=LATENTS)
def test_counts_and_the_same_cells_normalised_beforehand(stored, make_gan, latent):
    logged = stored.copy()
    logged.X = sp.csr_matrix(_normalized(stored.X, stored.obs["total_counts"]), dtype=np.float32)
    models = []
    for adata, totals in ((stored, {"size_factor_key": "total_counts"}), (logged, {})):
        scvi.settings.seed = 0
        models.append(make_gan(adata, **latent, **totals, init={"observation": "log_normalized"}))
    assert [m.registry["setup_args"]["expression"] for m in models] == ["counts", "log_normalized"]
    first, second = (_dense(m.get_observed_expression()) for m in models)
    np.testing.assert_allclose(first, second, rtol=1e-6)
    first, second = (m.get_latent_representation() for m in models)
    # Adam's first steps have the size of the learning rate, 1e-3, even where rounding decides their sign, which moves single
    # cells by up to 0.03, depending on the processor ...
    np.testing.assert_allclose(first, second, atol=0 if latent else 5e-2)
    assert all(np.corrcoef(one, other)[0, 1] > 0.999 for one, other in zip(first.T, second.T, strict=True))
    if not latent:  # ... and with the same weights only that of one forward pass is left
        of_counts, of_logged = (m.latent_model for m in models)
        of_logged.module.load_state_dict(of_counts.module.state_dict())
        np.testing.assert_allclose(of_logged.get_latent_representation(), first, atol=1e-5)


def test_views(stored, make_gan):
    half = stored[::2]
    with pytest.raises(ValueError, match=r"adata = adata.copy\(\)"):  # scvi-tools' own
        MichiGAN.setup_anndata(half, latent_key="Z")
    model = make_gan(half.copy(), latent_key="Z", latent_var_key="V", fit={"batch_size": 32})
    mean, var = model.get_latent_representation(stored[1::2].copy(), return_dist=True)
    np.testing.assert_array_equal(mean, stored.obsm["Z"][1::2])
    np.testing.assert_array_equal(var, stored.obsm["V"][1::2])
    rows = [3, 1, 100]
    np.testing.assert_array_equal(model.get_latent_representation(indices=rows), stored.obsm["Z"][::2][rows])


def test_stored_latent_may_be_a_frame(stored, make_gan):
    z = stored.obsm["Z"].copy()
    stored.obsm["Z"] = pd.DataFrame(z, index=stored.obs_names, columns=["a", "b", "c"])
    model = make_gan(stored, latent_key="Z")
    np.testing.assert_array_equal(model.get_latent_representation(), z)
    mean, var = model.get_latent_representation(return_dist=True)
    assert var is None
    assert model.n_latent == 3


def test_latents_of_its_own(counts, make_gan):
    model = make_gan(counts)
    mean, var = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(counts.obsm["X_michigan"], mean, atol=1e-6)
    np.testing.assert_allclose(counts.obsm["X_michigan_var"], var, atol=1e-6)
    assert counts.uns["X_michigan"] == {"model": "BetaTCVAE", "beta": 10.0, "variance": "X_michigan_var"}
    np.testing.assert_allclose(model.latent_model.get_latent_representation(), mean, atol=1e-6)


KEYS = ["critic_loss", "generator_loss", "gradient_penalty", "score_gap"]


def test_history_and_training_again(counts, make_gan, small):
    model = make_gan(counts, fit={"max_epochs": 3}, init={"loss": "wgan-gp"})
    for key in KEYS:
        assert model.history[key].shape == (3, 1), key
        assert np.isfinite(model.history[key].to_numpy(dtype=float)).all()
    of = {key: model.history[key].to_numpy(dtype=float) for key in KEYS}
    expected = -of["score_gap"] + 10 * of["gradient_penalty"]
    np.testing.assert_allclose(of["critic_loss"], expected, rtol=1e-4, atol=1e-5)
    latent_model, latents = model.latent_model, counts.obsm["X_michigan"].copy()
    n_latent_epochs = len(latent_model.history["elbo_train"])
    condition, noise = torch.randn(20, 3), torch.randn(20, 5)
    before = model.module.sample(condition, noise).log()
    model.train(**small.gan_fit)
    for key in KEYS:
        assert len(model.history[key]) == 5
    assert model.latent_model is latent_model
    assert len(latent_model.history["elbo_train"]) == n_latent_epochs
    np.testing.assert_array_equal(counts.obsm["X_michigan"], latents)
    # it went on from where it was, rather than from the closed form: 3 steps of 2e-4 change log rates little
    assert 0 < (model.module.sample(condition, noise).log() - before).abs().max() < 0.1


def test_seed_fixes_training(stored, make_gan):
    cells = []
    for seed in (3, 3, 4):
        scvi.settings.seed = seed
        cells.append(make_gan(stored.copy()).generate(20).X)
    np.testing.assert_array_equal(cells[0], cells[1])
    assert (cells[0] != cells[2]).any()


def test_batch_size_holds_for_both_stages(counts, make_gan):
    few = counts[:100].copy()
    model = make_gan(few, fit={"batch_size": 20})
    assert model.is_trained
    assert model.latent_model.is_trained


@pytest.mark.parametrize("latent", LATENTS.values(), ids=LATENTS)
def test_generate(stored, make_gan, latent):
    model = make_gan(stored, labels_key="cell_type", **latent)
    state = torch.random.get_rng_state()
    cells = model.generate(30, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert cells.shape == (30, 40)
    assert cells.X.dtype == np.float32
    assert (cells.X >= 0).all()
    assert list(cells.var_names) == list(stored.var_names)
    assert list(cells.obs) == ["cell_type", "condition", "batch", "michigan_source", "total_counts"]
    source = stored.obs.loc[cells.obs["michigan_source"]]
    for key in ("cell_type", "condition", "batch"):
        assert list(cells.obs[key]) == list(source[key])
    assert cells.obsm["X_michigan"].shape == (30, 3)
    key = latent.get("latent_key", "X_michigan")
    assert cells.uns["michigan"] == {"model": "MichiGAN", "latent": key, "seed": 1}
    np.testing.assert_array_equal(model.generate(30, seed=1).X, cells.X)
    assert (model.generate(30, seed=2).X != cells.X).any()
    only = model.generate(30, labels=TARGET)
    assert (only.obs[list(TARGET)] == list(TARGET.values())).all(axis=None)


def test_generate_from_given_latents(stored, make_gan):
    model = make_gan(stored, latent_key="Z", batch_key="batch")
    z = np.repeat([[0.0, 1, 0], [2, 0, 0]], 4, axis=0)
    cells = model.generate(latent=z, seed=1)
    np.testing.assert_array_equal(cells.obsm["X_michigan"], z)
    assert list(cells.obs) == ["batch", "total_counts"]  # the batch that each was rendered in
    np.testing.assert_array_equal(model.generate(latent=z, seed=1).X, cells.X)
    # fresh noise for each
    assert len(np.unique(cells.X, axis=0)) == 8


def test_generated_cells_can_be_written_and_read(stored, make_gan, tmp_path):
    model = make_gan(_without(stored, TARGET), latent_key="Z")
    for i, cells in enumerate((model.generate(10), model.predict_combination(TARGET), model.adata)):
        cells.write_h5ad(tmp_path / f"{i}.h5ad")
        read = anndata.read_h5ad(tmp_path / f"{i}.h5ad")
        np.testing.assert_array_equal(_dense(read.X), _dense(cells.X))
        assert read.uns.keys() == cells.uns.keys()


def test_outputs(stored, make_gan):
    init = {"observation": "log_normalized"}
    identity, softplus, relu = (
        make_gan(stored.copy(), latent_key="Z", init=init | {"output_activation": f}).generate(200).X
        for f in (None, "softplus", "relu")
    )
    assert identity.min() < 0 < softplus.min()
    assert relu.min() == 0


@pytest.mark.parametrize("latent", LATENTS.values(), ids=LATENTS)
def test_the_papers_generator(stored, make_gan, latent):
    model = make_gan(stored, **latent, init=PAPER)
    module = model.module
    assert not module.makes_counts
    assert module.settings.loss == "wgan-gp"
    assert (module.penalty_weight, module.n_noise, module.scale_inputs) == (10, 5, False)
    assert module.generator.decoder is module.generator.noise is module.averaged_generator is None
    assert {type(m).__name__ for m in module.critic.body} == {"Linear", "ReferenceBatchNorm", "LeakyReLU"}
    assert {type(m).__name__ for m in module.generator.network[0]} == {"Linear", "BatchNorm1d", "LeakyReLU", "Dropout"}
    cells = model.generate(30)
    assert np.isfinite(cells.X).all()
    assert not cells.layers
    # batch norm and dropout are off: a cell does not depend on the others
    condition = torch.tensor(cells.obsm["X_michigan"])
    noise = torch.randn(30, module.n_noise)
    torch.testing.assert_close(module.sample(condition, noise)[:1], module.sample(condition[:1], noise[:1]))
    for key in KEYS:
        assert np.isfinite(model.history[key].to_numpy(dtype=float)).all()


SAVED = {
    "own, samples": ({}, {}),
    "own, means": ({}, {"latent_sampling": "mean"}),
    "stored, samples": ({"latent_key": "Z", "latent_var_key": "V"}, {}),
    "stored, means": ({"latent_key": "Z", "latent_var_key": "V"}, {"latent_sampling": "mean"}),
    "the paper's": ({"latent_key": "Z"}, PAPER),
}


@pytest.mark.parametrize(("latent", "init"), SAVED.values(), ids=SAVED)
def test_save_and_load(stored, make_gan, small, tmp_path, latent, init):
    fresh = stored.copy()
    model = make_gan(stored, batch_key="batch", size_factor_key="total_counts", **latent, init=init)
    model.save(str(tmp_path / "alone"))
    model.save(str(tmp_path / "with cells"), save_anndata=True)
    model.save(str(tmp_path / "alone"), overwrite=True, prefix="second_")
    for loaded in (
        MichiGAN.load(str(tmp_path / "alone"), stored, accelerator="cpu"),
        MichiGAN.load(str(tmp_path / "alone"), fresh, accelerator="cpu"),
        MichiGAN.load(str(tmp_path / "alone"), fresh.copy(), accelerator="cpu", prefix="second_"),
        MichiGAN.load(str(tmp_path / "with cells"), accelerator="cpu"),
    ):
        assert loaded.is_trained
        assert loaded.latent_sampling == model.latent_sampling
        assert loaded.n_latent == 3
        assert (loaded.latent_model is None) == bool(latent)
        np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
        mine, its = model.generate(30, seed=3), loaded.generate(30, seed=3)
        np.testing.assert_array_equal(its.X, mine.X)
        np.testing.assert_array_equal(its.obsm["X_michigan"], mine.obsm["X_michigan"])
        assert its.obs.equals(mine.obs)
        assert its.uns == mine.uns
        assert loaded.history["critic_loss"].equals(model.history["critic_loss"])
    # the loaded one can go on
    latent_model = loaded.latent_model
    loaded.train(**small.gan_fit)
    assert len(loaded.history["critic_loss"]) == 4
    assert loaded.latent_model is latent_model


def test_models_side_by_side(counts, make_gan, make_vae):
    # The registration of one must not leak into the other.
    gan = make_gan(counts, batch_key="batch")
    cells, latents = gan.generate(10).X, gan.get_latent_representation()
    vae = make_vae(counts)
    np.testing.assert_array_equal(gan.generate(10).X, cells)
    np.testing.assert_array_equal(gan.get_latent_representation(), latents)
    assert vae.module.inputs.n_columns == 0


def test_latent_of_a_beta_tcvae_that_was_trained_before(counts, make_gan, make_vae):
    vae = make_vae(counts)
    counts.obsm["mean"], counts.obsm["var"] = vae.get_latent_representation(return_dist=True)
    model = make_gan(counts, latent_key="mean", latent_var_key="var")
    assert model.latent_model is None
    np.testing.assert_array_equal(model.get_latent_representation(), counts.obsm["mean"])
    assert isinstance(vae, BetaTCVAE)


# -- predict_combination ------------------------------------------------------


def _additive(counts, target):
    """Latents that are a sum of two factors, and those of the target."""
    factors = {
        "cell_type": {"type A": [0, 0, 0], "type B": [3, 1, 0], "type C": [-2, 0, 5]},
        "condition": {"control": [0, 0, 0], "drug 1": [1, -4, 2], "drug 2": [0, 2, 7]},
    }
    parts = [np.stack([np.array(table[label]) for label in counts.obs[key]]) for key, table in factors.items()]
    counts.obsm["Z"] = sum(parts).astype(np.float32)
    return sum(np.array(factors[key][label]) for key, label in target.items())


@pytest.mark.parametrize("along", ["cell_type", "condition", None])
def test_additive_latents_are_predicted_exactly(counts, make_gan, along):
    truth = _additive(counts, TARGET)
    adata = _without(counts, TARGET)
    model = make_gan(adata, latent_key="Z")
    cells = model.predict_combination(TARGET, along=along, method="additive")
    np.testing.assert_allclose(cells.obsm["X_michigan"], np.tile(truth, (len(cells), 1)), atol=1e-5)
    written = adata.obsm["X_michigan_predicted"]
    used = ~np.isnan(written).any(axis=1)
    np.testing.assert_allclose(written[used], np.tile(truth, (used.sum(), 1)), atol=1e-5)
    assert used.sum() == len(cells)


@pytest.mark.parametrize("latent", LATENTS.values(), ids=LATENTS)
@pytest.mark.parametrize("along", ["cell_type", "condition"])
def test_predict_combination(stored, make_gan, along, latent):
    adata = _without(stored, TARGET)
    model = make_gan(adata, **latent)
    cells = model.predict_combination(TARGET, along=along, method="additive", seed=2)

    other = {"cell_type": "condition", "condition": "cell_type"}[along]
    z = pd.DataFrame(model.get_latent_representation(), index=adata.obs_names)
    means = z.groupby([adata.obs[along].astype(str), adata.obs[other].astype(str)]).mean()
    seen = adata.obs[other] == TARGET[other]
    references = sorted(adata.obs.loc[seen, along].unique())
    expected = pd.DataFrame(np.nan, index=adata.obs_names, columns=z.columns)
    contexts = [level for level in adata.obs[other].unique() if level != TARGET[other]]
    for reference in references:
        shift = np.mean([means.loc[TARGET[along], c] - means.loc[reference, c] for c in contexts], axis=0)
        rows = seen & (adata.obs[along] == reference)
        expected[rows] = z[rows] + shift
    written = adata.obsm["X_michigan_predicted"]
    np.testing.assert_allclose(written, expected, atol=1e-5)

    assert len(cells) == seen.sum()
    assert (cells.obs[list(TARGET)] == list(TARGET.values())).all(axis=None)
    source = adata.obs.loc[cells.obs["michigan_source"]]
    assert list(cells.obs["michigan_reference"]) == list(source[along])
    assert set(cells.obs["michigan_reference"]) == set(references)
    assert list(cells.obs["batch"]) == list(source["batch"])
    assert sorted(cells.obs["michigan_source"]) == sorted(adata.obs_names[seen])
    assert (cells.X >= 0).all()
    provenance = {
        "model": "MichiGAN",
        "target": TARGET,
        "along": along,
        "references": references,
        "n_contexts": [2, 2],
        "method": "additive",
        "seed": 2,
        "latent": latent.get("latent_key", "X_michigan"),
    }
    for found in (cells.uns["michigan"], adata.uns["X_michigan_predicted"]):
        table = found["combination_weights"]
        assert {key: value for key, value in found.items() if value is not table} == provenance
        expected_weights = {}
        for reference in references:
            expected_weights[reference, reference, TARGET[other]] = 1
            for context in contexts:
                expected_weights |= {(reference, TARGET[along], context): 0.5, (reference, reference, context): -0.5}
        columns = table[["michigan_reference", along, other]].itertuples(index=False, name=None)
        assert dict(zip(columns, table["weight"], strict=True)) == expected_weights
    at_source = expected.loc[cells.obs["michigan_source"]].to_numpy()
    if latent == {"latent_key": "Z"}:
        np.testing.assert_allclose(cells.obsm["X_michigan"], at_source, atol=1e-5)
    else:
        assert (np.abs(cells.obsm["X_michigan"] - at_source).max(axis=1) > 1e-6).all()


def test_seeds_and_numbers_of_predicted_cells(stored, make_gan):
    adata = _without(stored, TARGET)
    model = make_gan(adata, latent_key="Z", latent_var_key="V")
    first = model.predict_combination(TARGET, seed=1)
    np.testing.assert_array_equal(model.predict_combination(TARGET, seed=1).X, first.X)
    assert (model.predict_combination(TARGET, seed=2).X != first.X).any()
    for n in (1, 7, 501):
        cells = model.predict_combination(TARGET, along="cell_type", n_samples=n, seed=3)
        assert len(cells) == n
        weights = cells.uns["michigan"]["combination_weights"]
        assert set(weights["michigan_reference"]) == {"all"}
        expected = weights[weights["condition"] == "drug 1"].set_index("cell_type")["weight"].clip(lower=0)
        numbers = cells.obs["michigan_reference"].value_counts().reindex(expected.index, fill_value=0)
        # Largest remainders: less than one cell off.
        assert (np.abs(numbers - n * expected / expected.sum()) < 1).all()
    few = model.predict_combination(TARGET, along="cell_type", n_samples=20)
    assert few.obs["michigan_source"].is_unique
    repeats = cells.obs["michigan_source"].value_counts().groupby(lambda name: adata.obs.at[name, "cell_type"])
    assert (repeats.max() - repeats.min() <= 1).all()


def test_references_of_ones_own(stored, make_gan):
    adata = _without(stored, TARGET)
    model = make_gan(adata, latent_key="Z")
    cells = model.predict_combination(TARGET, along="condition", references=["control"])
    assert set(cells.obs["michigan_reference"]) == {"control"}
    used = ~np.isnan(adata.obsm["X_michigan_predicted"]).any(axis=1)
    assert list(used) == list((adata.obs["cell_type"] == "type B") & (adata.obs["condition"] == "control"))


@pytest.mark.parametrize("key", ["cell_type", "condition"])
def test_key_by_default_is_the_one_that_makes_the_smaller_difference(counts, make_gan, key):
    other = {"cell_type": "condition", "condition": "cell_type"}[key]
    x = counts.X.toarray()
    x[np.arange(counts.n_obs), counts.obs[other].cat.codes] += 5000  # a gene for each label: a large difference
    counts.X, counts.obs["total_counts"] = sp.csr_matrix(x), 1e4
    _additive(counts, TARGET)
    adata = _without(counts, TARGET)
    model = make_gan(adata, latent_key="Z", size_factor_key="total_counts", fit={"max_epochs": 0})
    assert model.predict_combination(TARGET).uns["michigan"]["along"] == key


@pytest.mark.parametrize("along", ["cell_type", "condition", "batch", None])
def test_three_keys(counts, make_gan, along):
    target = {**TARGET, "batch": "batch 2"}
    truth = _additive(counts, TARGET) + [0, 0, 3]
    counts.obsm["Z"][(counts.obs["batch"] == "batch 2").to_numpy(), 2] += 3
    adata = _without(counts, target)
    cells = make_gan(adata, latent_key="Z").predict_combination(target, along=along, method="additive")
    np.testing.assert_allclose(cells.obsm["X_michigan"], np.tile(truth, (len(cells), 1)), atol=1e-5)
    assert (cells.obs[list(target)] == list(target.values())).all(axis=None)


def test_cells_without_a_label_take_no_part(counts, make_gan):
    truth = _additive(counts, TARGET)
    adata = _without(counts, TARGET)
    condition = adata.obs["condition"].astype(object).to_numpy().copy()
    condition[:30] = None
    adata.obs["condition"] = pd.Categorical(condition)
    adata.obsm["Z"][:30] = 1000
    model = make_gan(adata, latent_key="Z")
    with pytest.warns(UserWarning, match=r"30 cells have no label in one of \['cell_type', 'condition'\]") as w:
        cells = model.predict_combination(TARGET, method="additive")
    assert w[0].filename == __file__
    np.testing.assert_allclose(cells.obsm["X_michigan"], np.tile(truth, (len(cells), 1)), atol=1e-5)
    assert not set(cells.obs["michigan_source"]) & set(adata.obs_names[:30])
