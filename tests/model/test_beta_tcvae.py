import numpy as np
import pytest
import scipy.sparse as sp
import scvi
import torch

from scmichigan import BetaTCVAE
from scmichigan._arrays import unit_of
from scmichigan.train import ElboTrainingPlan


def _normalized(x, totals, target_sum=1e4):
    x = np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)
    return np.log1p(target_sum * x / np.asarray(totals, dtype=np.float64).reshape(-1, 1))


def _dense(x):
    return x.toarray() if sp.issparse(x) else x


EVERYTHING = {
    "layer": "raw",
    "batch_key": "batch",
    "labels_key": "cell_type",
    "size_factor_key": "total",
    "categorical_covariate_keys": ["condition"],
    "continuous_covariate_keys": ["pseudotime", "response"],
    "target_sum": 1e3,
}


def _with_everything(adata):
    adata.layers["raw"] = adata.X.copy()
    adata.X = sp.csr_matrix(np.ones(adata.shape, np.float32))
    # as if half of the counts were on genes that are not here
    adata.obs["total"] = 2 * adata.obs["total_counts"]
    return adata


def test_setup_with_everything(counts, make_vae):
    model = make_vae(_with_everything(counts), **EVERYTHING)
    np.testing.assert_allclose(
        _dense(model.get_observed_expression()),
        _normalized(counts.layers["raw"], counts.obs["total"], 1e3),
        rtol=1e-5,
    )
    # two batches, three conditions, two numbers
    assert model.module.inputs.n_columns == 2 + 3 + 2
    assert model.get_latent_representation().shape == (240, 3)
    cells = model.generate(20)
    assert np.isfinite(cells.X).all()
    assert "raw counts of adata.layers['raw'], as log1p(1000 * counts / obs['total'])" in model._model_summary_string


def test_weights_of_the_loss_are_looked_at(counts, make_vae):
    with pytest.raises(
        ValueError, match="kl_weight is -1; the weight of the KL divergence must be 0 or more, and finite"
    ):
        make_vae(counts, init={"kl_weight": -1})


def test_columns_that_do_not_vary_have_the_unit_1():
    values = np.column_stack([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [5e6, 7e6, 9e6]])
    mean, deviation = unit_of(values)
    np.testing.assert_allclose(mean, [2.0, 0.0, 0.1, 7e6])
    np.testing.assert_allclose(deviation, [(2 / 3) ** 0.5, 1.0, 1.0, (8 / 3) ** 0.5 * 1e6])


def test_a_covariate_that_does_not_vary_is_not_scaled_by_its_rounding(counts, make_vae):
    counts.obs["dose"] = 0.3
    model = make_vae(counts, continuous_covariate_keys=["dose"])
    torch.testing.assert_close(model.module.inputs.number_scale, torch.ones(1))


def test_a_covariate_without_digits_left_is_refused(counts, make_vae):
    counts.obs["time"] = 1.7e9 + 60 * np.random.default_rng(0).random(counts.n_obs)
    with pytest.raises(
        ValueError, match=r"obs\['time'\] has the mean 1.7e\+09 and the standard deviation 1.*: subtract the mean"
    ):
        make_vae(counts, continuous_covariate_keys=["time"])


