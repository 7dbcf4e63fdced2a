import numpy as np
import pandas as pd
import pytest
import scvi

from scmichigan import MichiGAN, _keys
from scmichigan.model import PPCA, BetaTCVAE

FIT = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "batch_size": 64}
SMALL = {"n_latent": 3, "n_hidden": 16}


def _scvi(adata):
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    return scvi.model.SCVI(adata, **SMALL)


def _scanvi(adata):
    scvi.model.SCANVI.setup_anndata(adata, labels_key="cell_type", unlabeled_category="type A", batch_key="batch")
    return scvi.model.SCANVI(adata, **SMALL)


def _linear(adata):
    scvi.model.LinearSCVI.setup_anndata(adata)
    return scvi.model.LinearSCVI(adata, **SMALL)


def _autozi(adata):
    scvi.model.AUTOZI.setup_anndata(adata)
    return scvi.model.AUTOZI(adata, **SMALL)


def _peakvi(adata):
    scvi.model.PEAKVI.setup_anndata(adata)
    return scvi.model.PEAKVI(adata, **SMALL)


def _totalvi(adata):
    adata.obsm["protein"] = np.random.default_rng(0).poisson(5, (adata.n_obs, 4))
    scvi.model.TOTALVI.setup_anndata(adata, protein_expression_obsm_key="protein")
    return scvi.model.TOTALVI(adata, n_latent=3, empirical_protein_background_prior=False)


def _drvi(adata):
    if not hasattr(scvi.external, "DRVI"):
        pytest.skip("DRVI came with scvi-tools 1.5")
    scvi.external.DRVI.setup_anndata(adata, batch_key="batch")
    return scvi.external.DRVI(adata, n_latent=4, n_hidden=16)


def _beta_tcvae(adata):
    BetaTCVAE.setup_anndata(adata, batch_key="batch", size_factor_key="total_counts")
    return BetaTCVAE(adata, n_latent=3, hidden=(16, 8))


def _ppca(adata):
    PPCA.setup_anndata(adata, size_factor_key="total_counts")
    return PPCA(adata, n_latent=3)


