"""The beta-TCVAE's likelihoods of counts."""

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import stats

from scmichigan import BetaTCVAE, MichiGAN

COUNTS = ["nb", "zinb", "poisson"]
SMALL = {"n_latent": 3, "n_hidden": 16}


@pytest.fixture
def make(small):
    def make(adata, likelihood, *, fit=None, init=None, **setup):
        BetaTCVAE.setup_anndata(adata, **setup)
        model = BetaTCVAE(adata, gene_likelihood=likelihood, **SMALL | (init or {}))
        if fit is not False:
            model.train(**small.fit | (fit or {}))
        return model

    return make


def _log_p(likelihood, counts, rate, theta, zi_logits):
    if likelihood == "poisson":
        return stats.poisson.logpmf(counts, rate)
    log_nb = stats.nbinom.logpmf(counts, theta, theta / (theta + rate))
    if likelihood == "nb":
        return log_nb
    p_zero = 1 / (1 + np.exp(-zi_logits))
    return np.log(p_zero * (counts == 0) + (1 - p_zero) * np.exp(log_nb))


@pytest.mark.parametrize("size_factor_key", [None, "total"])
@pytest.mark.parametrize("likelihood", COUNTS)
def test_the_reconstruction_is_the_likelihood(counts, make, likelihood, size_factor_key):
    counts.obs["total"] = 3 * counts.obs["total_counts"]
    setup = {"batch_key": "batch", "continuous_covariate_keys": ["pseudotime"], "size_factor_key": size_factor_key}
    module = make(counts, likelihood, **setup).module
    if likelihood != "poisson":
        module.log_theta.data.uniform_(-1, 2)
    x = counts.X.toarray()
    tensors = {
        "X": torch.tensor(x),
        "batch": torch.tensor(counts.obs["batch"].cat.codes.to_numpy(np.int64))[:, None],
        "extra_continuous_covs": torch.tensor(counts.obs[["pseudotime"]].to_numpy()),
    }
    totals = counts.obs["total_counts"].to_numpy(float)
    if size_factor_key:
        totals = counts.obs["total"].to_numpy(float)
        tensors["size_factor"] = torch.tensor(totals, dtype=torch.float32)[:, None]
    inferred, _, output = module(tensors, loss_kwargs={"n_obs": 240})

    number = (counts.obs["pseudotime"] - counts.obs["pseudotime"].mean()) / counts.obs["pseudotime"].std(ddof=0)
    columns = np.column_stack([np.eye(2)[counts.obs["batch"].cat.codes], number])
    decoder, zc = module.decoder, torch.cat([inferred["z"], torch.tensor(columns, dtype=torch.float32)], dim=1)
    with torch.no_grad():
        hidden = decoder.px_decoder(zc)
        h, zi_logits = (f(hidden).double().numpy() for f in (decoder.px_scale_decoder[0], decoder.px_dropout_decoder))
    if size_factor_key:
        rate = totals[:, None] / 40 * np.logaddexp(0, h)
    else:
        rate = totals[:, None] * np.exp(h) / np.exp(h).sum(1, keepdims=True)
    theta = None if likelihood == "poisson" else np.exp(module.log_theta.detach().double().numpy())
    expected = -_log_p(likelihood, x, rate, theta, zi_logits).sum(1)
    found = output.reconstruction_loss["reconstruction_loss"]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4)
    kl = output.kl_local["kl_local"].mean()
    parts = output.extra_metrics
    torch.testing.assert_close(output.loss, found.mean() + kl + 10 * parts["total_correlation"])
    qz, z = inferred["qz"], inferred["z"]
    # mutual information, total correlation and dimension-wise KL add up to log q(z|x) - log p(z)
    log_ratio = (qz.log_prob(z) - torch.distributions.Normal(0, 1).log_prob(z)).sum(1).mean()
    torch.testing.assert_close(sum(parts.values()), log_ratio)


def test_encoder_and_posterior_are_scvis(counts, make):
    module = make(counts, "nb").module
    x = torch.tensor(counts.X.toarray())
    mean, var, _ = module.encoder(x)
    found = module.inference(x)["qz"]
    torch.testing.assert_close(found.loc, mean)
    torch.testing.assert_close(found.variance, var)


@pytest.mark.parametrize("likelihood", COUNTS)
def test_a_known_factor_is_recovered(likelihood, make):
    rng = np.random.default_rng(0)
    factor = rng.uniform(-1, 1, 256)
    totals = rng.uniform(200, 2000, 256)
    share = np.exp(np.outer(factor, np.linspace(-1, 1, 20)))
    rate = totals[:, None] * share / share.sum(1, keepdims=True)
    adata = AnnData(rng.poisson(rate).astype(np.float32))
    model = make(adata, likelihood, init={"n_latent": 2}, fit={"max_epochs": 8, "lr": 2e-2})
    rho = np.abs([stats.spearmanr(z, factor).statistic for z in model.get_latent_representation().T])
    # A multinomial of 200 counts or more tells the factor with a standard error of at most 1 / sqrt(200 * 0.37) = 0.12,
    # 0.37 being the variance of the slopes. The factor's deviation is 0.58, so that a correlation of 0.98 can be had.
    assert rho.max() > 0.95