def test_generated_cells_have_the_covariates_of_their_source(counts, make_vae):
    model = make_vae(counts, batch_key="batch", continuous_covariate_keys=["pseudotime"])
    cells = model.generate(50, seed=1)
    source = counts.obs.loc[cells.obs["michigan_source"]]
    batch = np.eye(2)[source["batch"].cat.codes]
    number = (source["pseudotime"] - counts.obs["pseudotime"].mean()) / counts.obs["pseudotime"].std(ddof=0)
    z = np.column_stack([cells.obsm["X_michigan"], batch, number])
    with torch.no_grad():
        expected = model.module.decoder(torch.tensor(z, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(cells.X, expected, rtol=1e-5, atol=1e-5)


FORMS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr_array": sp.csr_array,
    "dense": lambda x: x.toarray(),
    "int64": lambda x: x.astype(np.int64),
    "float64": lambda x: x.astype(np.float64),
    "dense int64": lambda x: x.toarray().astype(np.int64),
    "dense float64": lambda x: x.toarray().astype(np.float64),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["counts", "log_normalized"])
def test_forms_of_expression(counts, make_vae, form, kind):
    expected = _normalized(counts.X, counts.obs["total_counts"])
    if kind == "log_normalized":
        if "int64" in form:
            pytest.skip("logarithms are no integers")
        counts.X = sp.csr_matrix(expected)
    counts.X = FORMS[form](counts.X)
    model = make_vae(counts, fit={"max_epochs": 1})
    assert model.registry["setup_args"]["expression"] == kind
    found = model.get_observed_expression()
    assert found.dtype == np.float32
    assert sp.issparse(found) == sp.issparse(counts.X)
    np.testing.assert_allclose(_dense(found), expected, rtol=1e-6)
    # and the networks see the same
    tensors = {"X": torch.tensor(_dense(counts.X), dtype=torch.float32)}
    np.testing.assert_allclose(model.module.inputs.expression(tensors).numpy(), expected, rtol=1e-5)


def test_counts_and_the_same_cells_normalised_beforehand(counts, screen_cells, logged, make_vae):
    raw = screen_cells.copy()
    from_counts = make_vae(raw, size_factor_key="total_counts")
    scvi.settings.seed = 0
    from_logged = make_vae(logged)
    np.testing.assert_allclose(
        _dense(from_counts.get_observed_expression()), _dense(from_logged.get_observed_expression()), rtol=1e-6
    )
    # Adam's first steps have the size of the learning rate, 1e-3, even where rounding decides their sign ...
    expected = from_counts.get_latent_representation()
    np.testing.assert_allclose(from_logged.get_latent_representation(), expected, atol=2e-2)
    # ... and with the same weights only those of one forward pass are left
    from_logged.module.load_state_dict(from_counts.module.state_dict())
    np.testing.assert_allclose(from_logged.get_latent_representation(), expected, atol=1e-5)


def test_seed_fixes_training(screen_cells, make_vae):
    latents = []
    for seed in (3, 3, 4):
        scvi.settings.seed = seed
        latents.append(make_vae(screen_cells.copy()).get_latent_representation())
    np.testing.assert_array_equal(latents[0], latents[1])
    assert np.abs(latents[0] - latents[2]).max() > 1e-2


def test_latents(counts, make_vae):
    model = make_vae(counts)
    mean, var = model.get_latent_representation(return_dist=True)
    assert mean.shape == var.shape == (240, 3)
    assert (var > 0).all()
    np.testing.assert_array_equal(model.get_latent_representation(), mean)
    rows = [5, 2, 200]
    np.testing.assert_allclose(model.get_latent_representation(indices=rows), mean[rows], atol=1e-6)
    np.testing.assert_allclose(model.get_latent_representation(counts[rows].copy()), mean[rows], atol=1e-6)
    z_snk = np.stack([model.get_latent_representation(give_mean=False) for _ in range(40)])
    standardised = (z_snk - mean) / np.sqrt(var)
    n = standardised.size
    assert abs(standardised.mean()) < 5 / np.sqrt(n)
    assert abs((standardised**2).mean() - 1) < 5 * np.sqrt(2 / n)


def test_history(counts, make_vae, small):
    model = make_vae(counts, fit={"max_epochs": 3})
    history = model.history
    parts = ["mutual_information_train", "total_correlation_train", "dimension_wise_kl_train"]
    for key in ["elbo_train", "kl_local_train", "reconstruction_loss_train", *parts]:
        assert history[key].shape == (3, 1), key
        assert np.isfinite(history[key].to_numpy(dtype=float)).all()

    def of(key):
        return history[key].to_numpy(dtype=float).ravel()

    np.testing.assert_allclose(of("elbo_train"), of("reconstruction_loss_train") + of("kl_local_train"), rtol=1e-5)
    # The parts add up to log q(z|x) - log p(z) at one sample, whose variance in one dimension is
    # (s^2 - 1)^2 / 2 + m^2 s^2; with 3 x 192 samples an epoch and values below 2, five standard errors are 0.6.
    np.testing.assert_allclose(sum(of(key) for key in parts), of("kl_local_train"), atol=0.6)
    model.train(**small.fit)
    assert len(model.history["elbo_train"]) == 5


def test_the_plan_leaves_the_weight_of_the_kl_divergence(counts, make_vae):
    # scvi-tools' plan warms up what it finds under this name among the loss's parameters.
    assert not ElboTrainingPlan(make_vae(counts, train=False).module).loss_kwargs


def _tensors(adata):
    return {
        "X": torch.tensor(adata.X.toarray()),
        "batch": torch.zeros(adata.n_obs, 1),
    }


def test_parts_of_the_loss(counts, make_vae):
    model = make_vae(counts, fit={"max_epochs": 3})
    module, tensors = model.module, _tensors(counts)
    differences = []
    for _ in range(60):
        *_, output = module(tensors, loss_kwargs={"n_obs": 240})
        parts = output.extra_metrics
        total = sum(parts[k] for k in ("mutual_information", "total_correlation", "dimension_wise_kl"))
        kl = output.kl_local["kl_local"].mean()
        differences.append((total - kl).item())
        reconstruction = output.reconstruction_loss["reconstruction_loss"].mean()
        torch.testing.assert_close(output.loss, reconstruction + kl + 10 * parts["total_correlation"])
    # each difference is an independent Monte Carlo error
    assert abs(np.mean(differences)) < 5 * np.std(differences) / np.sqrt(60)


def test_bound_is_the_reconstruction_error_and_the_kl_divergence(counts, make_vae):
    model = make_vae(counts, init={"kl_weight": 3.0})
    mean, var = model.get_latent_representation(return_dist=True)
    kl = 0.5 * (mean**2 + var - np.log(var) - 1).sum(1).mean()
    found = []
    for value in (model.get_elbo, lambda: model.get_reconstruction_error()["reconstruction_loss"]):
        torch.manual_seed(0)  # the same latents are drawn
        found.append(value().item())
    bound, error = found
    assert -bound - error == pytest.approx(kl, abs=1e-3)  # float32 of some 500 nats


def test_validation_history(counts, make_vae):
    model = make_vae(counts, fit={"train_size": 0.8, "check_val_every_n_epoch": 1})
    for key in ("reconstruction_loss_validation", "total_correlation_validation"):
        assert np.isfinite(model.history[key].to_numpy(dtype=float)).all()
        assert len(model.history[key]) == 2


def test_generate(counts, make_vae):
    model = make_vae(counts, labels_key="cell_type")
    cells = model.generate(30, seed=1)
    assert cells.shape == (30, 40)
    assert list(cells.var_names) == list(counts.var_names)
    assert list(cells.obs) == ["cell_type", "condition", "batch", "michigan_source"]
    source = counts.obs.loc[cells.obs["michigan_source"]]
    assert list(cells.obs["condition"]) == list(source["condition"])
    assert cells.uns["michigan"] == {"model": "BetaTCVAE", "noise": False, "seed": 1}
    assert cells.obsm["X_michigan"].shape == (30, 3)
    np.testing.assert_array_equal(model.generate(30, seed=1).X, cells.X)
    assert (model.generate(30, seed=2).X != cells.X).any()
    where = {"cell_type": "type B", "condition": "drug 1"}
    only = model.generate(30, labels=where)
    assert (only.obs[list(where)] == list(where.values())).all(axis=None)


def test_decode_given_latents(counts, make_vae):
    model = make_vae(counts)
    cells = model.generate(20, seed=1)
    decoded = model.generate(latent=cells.obsm["X_michigan"])
    np.testing.assert_allclose(decoded.X, cells.X, rtol=1e-6)
    np.testing.assert_array_equal(decoded.obsm["X_michigan"], cells.obsm["X_michigan"])
    assert list(decoded.obs) == []


def test_generate_with_the_noise_of_the_likelihood(counts, make_vae):
    model = make_vae(counts)
    mean, drawn = model.generate(500), model.generate(500, noise=True)
    np.testing.assert_array_equal(mean.obsm["X_michigan"], drawn.obsm["X_michigan"])
    noise = drawn.X - mean.X
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs((noise**2).mean() - 1) < 5 * np.sqrt(2 / noise.size)
    state = torch.random.get_rng_state()
    model.generate(5, noise=True)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_save_and_load(counts, make_vae, tmp_path):
    model = make_vae(counts, batch_key="batch", size_factor_key="total_counts")
    model.save(str(tmp_path / "alone"))
    model.save(str(tmp_path / "with cells"), save_anndata=True)
    fresh = counts.copy()
    for loaded in (
        BetaTCVAE.load(str(tmp_path / "alone"), fresh, accelerator="cpu"),
        BetaTCVAE.load(str(tmp_path / "with cells"), accelerator="cpu"),
    ):
        np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
        np.testing.assert_array_equal(loaded.generate(10, seed=3).X, model.generate(10, seed=3).X)
        assert loaded.history["elbo_train"].equals(model.history["elbo_train"])


def test_cells_of_given_latents_say_which_batch_they_were_decoded_with(counts, make_vae):
    model = make_vae(counts, batch_key="batch")
    cells = model.generate(latent=np.zeros((4, 3)), labels={"batch": "batch 2"})
    assert cells.obs["batch"].tolist() == ["batch 2"] * 4
    assert list(cells.obs) == ["batch"]