MODELS = {
    make.__name__[1:]: make for make in (_scvi, _scanvi, _linear, _autozi, _peakvi, _totalvi, _drvi, _beta_tcvae, _ppca)
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")  # of the trained models; ours are errors in every other test
def test_models(counts, small, tmp_path, name):
    held_out = counts[200:].copy()
    adata = counts[:200].copy()
    latent_model = MODELS[name](adata)
    latent_model.train(**({} if name == "ppca" else FIT))
    if name == "totalvi":
        held_out.obsm["protein"] = np.tile([1, 2, 3, 4], (held_out.n_obs, 1))
    mean, var = latent_model.get_latent_representation(return_dist=True)
    of_held_out = latent_model.get_latent_representation(held_out)

    model = MichiGAN.from_latent_model(latent_model, **small.gan)
    np.testing.assert_allclose(model.get_latent_representation(return_dist=True), [mean, var], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(adata.obsm[_keys.LATENT], mean, rtol=1e-4, atol=1e-5)
    assert adata.uns[_keys.LATENT] == {"model": type(latent_model).__name__, "variance": _keys.LATENT_VAR}
    args = latent_model.registry["setup_args"]
    for key in ("layer", "batch_key", "labels_key", "size_factor_key"):
        assert model.registry["setup_args"][key] == args.get(key)
    model.train(**small.gan_fit)
    assert model.generate(20).layers["counts"].shape == (20, adata.n_vars)
    # another registration of the same cells has not harmed the latent model
    np.testing.assert_allclose(latent_model.get_latent_representation(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.get_latent_representation(held_out), of_held_out, rtol=1e-4, atol=1e-5)

    model.save(tmp_path / "model")
    loaded = MichiGAN.load(tmp_path / "model", adata)
    assert type(loaded.latent_model) is type(latent_model)
    np.testing.assert_allclose(loaded.get_latent_representation(held_out), of_held_out, rtol=1e-4, atol=1e-5)
    made = model.generate(20, seed=1).X
    np.testing.assert_array_equal(loaded.generate(20, seed=1).X, made)

    # with cells as they were before any latent was stored, as they are read from their file again
    again = counts[:200].copy()
    if name == "totalvi":
        again.obsm["protein"] = adata.obsm["protein"]
    loaded = MichiGAN.load(tmp_path / "model", again)
    for key in (_keys.LATENT, _keys.LATENT_VAR):
        np.testing.assert_allclose(again.obsm[key], adata.obsm[key], rtol=1e-4, atol=1e-5)
    assert loaded.generate(20, seed=1).shape == made.shape


def test_setup_and_settings_can_differ(counts):
    model = _ppca(counts)
    model.train()
    gan = MichiGAN.from_latent_model(model, setup_kwargs={"size_factor_key": None, "batch_key": "batch"}, n_noise=7)
    assert gan.registry["setup_args"]["size_factor_key"] is None
    assert gan.module.inputs.n_levels["n_batch"] == 2
    assert gan.module.n_noise == 7


def test_the_latent_is_taken_as_it_is(counts):
    model = _ppca(counts)
    model.train()
    with pytest.raises(ValueError, match="n_latent cannot be chosen: the latent is that of the PPCA as it is"):
        MichiGAN.from_latent_model(model, n_latent=9)


@pytest.mark.filterwarnings("ignore")  # of the trained model
def test_cells_of_a_new_batch_are_refused_with_the_column(counts, small, tmp_path):
    seen, new = counts[:200].copy(), counts[200:].copy()
    vae = _scvi(seen)
    vae.train(**FIT)
    model = MichiGAN.from_latent_model(vae, **small.gan)
    model.train(max_epochs=0)
    model.save(tmp_path / "model")
    new.obs["batch"] = "another"
    for use in (
        model.get_latent_representation,
        lambda cells: MichiGAN.load(tmp_path / "model", cells, accelerator="cpu"),
    ):
        with pytest.raises(ValueError, match=r"SCVI was trained without a level .*another.* give .* obs\['batch'\]"):
            use(new)


def test_what_is_no_trained_model_is_refused(counts):
    with pytest.raises(ValueError, match="latent_model is a str; give a model of scvi-tools"):
        MichiGAN.from_latent_model("scvi")
    with pytest.raises(RuntimeError, match=r"untrained PPCA; call its train\(\) first"):
        MichiGAN.from_latent_model(_ppca(counts))


def test_other_genes_are_refused_by_the_latent_model_too(counts, small, tmp_path):
    model = _scvi(counts)
    model.train(**FIT)
    gan = MichiGAN.from_latent_model(model, **small.gan)
    gan.train(max_epochs=0)
    for cells in (counts[:10, ::-1].copy(), counts[:10, [*range(1, counts.n_vars), 0]].copy()):
        with pytest.raises(ValueError, match="they differ: take them in the model's order"):
            gan.get_latent_representation(cells)
    gan.save(str(tmp_path / "gan"))
    fewer = counts[:, 1:].copy()
    del fewer.obsm[_keys.LATENT]
    with pytest.raises(
        ValueError, match=f"they differ: 1 of its genes are missing, the first is '{counts.var_names[0]}'"
    ):
        MichiGAN.load(str(tmp_path / "gan"), fewer)


def test_a_latent_that_is_not_finite_is_refused_and_nothing_stored(counts, monkeypatch):
    model = _scvi(counts)
    model.train(**FIT)
    mean, var = model.get_latent_representation(return_dist=True)
    mean[[3, 7], 1] = np.nan
    monkeypatch.setattr(
        model, "get_latent_representation", lambda adata=None, indices=None, return_dist=True: (mean, var)
    )
    first = counts.obs_names[3]
    with pytest.raises(
        ValueError, match=f"the latent of the SCVI is not finite in 2 of 240 cells, the first is '{first}'"
    ):
        MichiGAN.from_latent_model(model)
    assert _keys.LATENT not in counts.obsm


def test_classes_are_not_imported_for_a_file(counts, small, tmp_path, monkeypatch):
    latent_model = _ppca(counts)
    latent_model.train()
    model = MichiGAN.from_latent_model(latent_model, **small.gan)
    model.train(**small.gan_fit)
    model.save(tmp_path / "model")
    monkeypatch.setattr("scmichigan.latents._model._PACKAGES", ("scvi.model",))
    with pytest.raises(ValueError, match="the latent model is a PPCA, which none of scvi.model has"):
        MichiGAN.load(tmp_path / "model", counts)


@pytest.mark.filterwarnings("ignore")  # of the trained model
def test_latents_of_new_cells_are_stored_where_a_method_needs_them(counts):
    seen, new = counts[:200].copy(), counts[200:].copy()
    vae = _scvi(seen)
    vae.train(**FIT)
    model = MichiGAN.from_latent_model(vae, setup_kwargs={"size_factor_key": "total_counts"})
    model.train(max_epochs=0)
    x = model.get_observed_expression(new)
    totals = new.obs["total_counts"].to_numpy()[:, None]
    np.testing.assert_allclose(x.toarray(), np.log1p(new.X.toarray() * 1e4 / totals), rtol=1e-5)
    assert not new.obsm, "expression needs no latent"
    assert model.latent_recovery(new)["generated"].notna().all()
    mean, var = vae.get_latent_representation(new, return_dist=True)
    np.testing.assert_allclose(new.obsm["X_michigan"], mean, atol=1e-5)
    np.testing.assert_allclose(new.obsm["X_michigan_var"], var, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of the trained model
@pytest.mark.parametrize("kept", ["latent_posterior_parameters", "latent_posterior_parameters_with_counts"])
def test_minified_cells_are_refused_with_a_cure_that_works(counts, kept):
    vae = _scvi(counts)
    vae.train(**FIT)
    mean, var = vae.get_latent_representation(return_dist=True)
    counts.obsm["X_latent_qzm"], counts.obsm["X_latent_qzv"] = mean, var
    vae.minify_adata(kept)
    with pytest.raises(ValueError, match=f"minified by scvi-tools \\({kept}\\)") as caught:
        MichiGAN.from_latent_model(vae)
    if kept.endswith("with_counts"):
        cells = vae.adata.copy()
        del cells.uns[caught.value.args[0].split("uns['")[1].split("'")[0]]
        MichiGAN.setup_anndata(cells, latent_key="scvi_latent_qzm", latent_var_key="scvi_latent_qzv")
        model = MichiGAN(cells)
        model.train(max_epochs=0)
        np.testing.assert_allclose(model.get_latent_representation(return_dist=True), [mean, var], rtol=1e-4, atol=1e-5)


def test_models_of_the_same_cells_keep_their_own_latents(counts, small, tmp_path):
    models, latents = [], []
    for seed in range(2):
        scvi.settings.seed = seed
        vae = _scvi(counts)
        vae.train(**FIT)
        model = MichiGAN.from_latent_model(vae, **small.gan)
        model.train(max_epochs=0)
        model.save(tmp_path / str(seed))
        models.append(model)
        latents.append(vae.get_latent_representation())
    assert np.abs(latents[0] - latents[1]).max() > 0.01
    cells = counts.copy()  # with the latents of the second in obsm
    for seed, (model, latent) in enumerate(zip(models, latents, strict=True)):
        loaded = MichiGAN.load(tmp_path / str(seed), cells, accelerator="cpu")
        for one in (model, loaded):
            np.testing.assert_allclose(one.get_latent_representation(), latent, atol=1e-5)
            np.testing.assert_allclose(one.get_latent_representation(indices=[5, 2]), latent[[5, 2]], atol=1e-5)
        made = [one.generate(20, seed=0).layers["counts"].toarray() for one in (model, loaded)]
        np.testing.assert_array_equal(*made)
    np.testing.assert_array_equal(cells.obsm["X_michigan"], latents[1])
    cells.obsm["X_michigan"] = latents[1][:, :2]
    with pytest.raises(ValueError, match=r"obsm\['X_michigan'\] has 2 columns, the latent of the saved model 3"):
        MichiGAN.load(tmp_path / "0", cells, accelerator="cpu")


def test_cells_that_are_refused_keep_no_latents(counts, small, tmp_path):
    vae = _beta_tcvae(counts)
    vae.train(**FIT)
    model = MichiGAN.from_latent_model(vae, **small.gan)
    model.train(max_epochs=0)
    model.save(tmp_path / "model")
    new = counts.copy()
    del new.obsm
    right = new.X
    new.X = right.log1p()
    for refuse in (model.latent_recovery, lambda cells: MichiGAN.load(tmp_path / "model", cells, accelerator="cpu")):
        with pytest.raises(ValueError, match="log-normalised values"):
            refuse(new)
        assert not new.obsm
    new.X = right
    loaded = MichiGAN.load(tmp_path / "model", new, accelerator="cpu")
    np.testing.assert_allclose(loaded.get_latent_representation(), model.get_latent_representation(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of the trained model
@pytest.mark.parametrize("name", ["scvi", "beta-TCVAE"])
def test_a_latent_model_that_is_trained_further_stays_as_it_was_for_the_generator(counts, small, tmp_path, name):
    adata = counts[:200].copy()
    latent_model = (_scvi if name == "scvi" else _beta_tcvae)(adata)
    latent_model.train(**FIT)
    model = MichiGAN.from_latent_model(latent_model, **small.gan)
    model.train(max_epochs=0)
    before, latent_recovery = model.get_latent_representation(adata.copy()), model.latent_recovery()
    latent_model.train(**FIT | {"max_epochs": 5})
    assert not np.allclose(latent_model.get_latent_representation(), before, atol=1e-3)
    np.testing.assert_allclose(model.get_latent_representation(adata.copy()), before, atol=1e-5)
    pd.testing.assert_frame_equal(model.latent_recovery(), latent_recovery)
    model.save(tmp_path / "model")
    loaded = MichiGAN.load(tmp_path / "model", adata, accelerator="cpu")
    np.testing.assert_allclose(loaded.generate(20).obsm[_keys.LATENT], model.generate(20).obsm[_keys.LATENT], atol=1e-5)