@pytest.mark.parametrize("size_factor_key", [None, "total"])
@pytest.mark.parametrize("likelihood", COUNTS)
def test_generated_cells(counts, make, likelihood, size_factor_key):
    counts.obs["total"] = 3 * counts.obs["total_counts"]
    model = make(counts, likelihood, labels_key="cell_type", size_factor_key=size_factor_key, target_sum=1e3)
    mean, drawn = model.generate(200, seed=1), model.generate(200, noise=True, seed=1)
    np.testing.assert_array_equal(mean.obsm["X_michigan"], drawn.obsm["X_michigan"])
    assert "counts" not in mean.layers
    np.testing.assert_array_equal(model.generate(200, noise=True, seed=1).X, drawn.X)
    made = drawn.layers["counts"].toarray()
    assert (made == np.round(made)).all()
    source = counts.obs.loc[drawn.obs["michigan_source"]]
    if size_factor_key:
        totals = source["total"].to_numpy()
    else:
        totals = np.maximum(made.sum(1), 1)
    np.testing.assert_allclose(drawn.obs[size_factor_key or "total_counts"], totals)
    np.testing.assert_allclose(drawn.X, np.log1p(1e3 * made / totals[:, None]), rtol=1e-5)
    # Drawn counts scatter around the expected ones: those of the module, and what is left in logarithms of them.
    rows = counts.obs_names.get_indexer(source.index)
    given = torch.tensor(model.cells.totals()[rows], dtype=torch.float32)
    z = torch.tensor(mean.obsm["X_michigan"])
    px = model.module.generative(z, torch.zeros(200, 0), given)["px"]
    expected, sd = px.mean.detach().numpy(), px.variance.detach().numpy() ** 0.5
    assert abs((made - expected).sum()) < 5 * np.sqrt((sd**2).sum())
    by = source["total"].to_numpy() if size_factor_key else expected.sum(1)
    np.testing.assert_allclose(mean.X, np.log1p(1e3 * expected / by[:, None]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("likelihood", COUNTS)
def test_save_load_and_generate_from(counts, make, small, tmp_path, likelihood):
    held_out, adata = counts[200:].copy(), counts[:200].copy()
    model = make(adata, likelihood, batch_key="batch", size_factor_key="total_counts")
    mean, var = model.get_latent_representation(return_dist=True)
    model.save(str(tmp_path / "vae"))
    loaded = BetaTCVAE.load(str(tmp_path / "vae"), adata.copy(), accelerator="cpu")
    np.testing.assert_array_equal(loaded.get_latent_representation(return_dist=True), [mean, var])
    np.testing.assert_array_equal(loaded.generate(10, noise=True).X, model.generate(10, noise=True).X)
    assert np.isfinite(model.get_elbo().item())

    gan = MichiGAN.from_latent_model(model, **small.gan)
    np.testing.assert_array_equal(adata.obsm["X_michigan"], mean)
    gan.train(max_epochs=0)
    table = gan.latent_recovery(held_out)
    assert table.attrs["encoder"] == "beta-TCVAE"
    assert np.isfinite(table["generated"]).all()
    gan.save(str(tmp_path / "gan"))
    again = MichiGAN.load(str(tmp_path / "gan"), adata)
    assert again.latent_model.module.gene_likelihood == likelihood
    np.testing.assert_allclose(
        again.get_latent_representation(held_out), model.get_latent_representation(held_out), atol=1e-6
    )


def test_what_is_no_count_is_refused(counts, logged, make):
    value = logged.X.data[0]
    message = (
        rf"gene_likelihood is 'nb', but log-normalised values of adata.X, as they are, are registered, such as {value:g}; "
        r"register raw counts with setup_anndata\(layer=\.\.\.\), or leave gene_likelihood out"
    )
    with pytest.raises(ValueError, match=message):
        make(logged, "nb", fit=False)
    with pytest.raises(ValueError, match="gene_likelihood is 'zip'; choose 'normal' or 'nb'"):
        make(logged, "zip", fit=False)


def test_normalised_cells_are_refused_by_a_model_of_counts(counts, screen_cells, make):
    model = make(counts, "poisson")
    adata = screen_cells.copy()
    adata.X = adata.X.log1p()
    with pytest.raises(ValueError, match=r"adata.X holds log-normalised values, but raw counts were declared"):
        model.get_latent_representation(adata)
