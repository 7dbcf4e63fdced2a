"""The published GANs as rows of one machine."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData

import scmichigan as mg

STORED = ("CWGANGP", "SemiSupervisedInfoWGANGP")
PRIOR = ("WGANGP", "InfoWGANGP")
EVERY = (*STORED, *PRIOR)


@pytest.fixture
def make(stored, small):
    """Set up and train one of the family, small."""

    def make(name, adata=None, *, fit=None, **init):
        adata, cls = stored if adata is None else adata, getattr(mg, name)
        cls.setup_anndata(adata, **({"latent_key": "Z"} if name in STORED else {}))
        gan = {k: v for k, v in small.gan.items() if not (name == "WGANGP" and k == "n_noise")}
        model = cls(adata, **{"n_latent": 3, **gan, **init})
        model.train(**{**small.gan_fit, **(fit or {})})
        return model

    return make


@pytest.mark.parametrize("name", EVERY)
def test_settings_are_the_published_ones(stored, name):
    cls = getattr(mg, name)
    cls.setup_anndata(stored, **({"latent_key": "Z"} if name in STORED else {}))
    module = cls(stored).module
    widths = [layer.out_features for layer in module.critic.body if isinstance(layer, torch.nn.Linear)]
    assert widths == [1024, 512, 10]
    assert (module.settings.loss, module.penalty_weight, module.makes_counts) == ("wgan-gp", 10, False)
    assert module.generator.decoder is None
    assert module.averaged_generator is None
    # [code, noise] of 10 + 118, or noise alone of 128; the stored latent here has 3 columns
    assert (module.n_latent, module.n_noise) == {"WGANGP": (128, 0), "InfoWGANGP": (10, 118)}.get(name, (3, 118))


@pytest.mark.parametrize("name", EVERY)
def test_calls_are_those_of_michigan(make, name, tmp_path):
    model = make(name)
    cells = model.generate(30, seed=1)
    assert cells.shape == (30, 40)
    assert np.isfinite(cells.X).all()
    assert cells.uns["michigan"]["model"] == name
    assert len(model.history["critic_loss"]) == 2
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", model.adata)
    np.testing.assert_array_equal(loaded.generate(30, seed=1).X, cells.X)
    model.train(max_epochs=1, batch_size=64, accelerator="cpu", enable_progress_bar=False)
    assert len(model.history["critic_loss"]) == 3
    again = model.generate(latent=cells.obsm["X_michigan"], seed=1)
    assert (again.X != cells.X).any()


@pytest.mark.parametrize("name", ["WGANGP", "InfoWGANGP", "SemiSupervisedInfoWGANGP"])
def test_latents_come_from_the_prior(make, name):
    cells = make(name).generate(4000)
    z = cells.obsm["X_michigan"]
    assert cells.uns["michigan"]["latent"] == "prior"
    assert list(cells.obs) == []
    # Five standard errors of a mean and of a variance of 4,000 standard normal values.
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(z.var(axis=0), 1, atol=5 * np.sqrt(2 / 4000))


@pytest.mark.parametrize("name", ["InfoWGANGP", *STORED])
def test_latents_of_cells_on_request(make, name):
    model = make(name)
    cells = model.generate(50, labels={"cell_type": "type B"})
    assert (cells.obs["cell_type"] == "type B").all()
    mean, var = model.get_latent_representation(return_dist=True)
    source = model.adata.obs_names.get_indexer(cells.obs["michigan_source"])
    if name == "InfoWGANGP":
        assert (var == 1).all()
        assert cells.uns["michigan"]["latent"] == "inferred codes"
        np.testing.assert_allclose(model.get_latent_representation(indices=[5, 2]), mean[[5, 2]], rtol=1e-5, atol=1e-6)
    else:
        assert var is None
        np.testing.assert_array_equal(cells.obsm["X_michigan"], mean[source])


def test_noise_has_no_latents_of_cells(make):
    model = make("WGANGP")
    with pytest.raises(ValueError, match="WGANGP knows no latents of cells; leave labels out"):
        model.generate(10, labels={})
    with pytest.raises(ValueError, match="WGANGP generates cells from a prior and knows no latents of cells"):
        model.get_latent_representation()


@pytest.mark.parametrize("name", PRIOR)
def test_batches_are_refused(counts, name):
    with pytest.raises(ValueError, match=f"{name} does not model batches"):
        getattr(mg, name).setup_anndata(counts, batch_key="batch")


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("WGANGP", {"n_noise": 10}),
        ("WGANGP", {"closed_form_start": True}),
        ("InfoWGANGP", {"latent": "stored"}),
        ("CWGANGP", {"critic_head": None}),
        ("CWGANGP", {"information_weight": 1.0}),
        ("MichiGAN", {"information": "both"}),
    ],
)
def test_what_makes_a_row_cannot_be_changed(stored, name, argument):
    cls = getattr(mg, name)
    cls.setup_anndata(stored)
    with pytest.raises(ValueError, match=f"does not know {next(iter(argument))}; its arguments are"):
        cls(stored, **argument)


@pytest.mark.parametrize(
    ("argument", "message"),
    [({"n_latent": 0}, "n_latent is 0"), ({"information_weight": -1.0}, "information_weight is -1.0")],
)
def test_codes_out_of_range(counts, argument, message):
    mg.InfoWGANGP.setup_anndata(counts)
    with pytest.raises(ValueError, match=message):
        mg.InfoWGANGP(counts, **argument)


@pytest.mark.parametrize("name", EVERY)
def test_counts_on_request(make, name):
    cells = make(name, observation="poisson").generate(20)
    counts = cells.layers["counts"].toarray()
    np.testing.assert_array_equal(counts, counts.round())
    assert counts.sum() > 0


def test_all_at_once_leaves_no_closed_form_to_stop_at(counts):
    mg.WGANGP.setup_anndata(counts)
    with pytest.raises(ValueError, match="max_epochs is 0"):
        mg.WGANGP(counts).train(max_epochs=0)


def line(n=600):
    """Cells on a line in log-normalised expression; where each lies on it is known."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 1))
    x = 3 + z * np.array([1.0, -1, 0.5, 0, 0, 0]) + rng.normal(0, 0.1, (n, 6))
    adata = AnnData(np.maximum(x, 0).astype(np.float32))
    adata.obsm["Z"] = z.astype(np.float32)
    return adata


# Small networks without dropout learn the line in seconds.
QUICK = {
    "generator_hidden": (32,),
    "critic_hidden": (32, 8),
    "generator_norm": None,
    "critic_norm": None,
    "dropout": 0.0,
    "n_noise": 2,
}
LONG = {
    "max_epochs": 220,
    "batch_size": 60,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "plan_kwargs": {"n_critic": 2, "lr_generator": 2e-3, "lr_critic": 2e-3, "prediction_step": False},
}


def slope_of_first_gene(model):
    grid = np.linspace(-1.5, 1.5, 300, dtype=np.float32)[:, None]
    x = model.generate(latent=grid).X
    return np.polyfit(grid[:, 0], x[:, 0], 1)[0], np.corrcoef(grid[:, 0], x[:, 0])[0, 1]


@pytest.mark.parametrize("critic_norm", [None, "batch"])
@pytest.mark.parametrize("name", ["MichiGAN", "CWGANGP", "SemiSupervisedInfoWGANGP"])
def test_generators_obey_stored_latents(name, critic_norm):
    adata, cls = line(), getattr(mg, name)
    cls.setup_anndata(adata, latent_key="Z", expression="log_normalized")
    settings = QUICK | {"critic_norm": critic_norm} | ({"preset": "paper"} if name == "MichiGAN" else {})
    model = cls(adata, **settings)
    model.train(**LONG)
    slope, correlation = slope_of_first_gene(model)
    # The true slope is 1; of 300 cells that do not depend on the latent, the correlation is 0 +- 0.06.
    assert correlation > 0.85
    assert slope == pytest.approx(1, abs=0.35)


def test_codes_can_be_inferred_from_the_cells_made_from_them():
    adata = line()
    mg.InfoWGANGP.setup_anndata(adata, expression="log_normalized")
    model = mg.InfoWGANGP(adata, n_latent=1, **QUICK)
    model.train(**LONG)
    cells = model.generate(500)
    inferred = model.get_latent_representation(AnnData(np.maximum(cells.X, 0), var=adata.var))
    assert np.corrcoef(inferred[:, 0], cells.obsm["X_michigan"][:, 0])[0, 1] > 0.8


@pytest.mark.parametrize("critic_norm", [None, "batch"])
def test_cells_from_noise_have_the_mean_of_the_real_ones(critic_norm):
    adata = line()
    mg.WGANGP.setup_anndata(adata, expression="log_normalized")
    quick = {name: value for name, value in QUICK.items() if name != "n_noise"} | {"critic_norm": critic_norm}
    # The players circle around each other; the average of the generator's weights is in the middle.
    model = mg.WGANGP(adata, n_latent=4, average_decay=0.99, **quick)
    model.train(**LONG)
    x = model.generate(1000).X
    # An untrained generator makes values around 0, and all the means are 3.
    np.testing.assert_allclose(x.mean(axis=0), adata.X.mean(axis=0), atol=0.75)


def test_predictions_by_concatenation(make, stored):
    hidden = ((stored.obs["cell_type"] == "type B") & (stored.obs["condition"] == "drug 1")).to_numpy()
    model = make("CWGANGP", stored[~hidden].copy())
    predicted = model.predict_combination({"cell_type": "type B", "condition": "drug 1"}, method="kriging_generator")
    assert predicted.uns["michigan"]["model"] == "CWGANGP"
    assert np.isfinite(predicted.X).all()


def test_sparse_cells_are_encoded_as_dense_ones(make, counts):
    model = make("InfoWGANGP", counts)
    other = counts.copy()
    other.X = counts.X.toarray() if sp.issparse(counts.X) else sp.csr_matrix(counts.X)
    np.testing.assert_allclose(
        model.get_latent_representation(other), model.get_latent_representation(), rtol=1e-4, atol=1e-5
    )
